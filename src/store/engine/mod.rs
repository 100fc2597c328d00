//! What an engine must give: snapshots, ordered scans, and a write that is atomic and (when asked) durable.

pub mod faulty;
pub mod memory;
#[cfg(feature = "rocksdb")]
mod position_file;
#[cfg(feature = "rocksdb")]
pub mod rocks;

use thiserror::Error;

use super::{keyspace::Family, position::Position};

/// The folder, inside the data folder, of an engine that keeps its rows on disk.
pub const DATABASE: &str = "db";

/// Why an engine could not do what it was asked.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum EngineError {
    /// The answer is not in memory, and the read was told not to go to disk.
    #[error("the answer is not in memory")]
    Incomplete,
    /// A background error (no space, I/O) has made the engine read-only.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The operating system or the engine refused.
    #[error("the store failed: {0}")]
    Io(String),
}

/// How far down a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTier {
    /// Only what is in memory; otherwise [`EngineError::Incomplete`].
    BlockCache,
    /// Down to the disk.
    All,
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When its bytes are on disk.
    Synced,
    /// At once: it rides on the next synced write. Losing it is only repeated work.
    Lazy,
}

/// One resolved operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// Where.
        family: Family,
        /// Which.
        key: Vec<u8>,
        /// To what.
        value: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Where.
        family: Family,
        /// Which.
        key: Vec<u8>,
    },
    /// Removes all keys of `start..end`.
    DeleteRange {
        /// Where.
        family: Family,
        /// Inclusive.
        start: Vec<u8>,
        /// Exclusive.
        end: Vec<u8>,
    },
}

/// A range of raw keys.
#[derive(Clone, Debug)]
pub struct RawRange<'a> {
    /// Where.
    pub family: Family,
    /// Inclusive.
    pub start: &'a [u8],
    /// Exclusive; empty means to the end of the family.
    pub end: &'a [u8],
    /// Last key first.
    pub reversed: bool,
}

/// A store of ordered bytes.
pub trait Engine: Send + Sync + 'static {
    /// Hands a consistent view of everything that was written so far to `read`.
    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot));

    /// Writes all or nothing; with [`Durability::Synced`] this and every earlier write is on disk when it returns.
    /// `last` is the last position of the write, which the engine remembers as acknowledged.
    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError>;

    /// The last position that a synced write had, as the engine knows it from beside its data: what it holds must reach
    /// at least so far.
    fn acknowledged(&self) -> Position;

    /// Ends: reads that are under way are waited for, later ones and writes fail.
    fn close(&self) {}
}

/// Is handed the number of a range, a key in it and its value; says whether it wants more of that range.
pub type VisitMany<'a> = dyn FnMut(usize, &[u8], &[u8]) -> bool + 'a;

/// What an engine held at one moment.
pub trait Snapshot {
    /// Hands the value of `key` to `read`, if there is one; says whether there was.
    fn get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError>;

    /// Hands key after key to `visit` until it says `false` or the range ends.
    fn scan(&self, range: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError>;

    /// [`Snapshot::scan`] for each of many ranges of one family in turn; `visit` learns which one, and a `false` ends that
    /// one alone.
    fn scan_many(&self, ranges: &[RawRange<'_>], visit: &mut VisitMany<'_>) -> Result<(), EngineError> {
        ranges
            .iter()
            .enumerate()
            .try_for_each(|(which, range)| self.scan(range, &mut |key, value| visit(which, key, value)))
    }

    /// Called before what a reader asks at once, be it one key or a thousand: an engine that counts such waves does so here.
    fn wave(&self) {}
}
