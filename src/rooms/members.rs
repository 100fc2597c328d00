//! Who is, was or may become a member of a room.

use std::collections::HashSet;

use ruma::OwnedUserId;

use super::content;
use crate::{
    graph::{Event, Membership, Reader, RoomNo, Root, StateKey},
    store::{ReadError, View},
};

const MEMBER: &str = "m.room.member";
/// Events that are read at once.
const CHUNK: usize = 1_000;

/// Which members are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberQuery {
    /// Only with this membership.
    pub membership: Option<Membership>,
    /// Not with this membership.
    pub not_membership: Option<Membership>,
}

impl MemberQuery {
    fn wants(&self, membership: Option<Membership>) -> bool {
        self.membership.is_none_or(|wanted| membership == Some(wanted))
            && self.not_membership.is_none_or(|unwanted| membership != Some(unwanted))
    }
}

/// The membership that a member event says, if it is one of the specification's.
pub fn membership_of(event: &Event) -> Option<Membership> {
    content::text(event.content(), "membership").and_then(|word| Membership::parse(&word))
}

/// The member events of a state.
pub fn in_state(
    reader: &Reader,
    view: &View<'_>,
    (room, root): (RoomNo, Root),
    query: MemberQuery,
) -> Result<Vec<Event>, ReadError> {
    let seqs = reader.state_of_type(view, room, root, MEMBER)?;
    let mut members = Vec::new();
    for chunk in seqs.chunks(CHUNK) {
        let events = reader.events(view, &chunk.iter().map(|seq| (room, *seq)).collect::<Vec<_>>())?;
        members.extend(events.into_iter().flatten().filter(|event| query.wants(membership_of(event))));
    }
    Ok(members)
}

/// The member events of those who sent these events, each once, as a state has them: for lazy-loading (client-server API,
/// "Lazy-loading room members").
pub fn of_senders<'a>(
    reader: &Reader,
    view: &View<'_>,
    (room, root): (RoomNo, Root),
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<Vec<Event>, ReadError> {
    let senders: HashSet<&OwnedUserId> = events.into_iter().map(|event| &event.sender).collect();
    let keys: Vec<_> = senders.into_iter().map(|sender| StateKey::new(MEMBER, sender.as_str())).collect();
    Ok(reader.state_events(view, room, root, &keys)?.into_iter().flatten().collect())
}
