//! Who is typing: in memory only, for as long as the client said, at most two minutes.
//!
//! Every change is counted; a `/sync` compares the count in its token with that of a room. Counts mean nothing to
//! another process (the token's `boot` tells).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use ruma::{OwnedUserId, UserId};
use tokio::{sync::Notify, time::Instant};

use crate::{base::clock::Clock, graph::RoomNo};

/// The longest that one notice holds; a client that goes on typing repeats it.
pub const LONGEST: Duration = Duration::from_mins(2);

/// Rooms that are remembered in which nobody types any more: whoever comes later than so many others' changes is not told
/// that somebody stopped.
const MOST_ROOMS: usize = 10_000;

/// Told of each room in which something changed.
type Listener = Box<dyn Fn(RoomNo) + Send + Sync>;

/// Who is typing where. Cheap to clone.
#[derive(Clone)]
pub struct Typing(Arc<Inner>);

struct Inner {
    clock: Clock,
    state: Mutex<State>,
    /// The earliest deadline may have moved.
    moved: Notify,
    listeners: RwLock<Vec<Listener>>,
}

#[derive(Default)]
struct State {
    changes: u64,
    rooms: HashMap<RoomNo, Room>,
    /// The rooms by the count of their last change.
    by_change: BTreeMap<u64, RoomNo>,
    /// When notices end, earliest first. May hold notices that have ended otherwise.
    deadlines: BTreeSet<(Instant, RoomNo, OwnedUserId)>,
}

#[derive(Default)]
struct Room {
    /// Who is typing, and until when.
    users: BTreeMap<OwnedUserId, Instant>,
    /// The count of the last change of who is typing.
    changed: u64,
}

impl Typing {
    /// Nobody is typing.
    pub fn new(clock: Clock) -> Self {
        let inner = Inner { clock, state: Mutex::default(), moved: Notify::new(), listeners: RwLock::default() };
        Self(Arc::new(inner))
    }

    /// Calls `listener` with each room in which somebody starts or stops typing, from now on. Must be quick.
    pub fn on_change(&self, listener: impl Fn(RoomNo) + Send + Sync + 'static) {
        self.0.listeners.write().push(Box::new(listener));
    }

    /// A user types in a room for `timeout` from now (at most [`LONGEST`]); repeating it is no change.
    pub fn start(&self, room: RoomNo, user_id: &UserId, timeout: Duration) {
        let until = self.0.clock.instant() + timeout.min(LONGEST);
        let mut state = self.0.state.lock();
        let old = state.rooms.entry(room).or_default().users.insert(user_id.to_owned(), until);
        if let Some(old) = old {
            state.deadlines.remove(&(old, room, user_id.to_owned()));
        } else {
            state.changed(room);
        }
        state.deadlines.insert((until, room, user_id.to_owned()));
        drop(state);
        self.0.moved.notify_one();
        if old.is_none() {
            self.tell(room);
        }
    }

    /// A user does not type in a room (any more).
    pub fn stop(&self, room: RoomNo, user_id: &UserId) {
        let mut state = self.0.state.lock();
        let Some(old) = state.rooms.get_mut(&room).and_then(|room| room.users.remove(user_id)) else { return };
        state.deadlines.remove(&(old, room, user_id.to_owned()));
        state.changed(room);
        drop(state);
        self.tell(room);
    }

    /// How many changes were counted so far: what goes into a sync token.
    pub fn count(&self) -> u64 {
        self.0.state.lock().changes
    }

    /// Who is typing in a room, if that changed behind `count`.
    pub fn changed_since(&self, room: RoomNo, count: u64) -> Option<Vec<OwnedUserId>> {
        let state = self.0.state.lock();
        let room = state.rooms.get(&room).filter(|room| room.changed > count)?;
        Some(room.users.keys().cloned().collect())
    }

    /// The rooms in which who is typing changed behind `count`.
    pub fn rooms_changed_since(&self, count: u64) -> Vec<RoomNo> {
        let state = self.0.state.lock();
        state.by_change.range((Bound::Excluded(count), Bound::Unbounded)).map(|(_, room)| *room).collect()
    }

    /// Ends notices when their time is up, for ever. One task of a process runs this.
    pub async fn run(self) {
        loop {
            let next = self.0.state.lock().deadlines.first().map(|(deadline, ..)| *deadline);
            match next {
                None => self.0.moved.notified().await,
                Some(deadline) => {
                    tokio::select! {
                        () = self.0.moved.notified() => {}
                        () = tokio::time::sleep_until(deadline) => self.expire(),
                    }
                }
            }
        }
    }

