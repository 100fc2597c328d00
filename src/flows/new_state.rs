//! State that somebody wants to set, and the event that sets it.

use ruma::{
    OwnedEventId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};

use super::{guest_access, room_error::RoomError};
use crate::{
    app::App,
    base::clock::UnixMillis,
    graph::{Membership, Proposal, RoomNo},
    rooms::guest_access::note_due,
    users::profile::MemberProfile,
};

/// State that a user wants to set.
#[derive(Clone, Debug, PartialEq)]
pub struct NewState {
    /// Its type.
    pub kind: String,
    /// Its state key.
    pub state_key: String,
    /// Its content.
    pub content: CanonicalJsonObject,
    /// When it shall be said to have been set, in ms since the Unix epoch; now if absent.
    pub timestamp: Option<UnixMillis>,
}

impl NewState {
    /// State that is set now.
    pub fn new(kind: String, state_key: String, content: CanonicalJsonObject) -> Self {
        Self { kind, state_key, content, timestamp: None }
    }

    /// State of a type of which there is one in a room: its key is empty.
    pub fn of_room(kind: &str, content: CanonicalJsonObject) -> Self {
        Self::new(kind.to_owned(), String::new(), content)
    }

    /// A user's membership, with content that is given.
    pub fn of_member(user_id: &UserId, content: CanonicalJsonObject) -> Self {
        Self::new("m.room.member".to_owned(), user_id.to_string(), content)
    }

    /// What an event that is not sent yet sets.
    pub fn of_proposal(proposal: &Proposal) -> Self {
        let (kind, content) = (proposal.kind.clone(), proposal.content.clone());
        let state_key = proposal.state_key.clone().unwrap_or_default();
        Self { timestamp: proposal.origin_server_ts, ..Self::new(kind, state_key, content) }
    }

    /// It as an event of this user's.
    pub fn proposed_by(self, user_id: &UserId) -> Proposal {
        let origin_server_ts = self.timestamp;
        Proposal { origin_server_ts, ..Proposal::state(user_id.to_owned(), self.kind, self.state_key, self.content) }
    }
}

/// The content of a member event.
pub(super) fn member_content(
    membership: Membership,
    profile: &MemberProfile,
    reason: Option<String>,
) -> CanonicalJsonObject {
    let fields = [
        ("membership", Some(membership.as_str().to_owned())),
        ("displayname", profile.displayname.clone()),
        ("avatar_url", profile.avatar_url.clone()),
        ("reason", reason),
    ];
    let present = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    present.map(|(name, value)| (name.to_owned(), CanonicalJsonValue::String(value))).collect()
}

/// Sends a state event; the graph judges it. What keeps guests out lets those leave who are there.
pub(super) async fn put(app: &App, user_id: &UserId, room: RoomNo, state: NewState) -> Result<OwnedEventId, RoomError> {
    let of_guests = guest_access::keeps_out(&state.kind, &state.state_key, &state.content);
    send(app, room, state.proposed_by(user_id), of_guests).await
}

/// Sends a guest's join. Whether guests may join is asked before, so it is asked again after.
pub(super) async fn put_guest(
    app: &App,
    user_id: &UserId,
    room: RoomNo,
    state: NewState,
) -> Result<OwnedEventId, RoomError> {
    send(app, room, state.proposed_by(user_id), true).await
}

async fn send(app: &App, room: RoomNo, proposal: Proposal, of_guests: bool) -> Result<OwnedEventId, RoomError> {
    if !of_guests {
        return Ok(app.policy.send_one(room, proposal).await?.event_id);
    }
    let number = app.random.u64();
    let noted = proposal.with_rider(move |placed, batch| note_due(batch, placed.room, number));
    let placed = app.policy.send_one(room, noted).await?;
    guest_access::start(app, room);
    Ok(placed.event_id)
}
