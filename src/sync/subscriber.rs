//! Who is online, and what has touched them since.
//!
//! A *subscriber* is kept for each online user, outlives single requests, and holds a ring of the last touches. A commit
//! walks the online users of the rooms that it touches and of nothing else; a waiting `/sync` whose `since` lies within
//! the ring learns from it alone what is new, so that the work is proportional to what changed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::prepared::Prepared;
use crate::{graph::RoomNo, store::Position};

/// How many touches a subscriber remembers; behind that the store is asked.
const RING: usize = 256;
/// How long a subscriber outlives its last request.
const KEEP: Duration = Duration::from_secs(5 * 60);
/// After how many new subscribers the idle ones are looked for.
const SWEEP_EVERY: usize = 256;

/// What a commit touched, as far as a waiting client cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// Something in the timeline, state or memberships of a room.
    Room(RoomNo),
    /// Receipts in a room.
    Receipts(RoomNo),
    /// Something in memory only (typing) in a room: wakes, but has counts of its own and is not remembered.
    Ephemeral(RoomNo),
    /// Account data, devices, or another thing of the user's own.
    User,
}

/// All online users of this process.
#[derive(Debug, Default)]
pub struct Subscribers {
    online: Mutex<Online>,
    /// Everything at or below this position has been told: syncs read up to here.
    reached: AtomicU64,
}

#[derive(Debug, Default)]
struct Online {
    users: HashMap<String, Arc<Subscriber>>,
    /// The online members of a room, by user id.
    rooms: HashMap<RoomNo, HashSet<Arc<str>>>,
    since_sweep: usize,
}

/// One online user.
#[derive(Debug)]
pub struct Subscriber {
    user_id: Arc<str>,
    ring: Mutex<Ring>,
    notify: Notify,
    /// What every look needs of the user's own.
    pub prepared: Prepared,
}

#[derive(Debug)]
struct Ring {
    /// Every touch behind this position is in `touches`.
    complete_since: Position,
    touches: VecDeque<(Position, Touched)>,
    rooms: HashSet<RoomNo>,
    last_used: Instant,
}

impl Subscribers {
    /// The subscriber of a user, made if there is none.
    ///
    /// `joined` gives the user's joined rooms and the position at which that was true; it is called while commits are
    /// held up for a moment, so that no membership is missed between reading and listening.
    pub fn subscribe<E>(
        &self,
        user_id: &str,
        now: Instant,
        joined: impl FnOnce() -> Result<(Position, Vec<RoomNo>), E>,
    ) -> Result<Arc<Subscriber>, E> {
        let mut online = self.online.lock();
        if let Some(subscriber) = online.users.get(user_id) {
            subscriber.ring.lock().last_used = now;
            return Ok(Arc::clone(subscriber));
        }
        let (complete_since, rooms) = joined()?;
        online.sweep(now);
        let user_id: Arc<str> = user_id.into();
        for room in &rooms {
            online.rooms.entry(*room).or_default().insert(Arc::clone(&user_id));
        }
        let subscriber = Arc::new(Subscriber {
            user_id: Arc::clone(&user_id),
            ring: Mutex::new(Ring {
                complete_since,
                touches: VecDeque::new(),
                rooms: rooms.into_iter().collect(),
                last_used: now,
            }),
            notify: Notify::new(),
            prepared: Prepared::default(),
        });
        online.users.insert(user_id.as_ref().to_owned(), Arc::clone(&subscriber));
        Ok(subscriber)
    }

