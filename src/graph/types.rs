//! The small numbers that rooms, events and states are known by.

use serde::{Deserialize, Serialize};

use crate::store::{DecodeError, KeyPart, Position, Record};

/// A room's number in this server: random, so that no counter is shared among rooms; never shown outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoomNo(pub u64);

/// An event's number in its room: 1, 2, 3… in the order in which they were stored. An event is stored after all of its
/// auth events, so their numbers are always lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u32);

/// The number of a `(type, state_key)` in its room: 0, 1, 2… in the order in which they first entered a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u32);

/// One state of a room: the name of the root of its tree. Equal states of a room have equal roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Root(pub [u8; 16]);

impl Root {
    /// The state that holds nothing: before the create event.
    pub const EMPTY: Self = Self([0; 16]);

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Record for RoomNo {}
impl Record for Seq {}
impl Record for Slot {}

impl KeyPart for RoomNo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

impl KeyPart for Seq {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        u32::decode(input).map(Self)
    }
}

impl KeyPart for Slot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        u32::decode(input).map(Self)
    }
}

impl KeyPart for Root {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        KeyPart::decode(input).map(Self)
    }
}

/// Breaks ties between events of one depth: live events in the order of arrival, backfilled ones before all of them and
/// among each other against it (they arrive newest first).
///
/// Holds the position of the commit and the event's index in it, negated for backfilled events; zero is "in no order".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tie(pub i64);

impl Tie {
    /// Events that one commit may hold, rounded up.
    const INDEXES: u64 = 64;

    /// Of an event that arrived live as the `index`-th of its commit.
    pub fn live(position: Position, index: u8) -> Self {
        debug_assert!(u64::from(index) < Self::INDEXES, "a commit holds at most 50 events");
        // Saturates after 2^57 commits.
        Self(i64::try_from(position.0.saturating_mul(Self::INDEXES) + u64::from(index)).unwrap_or(i64::MAX))
    }

    /// Of an event that was fetched from further back.
    pub fn backfilled(position: Position, index: u8) -> Self {
        Self(-Self::live(position, index).0)
    }

    /// The commit that brought the event; [`Position::ZERO`] for an outlier.
    pub fn position(self) -> Position {
        Position(self.0.unsigned_abs() / Self::INDEXES)
    }

    /// The event's index in its commit.
    pub fn index(self) -> u8 {
        u8::try_from(self.0.unsigned_abs() % Self::INDEXES).unwrap_or_default()
    }

    /// Whether the event was fetched from further back, so that no `/sync` ever brought it.
    pub fn is_backfilled(self) -> bool {
        self.0 < 0
    }
}

impl KeyPart for Tie {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        i64::decode(input).map(Self)
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// Known, but not placed in the graph: fetched as an auth or state event.
    Outlier = 0,
    /// Passed every check.
    Accepted = 1,
    /// Failed the auth rules against its auth events or the state before it. May be cited as a previous event, never as
    /// an auth event, never in a state.
    Rejected = 2,
    /// Passed, but not against the current state: in the graph, but neither a forward extremity nor delivered.
    SoftFailed = 3,
    /// Waits for something that decides about it.
    Held = 4,
}

impl Status {
    /// Whether an event with this status is part of the state after it.
    pub const fn counts_in_state(self) -> bool {
        matches!(self, Self::Accepted | Self::SoftFailed | Self::Held)
    }
}

/// A user's standing in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Membership {
    /// `leave`: was in it (or invited, or knocking, or banned), and is not any more.
    Leave = 0,
    /// `invite`.
    Invite = 1,
    /// `join`.
    Join = 2,
    /// `knock`.
    Knock = 3,
    /// `ban`.
    Ban = 4,
}

impl Membership {
    /// The specification's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Invite => "invite",
            Self::Join => "join",
            Self::Knock => "knock",
            Self::Ban => "ban",
        }
    }

    /// Reads the specification's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Leave, Self::Invite, Self::Join, Self::Knock, Self::Ban].into_iter().find(|one| one.as_str() == word)
    }
}

/// Where an event stands in the order of arrival: at which commit, as the how-manieth of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Arrival {
    /// The commit.
    pub position: Position,
    /// The index in it.
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_order_live_by_arrival_and_backfilled_against_it() {
        let live = Tie::live(Position(7), 3);
        assert_eq!((live.position(), live.index(), live.is_backfilled()), (Position(7), 3, false));
        let old = Tie::backfilled(Position(9), 1);
        assert_eq!((old.position(), old.index(), old.is_backfilled()), (Position(9), 1, true));
        assert!(Tie::backfilled(Position(10), 0) < old && old < Tie::default() && Tie::default() < live);
        assert!(live < Tie::live(Position(7), 4) && Tie::live(Position(7), 49) < Tie::live(Position(8), 0));
    }

    #[test]
    fn memberships_are_read_as_they_are_written() {
        for one in [Membership::Leave, Membership::Invite, Membership::Join, Membership::Knock, Membership::Ban] {
            assert_eq!(Membership::parse(one.as_str()), Some(one));
        }
        assert_eq!(Membership::parse("Join"), None);
    }
}
