//! The smaller rows of the graph's keyspaces.

use serde::{Deserialize, Serialize};

use super::types::{Membership, Root, Seq};
use crate::{
    base::clock::UnixMillis,
    store::{DecodeError, Position, Record, Value},
};

/// Where an event is: `event_id → (room, seq)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAt {
    /// Its room.
    pub room: super::types::RoomNo,
    /// Its number there.
    pub seq: Seq,
}
impl Record for EventAt {}

/// A body before its redaction, kept for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// When it may be thrown away, in ms since the Unix epoch.
    pub expires: UnixMillis,
    /// The event in canonical JSON, as it was.
    pub pdu: Vec<u8>,
}
impl Record for Original {}

/// One event in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// The event.
    pub seq: Seq,
    /// The room's largest depth once this event was in it: where a page back from here begins in graph order.
    pub max_depth: u64,
}
impl Record for Logged {}

/// An event some of whose previous events we lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The ids of those that we lack.
    pub missing: Vec<String>,
    /// When we last asked for them, in ms since the Unix epoch; 0 for never.
    pub last_try: UnixMillis,
}
impl Record for Gap {}

/// A `(type, state_key)` by its slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateKey {
    /// The event type.
    pub kind: String,
    /// The state key.
    pub state_key: String,
}
impl Record for StateKey {}

impl StateKey {
    /// The pair of both.
    pub fn new(kind: impl Into<String>, state_key: impl Into<String>) -> Self {
        Self { kind: kind.into(), state_key: state_key.into() }
    }
}

/// The auth events of a state event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthEvents(pub Vec<Seq>);
impl Record for AuthEvents {}

impl Value for Root {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        super::bytes::first_version(version)?;
        body.try_into().map(Self).map_err(|_| DecodeError("not a root"))
    }
}

/// A join through another server that is still being completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialJoin {
    /// Our join event.
    pub join: Seq,
    /// The servers in the room, as the resident server said.
    pub servers: Vec<String>,
    /// The servers to ask for the rest.
    pub via: Vec<String>,
}
impl Record for PartialJoin {}

/// A room that is being adopted, until it is visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRoom {
    /// Its id.
    pub room_id: String,
    /// Since when, in ms since the Unix epoch.
    pub since: UnixMillis,
}
impl Record for StagedRoom {}

/// A user's standing in a room, in the current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The standing.
    pub membership: Membership,
    /// The membership event.
    pub seq: Seq,
    /// The commit that made it current; [`Position::ZERO`] for the one that began this generation of the indexes.
    pub position: Position,
}
impl Record for Member {}

/// A generation of a room's indexes that is being written aside, or has just taken the place of the one before it. Which of
/// the two, the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextIndexes {
    /// The generation before it.
    pub from: u32,
    /// The generation.
    pub to: u32,
    /// Rooms of local users have still to be brought in line with its members.
    pub users_due: bool,
}
impl Record for NextIndexes {}

/// A room of a local user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRoom {
    /// The user's standing.
    pub membership: Membership,
    /// The membership event; `None` when it is known only from outside the room.
    pub seq: Option<Seq>,
    /// The commit that brought this standing.
    pub position: Position,
    /// For a user who left or was banned: the state that includes the leave, the last that they may see of the room.
    pub left_root: Option<Root>,
    /// The commit by which they left, which a later ban or a declined invite does not move; with `left_root`.
    pub left_at: Option<Position>,
    /// The user was in the room before leaving (and was not only invited, or knocking).
    pub was_joined: bool,
    /// The user has forgotten the room.
    pub forgotten: bool,
    /// Of an invite, knock or leave that came without the room: the server that it came from, by which its event is found
    /// in `outside`.
    pub outside: Option<String>,
    /// While they are in the room: the commit by which they joined, which a new name or picture does not move.
    pub joined_at: Option<Position>,
}

impl Record for UserRoom {
    const VERSION: u8 = 3;
    fn upgrade(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let old: UserRoomV2 = Value::decode(version, body)?;
        Ok(Self {
            membership: old.membership,
            seq: old.seq,
            position: old.position,
            left_root: old.left_root,
            left_at: old.left_at,
            was_joined: old.was_joined,
            forgotten: old.forgotten,
            // No release has written events from outside into the row itself.
            outside: None,
            joined_at: old.joined_at,
        })
    }
}

/// [`UserRoom`] when what came from outside was part of it.
#[derive(Serialize, Deserialize)]
struct UserRoomV2 {
    membership: Membership,
    seq: Option<Seq>,
    position: Position,
    left_root: Option<Root>,
    left_at: Option<Position>,
    was_joined: bool,
    forgotten: bool,
    out_of_band: Option<Vec<u8>>,
    joined_at: Option<Position>,
}

impl Record for UserRoomV2 {
    const VERSION: u8 = 2;
    fn upgrade(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let old: UserRoomV1 = Value::decode(version, body)?;
        Ok(Self {
            membership: old.membership,
            seq: old.seq,
            position: old.position,
            left_root: old.left_root,
            left_at: old.left_at,
            was_joined: old.was_joined,
            forgotten: old.forgotten,
            out_of_band: old.out_of_band,
            // The nearest that is known.
            joined_at: (old.membership == Membership::Join).then_some(old.position),
        })
    }
}

/// [`UserRoom`] as it was first stored.
#[derive(Serialize, Deserialize)]
struct UserRoomV1 {
    membership: Membership,
    seq: Option<Seq>,
    position: Position,
    left_root: Option<Root>,
    left_at: Option<Position>,
    was_joined: bool,
    forgotten: bool,
    out_of_band: Option<Vec<u8>>,
}

impl Record for UserRoomV1 {}

/// What a local user is to a room by an event that came without the room, from one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideRow {
    /// `invite`, `knock`, `leave` or `ban`.
    pub membership: Membership,
    /// The commit that brought the first event of this server; a later one that says the same again takes its place.
    pub position: Position,
    /// The event and what is told of the room, as JSON.
    pub told: Vec<u8>,
}
impl Record for OutsideRow {}

/// One of the [`OutsideRow`]s of a user, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideAt {
    /// The server that it came from.
    pub server: String,
    /// It waits for nothing more: a leave or a ban.
    pub is_over: bool,
}
impl Record for OutsideAt {}

/// A server that is or was in a room. A destination of an event at `p` if joined ≤ p ≤ left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomServer {
    /// How many of its users are joined.
    pub joined_users: u32,
    /// The commit by which its first user joined, the last time. As it is stored, [`Position::ZERO`] is the commit that began
    /// this generation of the indexes; likewise in `left`.
    pub joined: Position,
    /// The commit by which its last user left; [`RoomServer::STILL`] while there is one.
    pub left: Position,
}
impl Record for RoomServer {}

impl RoomServer {
    /// Later than every commit.
    pub const STILL: Position = Position(u64::MAX);

    /// A stored row, with the commit filled in that began its generation. Of the first one that is not known: it is before
    /// every other one.
    #[must_use]
    pub(super) fn since(self, began: Position) -> Self {
        let began = began.max(Position(1));
        let filled = |at: Position| if at == Position::ZERO { began } else { at };
        Self { joined: filled(self.joined), left: filled(self.left), ..self }
    }
}

/// How far a follower of the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Everything at or below was worked off.
    pub position: Position,
    /// Counts the bootstraps: a runner of an older life cannot move the cursor of a newer one.
    pub epoch: u32,
}
impl Record for Cursor {}