    /// Tells whoever is concerned what a commit at `position` touched.
    ///
    /// Nobody is woken before all of it is told and the position is reached: who looks at once, and finds that what woke
    /// them lies ahead of what may be read, would wait on and never be woken for it again.
    pub fn tell(&self, position: Position, touches: impl FnOnce(&mut Telling<'_>)) {
        let mut telling = Telling { all: self, position, concerned: Vec::new() };
        touches(&mut telling);
        self.reached(position);
        for subscriber in telling.concerned {
            subscriber.notify.notify_waiters();
        }
    }

    /// Who is typing in a room changed.
    pub fn touch_typing(&self, room: RoomNo) {
        self.tell(self.position(), |telling| telling.touch_room(room, Touched::Ephemeral(room)));
    }

    /// Everything up to `position` has been told.
    pub fn reached(&self, position: Position) {
        self.reached.fetch_max(position.0, Ordering::AcqRel);
    }

    /// How far everything has been told.
    pub fn position(&self) -> Position {
        Position(self.reached.load(Ordering::Acquire))
    }

    /// A user joined a room, or is not joined any more.
    pub fn set_joined(&self, user_id: &str, room: RoomNo, joined: bool) {
        let mut online = self.online.lock();
        let Some(subscriber) = online.users.get(user_id).map(Arc::clone) else { return };
        let mut ring = subscriber.ring.lock();
        if joined {
            ring.rooms.insert(room);
            online.rooms.entry(room).or_default().insert(Arc::clone(&subscriber.user_id));
        } else {
            ring.rooms.remove(&room);
            online.forget_member(room, user_id);
        }
    }

    /// How many users are online.
    pub fn online(&self) -> usize {
        self.online.lock().users.len()
    }
}

/// What one commit touches, while it is told.
#[derive(Debug)]
pub struct Telling<'a> {
    all: &'a Subscribers,
    position: Position,
    concerned: Vec<Arc<Subscriber>>,
}

impl Telling<'_> {
    /// A room was touched: its online members learn it.
    pub fn touch_room(&mut self, room: RoomNo, what: Touched) {
        let online = self.all.online.lock();
        let Some(members) = online.rooms.get(&room) else { return };
        for subscriber in members.iter().filter_map(|user| online.users.get(user.as_ref())) {
            subscriber.touch(self.position, what);
            self.concerned.push(Arc::clone(subscriber));
        }
    }

    /// Something of a user's own was touched.
    pub fn touch_user(&mut self, user_id: &str, what: Touched) {
        if let Some(subscriber) = self.all.online.lock().users.get(user_id) {
            subscriber.touch(self.position, what);
            self.concerned.push(Arc::clone(subscriber));
        }
    }
}

impl Online {
    fn forget_member(&mut self, room: RoomNo, user_id: &str) {
        if let Some(members) = self.rooms.get_mut(&room) {
            members.remove(user_id);
            if members.is_empty() {
                self.rooms.remove(&room);
            }
        }
    }

    /// Drops who has not asked for a while and is not asking now.
    fn sweep(&mut self, now: Instant) {
        self.since_sweep = self.since_sweep.saturating_add(1);
        if self.since_sweep < SWEEP_EVERY {
            return;
        }
        self.since_sweep = 0;
        let idle: Vec<_> = self
            .users
            .values()
            .filter(|one| Arc::strong_count(one) == 1 && now.duration_since(one.ring.lock().last_used) > KEEP)
            .map(Arc::clone)
            .collect();
        for subscriber in idle {
            self.users.remove(subscriber.user_id.as_ref());
            let rooms: Vec<_> = subscriber.ring.lock().rooms.iter().copied().collect();
            for room in rooms {
                self.forget_member(room, &subscriber.user_id);
            }
        }
    }
}

impl Subscriber {
    /// Remembers a touch; whoever tells of it wakes the waiting ones afterwards.
    fn touch(&self, position: Position, what: Touched) {
        if what == Touched::User {
            self.prepared.changed(position);
        }
        let mut ring = self.ring.lock();
        if matches!(what, Touched::Ephemeral(_)) || ring.touches.back() == Some(&(position, what)) {
            return;
        }
        if ring.touches.len() == RING
            && let Some((dropped, _)) = ring.touches.pop_front()
        {
            ring.complete_since = ring.complete_since.max(dropped);
        }
        ring.touches.push_back((position, what));
    }

    /// What was touched behind `since`, each thing once; `None` if the ring does not reach back that far.
    pub fn touched_since(&self, since: Position) -> Option<Vec<Touched>> {
        let ring = self.ring.lock();
        if since < ring.complete_since {
            return None;
        }
        let mut seen = Vec::new();
        for (_, what) in ring.touches.iter().rev().take_while(|(position, _)| *position > since) {
            if !seen.contains(what) {
                seen.push(*what);
            }
        }
        Some(seen)
    }

    /// Completes at the next touch after this call returned (its `enable` must be called before looking for news).
    pub fn touched(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::Future as _,
        task::{Context, Wake, Waker},
    };

    use super::*;
    use crate::rooms::ignored::Ignored;

