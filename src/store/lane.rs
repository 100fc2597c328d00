//! The commit lane: many batches, one write.
//!
//! While a group is being written, batches queue; then all that wait go together, each with its own position, into one
//! write and (if any of them asked for it) one fsync. A batch's assertions are checked against the store and the batches
//! before it in the group. Order: checked, written, durable; then published and answered, in the order of positions.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use super::{
    batch::{Assertion, Batch, Change},
    commit::{CommitError, MOST_CLEARED, Published, resolve},
    draft::Draft,
    engine::{Durability, Engine, EngineError, Operation, RawRange, ReadTier},
    position::Position,
    schema,
};

/// Batches that may wait; whoever brings one more waits outside.
const QUEUE: usize = 4_096;
/// Batches of one group.
const MOST_BATCHES: usize = 512;
/// Operations after which no further batch joins a group.
const ENOUGH_OPERATIONS: usize = 20_000;

/// Called with every durable commit, in the order of positions. Must be quick and must not block.
pub(super) type Publish = Box<dyn Fn(Published) + Send + Sync>;

/// How commits get to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A thread of its own, for engines that wait for a disk.
    Thread,
    /// Whoever commits, at once: for engines in memory, so that a paused runtime sees no other thread.
    Inline,
}

/// What the lane has done, for the metrics.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Groups written.
    pub groups: AtomicU64,
    /// Batches in them.
    pub batches: AtomicU64,
    /// Batches that wait now.
    pub waiting: AtomicU64,
    /// Time spent in writes, in µs.
    pub write_micros: AtomicU64,
}

pub(super) struct Lane {
    shared: Arc<Shared>,
    driver: Driver,
    places: Semaphore,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    engine: Arc<dyn Engine>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    last: Mutex<Position>,
    publish: Publish,
    counters: LaneCounters,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

struct Waiting {
    batch: Batch,
    durability: Durability,
    answer: oneshot::Sender<Result<Option<Position>, CommitError>>,
}

impl Lane {
    /// A lane whose next position is behind `last`.
    pub(super) fn new(engine: Arc<dyn Engine>, driver: Driver, last: Position, publish: Publish) -> Self {
        let shared = Arc::new(Shared {
            engine,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            last: Mutex::new(last),
            publish,
            counters: LaneCounters::default(),
        });
        let thread = (driver == Driver::Thread).then(|| {
            let shared = Arc::clone(&shared);
            // INVARIANT: a process that cannot have this thread cannot serve at all.
            let thread = std::thread::Builder::new().name("commit".to_owned()).spawn(move || run(&shared));
            #[expect(clippy::expect_used, reason = "the invariant above")]
            thread.expect("the system gives a thread at start")
        });
        Self { shared, driver, places: Semaphore::new(QUEUE), thread: Mutex::new(thread) }
    }

    pub(super) fn counters(&self) -> &LaneCounters {
        &self.shared.counters
    }

    pub(super) async fn commit(&self, batch: Batch, durability: Durability) -> Result<Option<Position>, CommitError> {
        // Closed is never called on this semaphore, so a permit always comes.
        let _place = self.places.acquire().await.map_err(|_| CommitError::Closed)?;
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            if queue.closed {
                return Err(CommitError::Closed);
            }
            queue.waiting.push_back(Waiting { batch, durability, answer });
            self.shared.counters.waiting.fetch_add(1, Ordering::Relaxed);
        }
        match self.driver {
            Driver::Thread => {
                self.shared.arrived.notify_one();
            }
            Driver::Inline => self.shared.work_off(),
        }
        answered.await.map_err(|_| CommitError::Closed)?
    }

    /// Takes no further batch; what waits is written when it returns.
    pub(super) fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(shared: &Shared) {
    // A lane that panicked has told some that it is done and others nothing: only a restart knows what is true.
    let abort = AbortOnPanic;
    loop {
        {
            let mut queue = shared.queue.lock();
            while queue.waiting.is_empty() {
                if queue.closed {
                    std::mem::forget(abort);
                    return;
                }
                shared.arrived.wait(&mut queue);
            }
        }
        shared.work_off();
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!("the commit lane panicked: the process ends");
        std::process::abort();
    }
}

/// A batch that is checked and waits for the group's write.
struct Sequenced {
    position: Option<Position>,
    published: Option<Published>,
    answer: oneshot::Sender<Result<Option<Position>, CommitError>>,
}

impl Shared {
    /// Writes all that waits now.
    fn work_off(&self) {
        // Held over the whole group: it is what makes the order of positions the order of writes and of publishing.
        let mut last = self.last.lock();
        loop {
            let group: Vec<Waiting> = {
                let mut queue = self.queue.lock();
                let count = queue.waiting.len().min(MOST_BATCHES);
                queue.waiting.drain(..count).collect()
            };
            if group.is_empty() {
                return;
            }
            self.counters.waiting.fetch_sub(group.len() as u64, Ordering::Relaxed);
            self.write_group(group, &mut last);
        }
    }

