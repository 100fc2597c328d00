//! The head of a room: all that changes with every one of its commits, in one row.

use ruma::{OwnedRoomId, RoomId, RoomVersionId};

use super::{
    bytes::{finish, first_version, put_str, take, take_str, take_u8, take_u32, take_u64},
    types::{Root, Seq, Slot},
};
use crate::store::{DecodeError, Position, Value};

/// The state of a room's write side. Every commit of the room asserts the head that it was built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its version, from the create event.
    pub room_version: RoomVersionId,
    /// Counts the commits.
    pub version: u64,
    /// The number of the next event.
    pub next_seq: Seq,
    /// The number of the next `(type, state_key)`.
    pub next_slot: Slot,
    /// Events that no event of ours cites yet, lowest first; the next event cites them (at most ten).
    pub extremities: Vec<Seq>,
    /// The current state.
    pub root: Root,
    /// The largest depth, our ordering copy.
    pub max_depth: u64,
    /// The last commit that put an event into the order of arrival.
    pub last_position: Position,
    /// The last commit whose events are for us to send to other servers.
    pub last_relayed_position: Position,
    /// Which generation of the indexes that are derived from the state is the one to read.
    pub index_generation: u32,
    /// The commit by which this generation took the place of the one before it: what its rows mean that were written ahead
    /// of it and could not know it.
    pub indexes_since: Position,
    /// How many users are joined, in the current state.
    pub joined_members: u32,
    /// How many are invited.
    pub invited_members: u32,
    /// The room's state is not whole yet (a join through another server is still being completed).
    pub is_partial: bool,
    /// No user of this server is in the room.
    pub is_left: bool,
    /// An administrator has closed the room.
    pub is_blocked: bool,
    /// A new generation of the indexes was begun, and what goes with that is not all done (`NEXT_INDEXES` says what).
    pub is_unsettled: bool,
}

const PARTIAL: u8 = 1;
const LEFT: u8 = 2;
const BLOCKED: u8 = 4;
const UNSETTLED: u8 = 8;

impl Head {
    /// The head of a room that holds nothing yet.
    pub fn new(room_id: &RoomId, room_version: &RoomVersionId) -> Self {
        Self {
            room_id: room_id.to_owned(),
            room_version: room_version.clone(),
            version: 0,
            next_seq: Seq(1),
            next_slot: Slot(0),
            extremities: Vec::new(),
            root: Root::EMPTY,
            max_depth: 0,
            last_position: Position::ZERO,
            last_relayed_position: Position::ZERO,
            index_generation: 0,
            indexes_since: Position::ZERO,
            joined_members: 0,
            invited_members: 0,
            is_partial: false,
            is_left: true,
            is_blocked: false,
            is_unsettled: false,
        }
    }
}

impl Value for Head {
    const VERSION: u8 = 2;

    fn encode(&self, out: &mut Vec<u8>) {
        put_str(out, self.room_id.as_str());
        put_str(out, self.room_version.as_str());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.next_seq.0.to_be_bytes());
        out.extend_from_slice(&self.next_slot.0.to_be_bytes());
        out.extend_from_slice(&self.root.0);
        out.extend_from_slice(&self.max_depth.to_be_bytes());
        out.extend_from_slice(&self.last_position.0.to_be_bytes());
        out.extend_from_slice(&self.last_relayed_position.0.to_be_bytes());
        out.extend_from_slice(&self.index_generation.to_be_bytes());
        out.extend_from_slice(&self.joined_members.to_be_bytes());
        out.extend_from_slice(&self.invited_members.to_be_bytes());
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(self.is_partial, PARTIAL)
                | flag(self.is_left, LEFT)
                | flag(self.is_blocked, BLOCKED)
                | flag(self.is_unsettled, UNSETTLED),
        );
        out.extend_from_slice(&self.indexes_since.0.to_be_bytes());
        for extremity in &self.extremities {
            out.extend_from_slice(&extremity.0.to_be_bytes());
        }
    }

    fn decode(version: u8, mut body: &[u8]) -> Result<Self, DecodeError> {
        if version != Self::VERSION {
            first_version(version)?;
        }
        let input = &mut body;
        let room_id = RoomId::parse(take_str(input)?).map_err(|_| DecodeError("not a room id"))?;
        let room_version = RoomVersionId::try_from(take_str(input)?).map_err(|_| DecodeError("not a room version"))?;
        let mut head = Self::new(&room_id, &room_version);
        head.version = take_u64(input)?;
        head.next_seq = Seq(take_u32(input)?);
        head.next_slot = Slot(take_u32(input)?);
        head.root = Root(take(input)?);
        head.max_depth = take_u64(input)?;
        head.last_position = Position(take_u64(input)?);
        head.last_relayed_position = Position(take_u64(input)?);
        head.index_generation = take_u32(input)?;
        head.joined_members = take_u32(input)?;
        head.invited_members = take_u32(input)?;
        let flags = take_u8(input)?;
        head.is_partial = flags & PARTIAL != 0;
        head.is_left = flags & LEFT != 0;
        head.is_blocked = flags & BLOCKED != 0;
        head.is_unsettled = flags & UNSETTLED != 0;
        if version == Self::VERSION {
            head.indexes_since = Position(take_u64(input)?);
        }
        while input.len() >= 4 {
            head.extremities.push(Seq(take_u32(input)?));
        }
        finish(input)?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_the_first_version_has_indexes_from_the_beginning() {
        let mut head = Head::new(&RoomId::parse("!room:here").unwrap(), &RoomVersionId::V11);
        head.extremities = vec![Seq(7), Seq(300)];
        head.is_blocked = true;
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        // Between the flags and the extremities there was nothing.
        let since = bytes.len() - 2 * 4 - 8;
        bytes.drain(since..since + 8);
        assert_eq!(Head::decode(1, &bytes).unwrap(), head);
        assert!(Head::decode(3, &bytes).is_err());
    }
}