    fn subscribe(all: &Subscribers, user: &str, at: u64, rooms: &[u64]) -> Arc<Subscriber> {
        let rooms = rooms.iter().map(|no| RoomNo(*no)).collect();
        all.subscribe::<Infallible>(user, Instant::now(), || Ok((Position(at), rooms))).unwrap()
    }

    #[tokio::test]
    async fn only_members_are_touched() {
        let all = Subscribers::default();
        let (alice, bob) = (subscribe(&all, "@alice:a", 1, &[1, 2]), subscribe(&all, "@bob:a", 1, &[2]));
        all.tell(Position(5), |telling| telling.touch_room(RoomNo(1), Touched::Room(RoomNo(1))));
        assert_eq!(alice.touched_since(Position(1)), Some(vec![Touched::Room(RoomNo(1))]));
        assert_eq!(bob.touched_since(Position(1)), Some(vec![]));
        assert_eq!(alice.touched_since(Position(5)), Some(vec![]));
        assert_eq!(alice.touched_since(Position(0)), None, "the ring began later");
    }

    #[tokio::test]
    async fn joining_and_leaving_moves_a_member() {
        let all = Subscribers::default();
        let alice = subscribe(&all, "@alice:a", 1, &[]);
        all.set_joined("@alice:a", RoomNo(7), true);
        all.tell(Position(2), |telling| telling.touch_room(RoomNo(7), Touched::Room(RoomNo(7))));
        all.set_joined("@alice:a", RoomNo(7), false);
        all.tell(Position(3), |telling| telling.touch_room(RoomNo(7), Touched::Room(RoomNo(7))));
        assert_eq!(alice.touched_since(Position(2)), Some(vec![]));
        assert_eq!(alice.touched_since(Position(1)), Some(vec![Touched::Room(RoomNo(7))]));
    }

    #[tokio::test]
    async fn a_full_ring_forgets_and_says_so() {
        let all = Subscribers::default();
        let alice = subscribe(&all, "@alice:a", 0, &[1]);
        for position in 1..=RING as u64 + 1 {
            all.tell(Position(position), |telling| telling.touch_room(RoomNo(1), Touched::Room(RoomNo(1))));
        }
        assert_eq!(alice.touched_since(Position(0)), None);
        assert!(alice.touched_since(Position(1)).is_some());
    }

    /// Notes what could be read when it was woken.
    struct Woken {
        all: Subscribers,
        readable: AtomicU64,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.readable.store(self.all.position().0, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_is_woken_can_read_what_woke_them() {
        let woken = Arc::new(Woken { all: Subscribers::default(), readable: AtomicU64::new(0) });
        let alice = subscribe(&woken.all, "@alice:a", 0, &[1]);
        let mut waiting = std::pin::pin!(alice.touched());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        woken.all.tell(Position(7), |telling| telling.touch_room(RoomNo(1), Touched::Room(RoomNo(1))));
        assert_eq!(woken.readable.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn only_a_touch_of_the_users_own_drops_what_is_prepared() {
        let all = Subscribers::default();
        let alice = subscribe(&all, "@alice:a", 1, &[1]);
        let bob = || Ok::<_, Infallible>(Ignored::of_content(br#"{"ignored_users":{"@bob:a":{}}}"#));
        let nobody = || Ok::<_, Infallible>(Ignored::default());
        assert!(alice.prepared.ignored(Position(1), bob).unwrap().contains("@bob:a"));
        all.tell(Position(2), |telling| telling.touch_room(RoomNo(1), Touched::Room(RoomNo(1))));
        assert!(alice.prepared.ignored(Position(2), nobody).unwrap().contains("@bob:a"), "not read again");
        all.tell(Position(3), |telling| telling.touch_user("@alice:a", Touched::User));
        assert!(!alice.prepared.ignored(Position(3), nobody).unwrap().contains("@bob:a"), "read again");
    }

    #[tokio::test]
    async fn a_touch_wakes_who_waits() {
        let all = Subscribers::default();
        let alice = subscribe(&all, "@alice:a", 0, &[]);
        let mut waiting = std::pin::pin!(alice.touched());
        waiting.as_mut().enable();
        all.tell(Position(1), |telling| telling.touch_user("@alice:a", Touched::User));
        waiting.await;
    }
}
