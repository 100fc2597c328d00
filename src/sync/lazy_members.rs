//! Which members a device was already sent, so that lazy-loading need not repeat them.
//!
//! Client-server API, "Lazy-loading room members". Only what an acknowledged token carried counts as sent: a response
//! that got lost is repeated in full. The memory is bounded and lossy; what is forgotten is merely sent again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{graph::RoomNo, store::Position};

/// How many members are remembered for a device, and how many devices.
const MOST_MEMBERS: usize = 20_000;
const MOST_DEVICES: usize = 10_000;

/// A member of a room in a few bytes; a collision costs one missing member event in 2⁶⁴.
pub type MemberHash = u64;

/// The memory of all devices of this process.
#[derive(Debug, Default)]
pub struct LazyMembers {
    devices: Mutex<HashMap<String, Sent>>,
}

#[derive(Debug, Default)]
struct Sent {
    /// Sent and acknowledged. Shared with the request that is being answered, so that recalling costs nothing.
    known: Arc<HashSet<MemberHash>>,
    /// Sent with the response whose token has this position; not yet acknowledged.
    pending: Option<(Position, Vec<MemberHash>)>,
}

/// The short form of a member.
pub fn hash(room: RoomNo, user_id: &str) -> MemberHash {
    let digest = blake3::Hasher::new().update(&room.0.to_be_bytes()).update(user_id.as_bytes()).finalize();
    digest.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// What one response may leave out and what it adds.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    known: Arc<HashSet<MemberHash>>,
    added: Vec<MemberHash>,
}

impl LazyMembers {
    /// The memory of `device` (a name that is unique to user and device) for a request that comes with `since`.
    ///
    /// A request without `since` starts anew.
    pub fn recall(&self, device: &str, since: Option<Position>) -> Memory {
        let mut devices = self.devices.lock();
        let Some(since) = since else {
            devices.remove(device);
            return Memory::default();
        };
        let Some(sent) = devices.get_mut(device) else { return Memory::default() };
        match sent.pending.take() {
            Some((position, members)) if position <= since => Arc::make_mut(&mut sent.known).extend(members),
            // The token of an earlier response: that one was lost, or is being asked for twice.
            _ => {}
        }
        Memory { known: Arc::clone(&sent.known), added: Vec::new() }
    }

    /// Remembers what a response with a token of `position` carried.
    pub fn remember(&self, device: &str, position: Position, memory: Memory) {
        if memory.added.is_empty() {
            return;
        }
        let mut devices = self.devices.lock();
        if devices.len() >= MOST_DEVICES && !devices.contains_key(device) {
            devices.clear();
        }
        let sent = devices.entry(device.to_owned()).or_default();
        if sent.known.len().saturating_add(memory.added.len()) > MOST_MEMBERS {
            sent.known = Arc::default();
        }
        sent.pending = Some((position, memory.added));
    }
}

impl Memory {
    /// Whether the member was sent before; counts it as sent from now on.
    pub fn sent_before(&mut self, member: MemberHash) -> bool {
        self.known.contains(&member) || self.added.contains(&member) || {
            self.added.push(member);
            false
        }
    }

    /// Counts a member as sent, whether it was or not.
    pub fn sent(&mut self, member: MemberHash) {
        self.sent_before(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_acknowledged_members_are_left_out() {
        let members = LazyMembers::default();
        let alice = hash(RoomNo(1), "@alice:a");
        let mut first = members.recall("device", None);
        assert!(!first.sent_before(alice));
        assert!(first.sent_before(alice), "once in a response is enough");
        members.remember("device", Position(5), first);

        let mut lost = members.recall("device", Some(Position(4)));
        assert!(!lost.sent_before(alice), "the response with token 5 never arrived");
        members.remember("device", Position(6), lost);

        assert!(members.recall("device", Some(Position(6))).sent_before(alice));
        assert!(!members.recall("device", None).sent_before(alice), "an initial sync starts anew");
    }

    #[test]
    fn rooms_and_devices_do_not_share() {
        let members = LazyMembers::default();
        let mut memory = members.recall("one", None);
        memory.sent(hash(RoomNo(1), "@alice:a"));
        members.remember("one", Position(1), memory);
        assert!(!members.recall("two", Some(Position(1))).sent_before(hash(RoomNo(1), "@alice:a")));
        assert!(!members.recall("one", Some(Position(1))).sent_before(hash(RoomNo(2), "@alice:a")));
    }
}
