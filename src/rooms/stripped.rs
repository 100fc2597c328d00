//! Stripped state: what those learn of a room who are not in it yet (client-server API, "Stripped state").

use ruma::UserId;

use crate::{
    graph::{Event, Reader, RoomNo, Root, StateKey},
    store::{ReadError, View},
};

/// The state that those get who are not in a room, beside memberships.
pub const STRIPPED: [&str; 9] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.name",
    "m.room.topic",
    "m.room.history_visibility",
    "im.nheko.summary.room_type",
];

/// The events of a state that somebody gets who is not in the room, the create event first; and the membership of whoever
/// invites them, if somebody does.
pub fn of_state(
    reader: &Reader,
    view: &View<'_>,
    (room, root): (RoomNo, Root),
    inviter: Option<&UserId>,
) -> Result<Vec<Event>, ReadError> {
    let inviter = inviter.map(|inviter| StateKey::new("m.room.member", inviter.as_str()));
    let keys: Vec<_> = STRIPPED.iter().map(|kind| StateKey::new(*kind, "")).chain(inviter).collect();
    Ok(reader.state_events(view, room, root, &keys)?.into_iter().flatten().collect())
}
