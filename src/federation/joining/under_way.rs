//! Rooms that users of ours are joining through others. From the moment at which the other server has taken the join, the
//! room's servers send us what happens there; until the room is here nobody can take it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use tokio::sync::watch;

/// The rooms. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::federation) struct UnderWay(Arc<Mutex<HashMap<OwnedRoomId, Weak<watch::Sender<()>>>>>);

/// A join that is under way, until it is dropped.
pub(super) struct Begun {
    of: UnderWay,
    room_id: OwnedRoomId,
    /// Who waits for the join sees it go.
    until: Option<Arc<watch::Sender<()>>>,
}

impl UnderWay {
    pub(super) fn begin(&self, room_id: &RoomId) -> Begun {
        let mut rooms = self.0.lock();
        let until = rooms.get(room_id).and_then(Weak::upgrade).unwrap_or_default();
        rooms.insert(room_id.to_owned(), Arc::downgrade(&until));
        Begun { of: self.clone(), room_id: room_id.to_owned(), until: Some(until) }
    }

    /// Waits until none of these rooms is being joined; at once, if none is. Says whether it had to wait.
    pub(in crate::federation) async fn over(&self, rooms: impl IntoIterator<Item = &RoomId>) -> bool {
        let waiting: Vec<_> = {
            let under_way = self.0.lock();
            rooms.into_iter().filter_map(|room| Some(under_way.get(room)?.upgrade()?.subscribe())).collect()
        };
        let has_waited = !waiting.is_empty();
        for mut one in waiting {
            // Nothing is ever sent: this ends when the last sender is gone.
            while one.changed().await.is_ok() {}
        }
        has_waited
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut rooms = self.of.0.lock();
        self.until = None;
        if rooms.get(&self.room_id).is_some_and(|until| until.strong_count() == 0) {
            rooms.remove(&self.room_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_join_waits_for_all_of_its_room() {
        let (under_way, room, other) =
            (UnderWay::default(), RoomId::parse("!a:b").unwrap(), RoomId::parse("!c:d").unwrap());
        assert!(!under_way.over([&*room]).await);
        let (first, second) = (under_way.begin(&room), under_way.begin(&room));
        assert!(!under_way.over([&*other]).await);
        let mut waiting = Box::pin(under_way.over([&*other, &*room]));
        assert!(poll!(&mut waiting).is_pending());
        drop(first);
        assert!(poll!(&mut waiting).is_pending());
        drop(second);
        assert!(waiting.await);
        assert!(under_way.0.lock().is_empty());
    }
}
