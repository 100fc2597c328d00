//! The store: typed keyspaces over an engine of ordered bytes. Knows nothing of Matrix.

pub mod batch;
pub mod catalogue;
pub mod codec;
pub mod commit;
mod draft;
pub mod engine;
pub mod fsck;
#[cfg(test)]
pub(crate) mod golden;
pub mod keyspace;
mod lane;
pub mod migrate;
mod migrations;
pub mod position;
pub mod schema;
pub mod value;
pub mod view;

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use tokio::sync::Semaphore;

use self::lane::Lane;
pub use self::{
    batch::{Batch, Claims, Touch},
    codec::{DecodeError, Key, KeyOf, KeyPart, PrefixOf},
    commit::{CommitError, Published},
    engine::{Engine, EngineError, ReadTier},
    keyspace::{Family, Keyspace, KeyspaceInfo, Span},
    lane::{Driver, LaneCounters},
    position::Position,
    schema::OpenError,
    value::{Record, Value},
    view::{Page, ReadError, View},
};

/// Called with every durable commit, in the order of positions. Must be quick and must not block.
type Listener = Box<dyn Fn(&Published) + Send + Sync>;

/// Reads that may go to disk at once.
const DISK_READS: usize = 16;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn Engine>,
    lane: Lane,
    epoch: u32,
    news: Arc<News>,
    disk_reads: Semaphore,
    counters: ReadCounters,
}

/// What reads had to wait for, for the metrics.
#[derive(Debug, Default)]
struct ReadCounters {
    from_disk: AtomicU64,
    waiting: AtomicU64,
}

/// A read that waits for its turn, for as long as this is there; also when its caller gives up.
struct InLine<'a>(&'a AtomicU64);

impl<'a> InLine<'a> {
    fn new(line: &'a AtomicU64) -> Self {
        line.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What has become durable, and who wants to know.
#[derive(Default)]
struct News {
    horizon: AtomicU64,
    listeners: RwLock<Vec<Listener>>,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// How commits get to the engine.
    pub driver: Driver,
    /// Open although acknowledged commits are missing, and begin a new epoch.
    pub accept_loss: bool,
    /// This is an older copy that was put back: begin a new epoch, since what was given out after it was made is not in
    /// it.
    pub restored: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { driver: Driver::Inline, accept_loss: false, restored: false }
    }
}

impl Store {
    /// A store over `engine`: what was in it, or a new one.
    pub fn open_with(engine: impl Engine, options: OpenOptions) -> Result<Self, OpenError> {
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let life = schema::begin(&*engine, options)?;
        migrate::run(&*engine, life.schema, life.last, migrations::ALL)?;
        let news = Arc::new(News { horizon: AtomicU64::new(life.last.0), ..News::default() });
        let publish = Arc::clone(&news);
        let publish = Box::new(move |published: Published| publish.publish(&published));
        let lane = Lane::new(Arc::clone(&engine), options.driver, life.last, publish);
        let disk_reads = Semaphore::new(DISK_READS);
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                lane,
                epoch: life.schema.epoch,
                news,
                disk_reads,
                counters: ReadCounters::default(),
            }),
        })
    }

    /// A store over an engine in memory, which has nothing to lose.
    ///
    /// # Panics
    /// When a newer release wrote it, or its own rows are damaged: for tests and tools only.
    pub fn open(engine: impl Engine) -> Self {
        // INVARIANT: in memory nobody else can have written.
        #[expect(clippy::expect_used, reason = "the invariant above")]
        Self::open_with(engine, OpenOptions::default()).expect("a store in memory opens")
    }

    /// Reads from one snapshot. The closure has no effects: it runs on what is in memory, and when that is not enough it
    /// runs again, whole, on a bounded number of threads that may go to disk.
    pub async fn read<T, E>(&self, closure: impl Fn(&View<'_>) -> Result<T, E> + Send + Sync + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        let missed = Cell::new(false);
        let read = self.read_at(ReadTier::BlockCache, Some(&missed), &closure);
        if !missed.get() {
            return read;
        }
        let counters = &self.inner.counters;
        counters.from_disk.fetch_add(1, Ordering::Relaxed);
        let in_line = InLine::new(&counters.waiting);
        // Closed is never called on this semaphore; without a permit the read would only be less bounded.
        let _permit = self.inner.disk_reads.acquire().await.ok();
        drop(in_line);
        let store = self.clone();
        let read = tokio::task::spawn_blocking(move || store.read_at(ReadTier::All, None, &closure));
        match read.await {
            Ok(read) => read,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(ReadError::Engine(EngineError::Io(error.to_string())).into()),
            },
        }
    }

    /// Reads from one snapshot, going to disk on this thread if need be: for start-up, the command line and tests.
    pub fn read_blocking<T, E>(&self, closure: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        self.read_at(ReadTier::All, None, closure)
    }

    fn read_at<T, E>(
        &self,
        tier: ReadTier,
        missed: Option<&Cell<bool>>,
        closure: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // The horizon first: the snapshot then holds at least all that is at or below it.
        let horizon = self.horizon();
        let (mut closure, mut answer) = (Some(closure), None);
        self.inner.engine.snapshot(tier, &mut |snapshot| {
            answer = closure.take().map(|closure| closure(&View { snapshot, horizon, missed }));
        });
        // INVARIANT: an engine calls the closure once.
        #[expect(clippy::expect_used, reason = "the invariant above")]
        answer.expect("the engine hands out a snapshot")
    }

    /// The position of the last published commit.
    pub fn horizon(&self) -> Position {
        Position(self.inner.news.horizon.load(Ordering::Acquire))
    }

    /// Which life of the store this is; see [`schema::Schema`].
    pub fn epoch(&self) -> u32 {
        self.inner.epoch
    }

    /// What the commit lane has done.
    pub fn lane_counters(&self) -> &LaneCounters {
        self.inner.lane.counters()
    }

    /// How many reads had to go to disk since the start.
    pub fn disk_reads(&self) -> u64 {
        self.inner.counters.from_disk.load(Ordering::Relaxed)
    }

    /// How many reads wait for their turn at the disk now.
    pub fn disk_reads_waiting(&self) -> u64 {
        self.inner.counters.waiting.load(Ordering::Relaxed)
    }

    /// Ends: what waits to be written is, what is being read is waited for; later reads and commits fail.
    pub fn close(&self) {
        self.inner.lane.close();
        self.inner.engine.close();
    }

    /// Calls `listener` with every durable commit from now on, in the order of positions.
    pub fn on_published(&self, listener: impl Fn(&Published) + Send + Sync + 'static) {
        self.inner.news.listeners.write().push(Box::new(listener));
    }

    fn lane(&self) -> &Lane {
        &self.inner.lane
    }
}

impl News {
    fn publish(&self, published: &Published) {
        self.horizon.store(published.position.0, Ordering::Release);
        for listener in self.listeners.read().iter() {
            listener(published);
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store(horizon {})", self.horizon().0)
    }
}
