//! Which other servers are in a room, remembered with the state of the room of which that is true: so an event that changes nothing
//! of it is put into queues without a look at the store, however many or few these servers are.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache as QuickCache};
use ruma::OwnedServerName;

use super::queue::Item;
use crate::graph::{
    RoomNo, RoomServer, Root, Seq,
    log::{Row, Stream, Subject},
};

/// Names that are remembered, of all rooms; a room without other servers counts as one. About 10 MB.
const MOST_NAMES: u64 = 200_000;
/// Rooms that may be expected to be remembered.
const ROOMS: usize = 10_000;

/// The other servers of a room, and since when.
pub(super) type Present = Arc<[(OwnedServerName, RoomServer)]>;

/// The same in one of its states.
#[derive(Clone, Debug)]
struct InRoom {
    root: Root,
    servers: Present,
}

#[derive(Clone, Debug)]
struct Names;

impl Weighter<RoomNo, InRoom> for Names {
    fn weight(&self, _: &RoomNo, there: &InRoom) -> u64 {
        u64::try_from(there.servers.len()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// An event, and the servers that it is for.
pub(super) type Addressed = (Item, Present);

/// What is remembered of rooms.
#[derive(Debug)]
pub(super) struct Known(QuickCache<RoomNo, InRoom, Names>);

impl Default for Known {
    fn default() -> Self {
        Self(QuickCache::with_weighter(ROOMS, MOST_NAMES, Names))
    }
}

impl Known {
    /// These are the other servers of a room while `root` is its current state.
    pub(super) fn keep(&self, room: RoomNo, root: Root, servers: Present) {
        self.0.insert(room, InRoom { root, servers });
    }

    /// For whom the events of these rows are, if that can be said without a look at the store: all are of a short time ago, and
    /// those that are for us to send say nothing of anybody's membership, in rooms whose servers are known.
    pub(super) fn address(&self, rows: &[Row]) -> Option<Vec<Addressed>> {
        let mut events = Vec::new();
        for commit in rows.chunk_by(|one, next| one.position == next.position) {
            let mut glances = commit.iter().map(|row| row.glance);
            if glances.clone().any(|glance| glance.is_none()) {
                return None;
            }
            if !glances.clone().flatten().any(|glance| glance.relay) {
                continue;
            }
            // The servers may have come or gone by this very commit.
            if glances.any(|glance| glance.is_none_or(|glance| glance.is_state || (glance.relay && !glance.is_own))) {
                return None;
            }
            for row in commit {
                let Some(glance) = row.glance.filter(|glance| glance.relay) else { continue };
                let (Subject::Room(room), Stream::Room) = (&row.entry.subject, row.entry.stream) else { return None };
                let there = self.0.get(room).filter(|there| there.root == glance.root_after)?;
                let seq = Seq(u32::try_from(row.entry.reference).ok()?);
                if !there.servers.is_empty() {
                    events.push((Item { position: row.position, room: *room, seq }, there.servers));
                }
            }
        }
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_server_name;

    use super::*;
    use crate::{
        graph::log::{Entry, Glance},
        store::Position,
    };

    const ROOM: RoomNo = RoomNo(1);

    fn one_server() -> Present {
        let since = RoomServer { joined_users: 1, joined: Position(1), left: RoomServer::STILL };
        [(owned_server_name!("a.b"), since)].into()
    }

    fn row(position: u64, change: impl FnOnce(&mut Glance)) -> Row {
        let mut glance = Glance { relay: true, is_own: true, is_state: false, root_after: Root([1; 16]) };
        change(&mut glance);
        let entry = Entry::room(Stream::Room, ROOM).of(position);
        Row { position: Position(position), entry, glance: Some(glance) }
    }

    #[test]
    fn events_go_to_the_servers_of_their_state() {
        let known = Known::default();
        assert_eq!(known.address(&[row(1, |_| ())]), None, "nothing is known yet");
        known.keep(ROOM, Root([1; 16]), one_server());
        let addressed = known.address(&[row(1, |_| ()), row(2, |_| ())]).unwrap();
        assert_eq!(
            addressed.iter().map(|(item, to)| (item.position.0, to.len())).collect::<Vec<_>>(),
            [(1, 1), (2, 1)]
        );
        assert_eq!(known.address(&[row(3, |glance| glance.root_after = Root([2; 16]))]), None, "somebody came or went");
        known.keep(ROOM, Root([2; 16]), [].into());
        let alone = row(3, |glance| glance.root_after = Root([2; 16]));
        assert_eq!(known.address(&[alone]), Some(Vec::new()));
    }

    #[test]
    fn what_a_glance_does_not_say_is_looked_up() {
        let known = Known::default();
        known.keep(ROOM, Root([1; 16]), one_server());
        assert_eq!(known.address(&[row(1, |_| ()), row(1, |glance| glance.is_state = true)]), None, "in one commit");
        assert_eq!(known.address(&[row(1, |glance| glance.is_own = false)]), None, "its server has it");
        assert_eq!(known.address(&[Row { glance: None, ..row(1, |_| ()) }]), None, "of long ago");
        let of_others = row(1, |glance| (glance.relay, glance.is_own, glance.is_state) = (false, false, true));
        assert_eq!(known.address(&[of_others]), Some(Vec::new()), "not for us to send");
    }
}
