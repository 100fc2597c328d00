//! Lanes: while a commit of a room is being synced, what is to be sent there queues; then all of it becomes the next commit.
//!
//! A lane is a task of its own, so that a caller who goes away tears nothing. It exists while something waits, and leaves
//! the room that it remembers to the next one.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache as QuickCache;
use tokio::sync::oneshot;

use super::{
    Env, MOST_EVENTS,
    assemble::{Answer, Assembled, Outcome, Unit, assemble},
    room::Room,
    wide::{self, WideError},
};
use crate::{
    base::tasks::Tasks,
    graph::{Placed, Proposal, Receipt, RoomNo, SendError, Verdict},
    store::{CommitError, ReadError, Store},
};

/// Units that may wait for one room; more are answered [`SendError::Busy`].
const MOST_WAITING: usize = 2_000;
/// Rooms that are remembered between two lanes.
const WARM_ROOMS: usize = 1_000;
/// Times that a commit is built before its conflict is answered.
const TRIES: usize = 8;

/// All lanes. Cheap to clone.
#[derive(Clone)]
pub(in crate::graph) struct Lanes(Arc<Inner>);

struct Inner {
    env: Arc<Env>,
    store: Store,
    tasks: Tasks,
    /// What waits, by room. A room that is in here has a running lane.
    queues: Mutex<HashMap<RoomNo, VecDeque<Job>>>,
    warm: QuickCache<RoomNo, Arc<Room>>,
}

struct Job {
    unit: Arc<Unit>,
    answer: oneshot::Sender<Answer>,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lanes({} running)", self.0.queues.lock().len())
    }
}

impl Lanes {
    pub(in crate::graph) fn new(env: Arc<Env>, store: Store, tasks: Tasks) -> Self {
        let (queues, warm) = (Mutex::default(), QuickCache::new(WARM_ROOMS));
        Self(Arc::new(Inner { env, store, tasks, queues, warm }))
    }

    pub(in crate::graph) async fn send(
        &self,
        room: RoomNo,
        proposals: Vec<Proposal>,
    ) -> Result<Vec<Placed>, SendError> {
        match self.run(room, Unit::Send(proposals)).await? {
            Outcome::Sent(placed) => Ok(placed),
            Outcome::Judged(_) => Err(SendError::Stopped),
        }
    }

    pub(in crate::graph) async fn receive(
        &self,
        room: RoomNo,
        receipt: Receipt,
        as_outlier: bool,
    ) -> Result<Verdict, SendError> {
        let unit = if as_outlier { Unit::Outlier(receipt) } else { Unit::Receive(receipt) };
        match self.run(room, unit).await? {
            Outcome::Judged(verdict) => Ok(verdict),
            Outcome::Sent(_) => Err(SendError::Stopped),
        }
    }

    /// Does in every room what is left to do there of a large commit.
    pub(in crate::graph) async fn settle(&self) -> Result<(), SendError> {
        let mut settled = Ok(());
        for room in wide::unsettled(&self.0.store).await? {
            // One that can't be settled holds up no other one.
            settled = self.run(room, Unit::Settle).await.map(drop).and(settled);
        }
        settled
    }

    /// The same in one room, if something is left to do there.
    pub(in crate::graph) async fn settle_room(&self, room: RoomNo) -> Result<(), SendError> {
        if wide::is_unsettled(&self.0.store, room).await? {
            self.run(room, Unit::Settle).await?;
        }
        Ok(())
    }

    /// Lanes that run, and units that wait in them.
    pub(in crate::graph) fn depth(&self) -> (usize, usize) {
        let queues = self.0.queues.lock();
        (queues.len(), queues.values().map(VecDeque::len).sum())
    }

    async fn run(&self, room: RoomNo, unit: Unit) -> Answer {
        let (answer, answered) = oneshot::channel();
        let job = Job { unit: Arc::new(unit), answer };
        let must_start = {
            let mut queues = self.0.queues.lock();
            let must_start = !queues.contains_key(&room);
            let queue = queues.entry(room).or_default();
            if queue.len() >= MOST_WAITING {
                return Err(SendError::Busy);
            }
            queue.push_back(job);
            must_start
        };
        if must_start {
            let lane = Lane { inner: Arc::clone(&self.0), room: None, no: room, jobs: VecDeque::new(), is_over: false };
            self.0.tasks.spawn("room lane", lane.run());
        }
        answered.await.unwrap_or(Err(SendError::Stopped))
    }
}

/// The running lane of a room.
struct Lane {
    inner: Arc<Inner>,
    no: RoomNo,
    room: Option<Arc<Room>>,
    jobs: VecDeque<Job>,
    /// It has given up its place among the queues; a next lane of the room may run already.
    is_over: bool,
}

impl Drop for Lane {
    /// After a panic, or when the runtime ends: those who wait are told, and the next one starts a new lane.
    fn drop(&mut self) {
        if !self.is_over {
            let waiting = self.inner.queues.lock().remove(&self.no);
            drop(waiting);
        }
    }
}

impl Lane {
    async fn run(mut self) {
        self.room = self.inner.warm.remove(&self.no).map(|(_, room)| room);
        while self.gather() {
            self.work().await;
        }
    }