    fn write_group(&self, group: Vec<Waiting>, last: &mut Position) {
        let before = *last;
        let mut draft = Draft::of(group.iter().map(|waiting| &waiting.batch));
        let mut sequenced = Vec::with_capacity(group.len());
        let (mut durability, mut rest) = (Durability::Lazy, VecDeque::from(group));
        while let Some(Waiting { mut batch, durability: wanted, answer }) = rest.pop_front() {
            if let Err(error) = self.check(&batch, &draft) {
                let _ = answer.send(Err(error));
                continue;
            }
            let position = batch.wants_position().then(|| Position(last.0.saturating_add(1)));
            let touches = std::mem::take(&mut batch.touches);
            match resolve(batch.changes, position.unwrap_or(*last)) {
                Ok(operations) => draft.add(operations),
                Err(error) => {
                    let _ = answer.send(Err(error));
                    continue;
                }
            }
            *last = position.unwrap_or(*last);
            if wanted == Durability::Synced {
                durability = Durability::Synced;
            }
            let published = position.map(|position| Published {
                position,
                touches: touches.into_iter().map(|touch| touch(position)).collect(),
            });
            sequenced.push(Sequenced { position, published, answer });
            if draft.operations.len() > ENOUGH_OPERATIONS {
                break;
            }
        }
        if !rest.is_empty() {
            let mut queue = self.queue.lock();
            self.counters.waiting.fetch_add(rest.len() as u64, Ordering::Relaxed);
            while let Some(waiting) = rest.pop_back() {
                queue.waiting.push_front(waiting);
            }
        }
        if sequenced.is_empty() {
            return;
        }
        if *last != before {
            draft.operations.push(schema::last_position(*last));
        }
        self.finish(&draft.operations, durability, *last, sequenced);
    }

    fn finish(&self, operations: &[Operation], durability: Durability, last: Position, sequenced: Vec<Sequenced>) {
        let started = tokio::time::Instant::now();
        let written = self.engine.write(operations, durability, last);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.write_micros.fetch_add(micros, Ordering::Relaxed);
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.counters.batches.fetch_add(sequenced.len() as u64, Ordering::Relaxed);
        for Sequenced { position, published, answer } in sequenced {
            // A caller who does not wait any more is fine: the commit stands all the same.
            match &written {
                Ok(()) => {
                    // Published first: who was answered may read what they wrote.
                    if let Some(published) = published {
                        (self.publish)(published);
                    }
                    let _ = answer.send(Ok(position));
                }
                Err(error) => {
                    let _ = answer.send(Err(error.clone().into()));
                }
            }
        }
    }

    /// Whether a batch may be written as far as that depends on what is stored.
    fn check(&self, batch: &Batch, draft: &Draft) -> Result<(), CommitError> {
        if !self.holds(&batch.assertions, draft)? {
            return Err(CommitError::Conflict);
        }
        for change in &batch.changes {
            if let Change::Clear { info, start, end } = change {
                let range = RawRange { family: info.family, start, end, reversed: false };
                if self.rows_in(&range)? > MOST_CLEARED {
                    return Err(CommitError::TooLarge("a cleared span of more than 1,000 rows"));
                }
            }
        }
        Ok(())
    }

    /// How many rows a range holds; counting stops behind the limit.
    fn rows_in(&self, range: &RawRange<'_>) -> Result<usize, EngineError> {
        let (mut rows, mut scanned) = (0_usize, Ok(()));
        self.engine.snapshot(ReadTier::All, &mut |snapshot| {
            scanned = snapshot.scan(range, &mut |_, _| {
                rows = rows.saturating_add(1);
                rows <= MOST_CLEARED
            });
        });
        scanned.map(|()| rows)
    }

    fn holds(&self, assertions: &[Assertion], draft: &Draft) -> Result<bool, EngineError> {
        if assertions.is_empty() {
            return Ok(true);
        }
        let mut all_hold = true;
        let mut failure = None;
        self.engine.snapshot(ReadTier::All, &mut |snapshot| {
            for assertion in assertions {
                let holds = match draft.find(assertion.family, &assertion.key) {
                    Some(drafted) => assertion.holds(drafted),
                    None => {
                        let mut holds = assertion.holds(None);
                        let read = snapshot.get(assertion.family, &assertion.key, &mut |found| {
                            holds = assertion.holds(Some(found));
                        });
                        failure = failure.take().or(read.err());
                        holds
                    }
                };
                all_hold &= holds;
            }
        });
        failure.map_or(Ok(all_hold), Err)
    }
}
