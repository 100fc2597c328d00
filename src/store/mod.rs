//! The store: typed keyspaces over an engine of ordered bytes. Knows nothing of Matrix.

pub mod batch;
pub mod catalogue;
pub mod codec;
pub mod commit;
pub mod engine;
pub mod fsck;
pub mod keyspace;
pub mod position;
pub mod value;
pub mod view;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

pub use self::{
    batch::{Batch, Claims, Touch},
    codec::{DecodeError, Key, KeyOf, KeyPart, PrefixOf},
    commit::{CommitError, Published},
    engine::{Engine, EngineError, ReadTier},
    keyspace::{Family, Keyspace, KeyspaceInfo, Span},
    position::Position,
    value::{Record, Value},
    view::{Page, ReadError, View},
};

/// Called with every durable commit, in the order of positions. Must be quick and must not block.
type Listener = Box<dyn Fn(&Published) + Send + Sync>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Box<dyn Engine>,
    lane: Mutex<Lane>,
    horizon: AtomicU64,
    listeners: RwLock<Vec<Listener>>,
}

struct Lane {
    last: Position,
}

impl Store {
    /// A store over `engine`.
    pub fn open(engine: impl Engine) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine: Box::new(engine),
                lane: Mutex::new(Lane { last: Position::ZERO }),
                horizon: AtomicU64::new(0),
                listeners: RwLock::default(),
            }),
        }
    }

    /// Reads from one snapshot. The closure has no effects: it runs on what is in memory, and when that is not enough it
    /// runs again, whole, on a pool that may go to disk.
    pub async fn read<T, E>(&self, closure: impl Fn(&View<'_>) -> Result<T, E> + Send + Sync + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        self.read_blocking(closure)
    }

    /// Reads from one snapshot, going to disk on this thread if need be: for start-up, the command line and tests.
    pub fn read_blocking<T, E>(&self, closure: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        // The horizon first: the snapshot then holds at least all that is at or below it.
        let horizon = self.horizon();
        let snapshot = self.inner.engine.snapshot(ReadTier::All);
        closure(&View { snapshot, horizon })
    }

    /// The position of the last published commit.
    pub fn horizon(&self) -> Position {
        Position(self.inner.horizon.load(Ordering::Acquire))
    }

    /// Calls `listener` with every durable commit from now on, in the order of positions.
    pub fn on_published(&self, listener: impl Fn(&Published) + Send + Sync + 'static) {
        self.inner.listeners.write().push(Box::new(listener));
    }

    fn publish(&self, published: &Published) {
        self.inner.horizon.store(published.position.0, Ordering::Release);
        for listener in self.inner.listeners.read().iter() {
            listener(published);
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store(horizon {})", self.horizon().0)
    }
}