    /// Takes what waits. When nothing does, the lane is over: the next one finds the room as this one leaves it.
    fn gather(&mut self) -> bool {
        let mut queues = self.inner.queues.lock();
        if let Some(queue) = queues.get_mut(&self.no) {
            let room = MOST_EVENTS.saturating_sub(self.jobs.len()).min(queue.len());
            self.jobs.extend(queue.drain(..room));
        }
        if self.jobs.is_empty() {
            if let Some(room) = self.room.take() {
                self.inner.warm.insert(self.no, room);
            }
            queues.remove(&self.no);
            self.is_over = true;
        }
        !self.jobs.is_empty()
    }

    /// Makes one commit of the first jobs and answers them.
    async fn work(&mut self) {
        let mut limit = self.jobs.len();
        for _ in 0..TRIES {
            let assembled = match self.assembled(limit).await {
                Ok(assembled) => assembled,
                // Alone, only who can't be judged fails.
                Err(SendError::Read(error)) if limit > 1 => {
                    tracing::warn!(%error, "what was to be sent to a room together is tried one by one");
                    limit = 1;
                    continue;
                }
                Err(SendError::Read(error)) => return self.answer_first(limit, &error.into()),
                Err(error) => return self.answer_all(&error),
            };
            match self.commit(assembled).await {
                Ok(answers) => return self.answer(answers),
                Err(WideError::Commit(CommitError::Conflict)) => self.room = None,
                // Alone, each of them is small enough.
                Err(WideError::Commit(CommitError::TooLarge(_))) if limit > 1 => (self.room, limit) = (None, 1),
                Err(error) => {
                    self.room = None;
                    return self.answer_first(limit, &error.into());
                }
            }
        }
        self.answer_first(limit, &CommitError::Conflict.into());
    }

    async fn assembled(&mut self, limit: usize) -> Result<Assembled, SendError> {
        if self.is_to_settle() {
            self.room = None;
        }
        let room = match &self.room {
            Some(room) => Arc::clone(room),
            None => {
                let (reader, no) = (self.inner.env.reader.clone(), self.no);
                let loaded = self.inner.store.read(move |view| load(&reader, view, no)).await??;
                let settled = self.settled(loaded).await?;
                Arc::clone(self.room.insert(Arc::new(settled)))
            }
        };
        let env = Arc::clone(&self.inner.env);
        let units: Vec<Arc<Unit>> = self.jobs.iter().take(limit).map(|job| Arc::clone(&job.unit)).collect();
        let read = self.inner.store.read(move |view| {
            let units: Vec<&Unit> = units.iter().map(|unit| &**unit).collect();
            assemble(&env, view, &room, &units)
        });
        Ok(read.await?)
    }

    fn is_to_settle(&self) -> bool {
        self.jobs.iter().any(|job| matches!(*job.unit, Unit::Settle))
    }

    /// A room in which nothing of an earlier commit is left to do.
    async fn settled(&self, mut room: Room) -> Result<Room, WideError> {
        if room.head.is_unsettled || self.is_to_settle() {
            room.head = wide::settle((&self.inner.env, &self.inner.store), self.no, &room.head).await?;
        }
        Ok(room)
    }

    async fn commit(&mut self, assembled: Assembled) -> Result<Vec<Answer>, WideError> {
        let Assembled { batch, ahead, head, tips, state, stamps, answers } = assembled;
        let Some(batch) = batch else { return Ok(answers) };
        if let Some(ahead) = ahead {
            ahead.write(&self.inner.store, self.no).await?;
        }
        let position = self.inner.store.commit(batch).await?;
        if let Some(room) = self.room.take() {
            let mut room = Arc::try_unwrap(room).unwrap_or_else(|shared| (*shared).clone());
            room.head = match position {
                Some(position) => stamps.stamp(head, position),
                None => head,
            };
            room.tips = tips;
            room.state.absorb(state);
            self.keep(room).await;
        }
        Ok(answers)
    }

    /// Remembers a room as it was just committed, once nothing is left to do of that. What can't be done now is before the
    /// next commit of the room, or by whoever keeps house.
    async fn keep(&mut self, room: Room) {
        let settled = if room.head.is_unsettled { self.settled(room).await } else { Ok(room) };
        match settled {
            Ok(room) => self.room = Some(Arc::new(room)),
            Err(error) => tracing::warn!(room = ?self.no, %error, "old indexes could not be thrown away yet"),
        }
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            if let Some(job) = self.jobs.pop_front() {
                // Whoever asked may be gone; what they asked for is done all the same.
                let _ = job.answer.send(answer);
            }
        }
    }

    fn answer_first(&mut self, count: usize, error: &SendError) {
        let answers = (0..count).map(|_| Err(error.clone())).collect();
        self.answer(answers);
    }

    fn answer_all(&mut self, error: &SendError) {
        self.room = None;
        self.answer_first(self.jobs.len(), error);
    }
}

/// A failure of the store ends the closure; all else is an answer.
fn load(
    reader: &crate::graph::Reader,
    view: &crate::store::View<'_>,
    no: RoomNo,
) -> Result<Result<Room, SendError>, ReadError> {
    match Room::load(reader, view, no) {
        Err(SendError::Read(error)) => Err(error),
        other => Ok(other),
    }
}