    fn expire(&self) {
        let now = self.0.clock.instant();
        let mut ended = BTreeSet::new();
        let mut state = self.0.state.lock();
        while let Some((deadline, room, user_id)) = state.deadlines.pop_first() {
            if deadline > now {
                state.deadlines.insert((deadline, room, user_id));
                break;
            }
            if state.rooms.get_mut(&room).and_then(|room| room.users.remove(&user_id)).is_some() {
                state.changed(room);
                ended.insert(room);
            }
        }
        drop(state);
        ended.into_iter().for_each(|room| self.tell(room));
    }

    fn tell(&self, room: RoomNo) {
        for listener in self.0.listeners.read().iter() {
            listener(room);
        }
    }
}

impl State {
    fn changed(&mut self, room: RoomNo) {
        self.changes = self.changes.saturating_add(1);
        let before = std::mem::replace(&mut self.rooms.entry(room).or_default().changed, self.changes);
        self.by_change.remove(&before);
        self.by_change.insert(self.changes, room);
        while self.by_change.len() > MOST_ROOMS && self.forget_oldest() {}
    }
}

impl State {
    /// Forgets the room that changed first, unless somebody types in it still; says whether it did.
    fn forget_oldest(&mut self) -> bool {
        let Some((change, room)) = self.by_change.first_key_value().map(|(change, room)| (*change, *room)) else {
            return false;
        };
        if self.rooms.get(&room).is_some_and(|room| !room.users.is_empty()) {
            return false;
        }
        self.by_change.remove(&change);
        self.rooms.remove(&room);
        true
    }
}

impl fmt::Debug for Typing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Typing({} changes)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ruma::user_id;

    use super::*;

    const ROOM: RoomNo = RoomNo(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn typing() -> (Typing, Arc<AtomicUsize>) {
        let (typing, told) = (Typing::new(Clock::starting_at(0)), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&told);
        typing.on_change(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        #[expect(clippy::disallowed_methods, reason = "the test ends when it panics")]
        tokio::spawn(typing.clone().run());
        (typing, told)
    }

    fn names(users: Option<Vec<OwnedUserId>>) -> Option<Vec<String>> {
        users.map(|users| users.into_iter().map(|user| user.localpart().to_owned()).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_ends_by_itself_or_by_the_client() {
        let (typing, told) = typing();
        typing.start(ROOM, user_id!("@a:b"), 10 * SECOND);
        typing.start(ROOM, user_id!("@c:b"), 20 * SECOND);
        assert_eq!(names(typing.changed_since(ROOM, 0)), Some(vec!["a".to_owned(), "c".to_owned()]));
        let count = typing.count();
        assert_eq!(typing.changed_since(ROOM, count), None);
        tokio::time::sleep(11 * SECOND).await;
        assert_eq!(names(typing.changed_since(ROOM, count)), Some(vec!["c".to_owned()]));
        typing.stop(ROOM, user_id!("@c:b"));
        typing.stop(ROOM, user_id!("@c:b"));
        assert_eq!(names(typing.changed_since(ROOM, count)), Some(vec![]));
        assert_eq!((typing.count(), told.load(Ordering::Relaxed)), (4, 4));
        assert_eq!(typing.rooms_changed_since(3), [ROOM]);
        assert!(typing.rooms_changed_since(4).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn repeating_prolongs_and_is_no_change() {
        let (typing, told) = typing();
        typing.start(ROOM, user_id!("@a:b"), 10 * SECOND);
        tokio::time::sleep(9 * SECOND).await;
        typing.start(ROOM, user_id!("@a:b"), 10 * SECOND);
        tokio::time::sleep(9 * SECOND).await;
        assert_eq!((typing.count(), told.load(Ordering::Relaxed)), (1, 1));
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(names(typing.changed_since(ROOM, 1)), Some(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_holds_two_minutes_at_most() {
        let (typing, _) = typing();
        typing.start(ROOM, user_id!("@a:b"), Duration::MAX);
        tokio::time::sleep(LONGEST + SECOND).await;
        assert_eq!(names(typing.changed_since(ROOM, 0)), Some(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_in_which_nobody_types_any_more_are_forgotten_in_the_end() {
        let typing = Typing::new(Clock::starting_at(0));
        typing.start(ROOM, user_id!("@a:b"), 10 * SECOND);
        for number in 2..MOST_ROOMS as u64 + 10 {
            typing.start(RoomNo(number), user_id!("@a:b"), 10 * SECOND);
            typing.stop(RoomNo(number), user_id!("@a:b"));
        }
        assert!(
            typing.0.state.lock().rooms.len() > MOST_ROOMS,
            "the first in which somebody types holds up the others"
        );
        let count = typing.count();
        typing.stop(ROOM, user_id!("@a:b"));
        assert_eq!(typing.rooms_changed_since(count), [ROOM]);
        let state = typing.0.state.lock();
        assert_eq!((state.rooms.len(), state.by_change.len()), (MOST_ROOMS, MOST_ROOMS));
    }
}
