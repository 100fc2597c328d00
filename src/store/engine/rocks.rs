//! The embedded engine: RocksDB, in the only file that knows it.
//!
//! One column family for each [`Family`], a keyspace's prefix byte inside: with a column family a keyspace there were ten
//! times as many flushes and files (measured over 200,000 commits).

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIterator,
    DBRecoveryMode, ErrorKind, Options, ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteBufferManager,
    WriteOptions,
};
use tokio::time::Instant;

use super::{
    DATABASE, Durability, Engine, EngineError, Operation, RawRange, ReadTier, Snapshot, VisitMany,
    position_file::PositionFile,
};
use crate::store::{keyspace::Family, position::Position, schema::OpenError};

/// Memory for what is not flushed yet, over all families, in bytes.
const WRITE_BUFFERS: usize = 64 << 20;
/// The same for one family.
const WRITE_BUFFER: usize = 16 << 20;
/// The write-ahead log is replayed at start: so many bytes take well below a second.
const MOST_LOG: u64 = 32 << 20;
/// Open files at once.
const MOST_FILES: i32 = 512;
/// Bytes that the disk must take before the database is opened anew.
const PROBE: usize = 4 << 20;
/// How long a read may take that is under way when the store is closed.
const LONGEST_READ: Duration = Duration::from_secs(5);
/// How often a store that cannot write tries to be opened anew.
const RETRY: Duration = Duration::from_secs(1);

/// How the store is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Memory for what was read, in bytes.
    pub cache: usize,
    /// Whether a synced write waits for the disk, or only for the operating system.
    pub fsync: bool,
}

/// A RocksDB database in a data folder.
pub struct Rocks {
    /// Swapped when the database is opened anew after an error; `None` once it is closed.
    db: RwLock<Option<DB>>,
    folder: PathBuf,
    options: RocksOptions,
    cache: Cache,
    acknowledged: PositionFile,
    failure: Mutex<Option<Failure>>,
    /// Held for as long as this process has the data folder.
    _lock: File,
}

struct Failure {
    message: String,
    last_try: Instant,
}

impl Rocks {
    /// Opens the database in a data folder, which is made if it is not there. Nobody else may have it open.
    pub fn open(folder: &Path, options: RocksOptions) -> Result<Self, OpenError> {
        let io = |error: io::Error| EngineError::Io(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = File::options().write(true).create(true).truncate(false).open(folder.join("LOCK")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.display().to_string())),
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error).into()),
        }
        let acknowledged = PositionFile::open(&folder.join("POSITION")).map_err(io)?;
        acknowledged.read().map_err(io)?;
        let cache = Cache::new_lru_cache(options.cache);
        let db = open_database(folder, &cache)?;
        Ok(Self {
            db: RwLock::new(Some(db)),
            folder: folder.to_owned(),
            options,
            cache,
            acknowledged,
            failure: Mutex::new(None),
            _lock: lock,
        })
    }

    fn write_batch(&self, operations: &[Operation], durability: Durability) -> Result<(), EngineError> {
        let db = self.db.read_recursive();
        let db = db.as_ref().ok_or_else(closed)?;
        let mut batch = WriteBatch::default();
        for operation in operations {
            match operation {
                Operation::Put { family: of, key, value } => batch.put_cf(family(db, *of)?, key, value),
                Operation::Delete { family: of, key } => batch.delete_cf(family(db, *of)?, key),
                Operation::DeleteRange { family: of, start, end } => {
                    batch.delete_range_cf(family(db, *of)?, start.as_slice(), end.as_slice());
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.options.fsync && durability == Durability::Synced);
        db.write_opt(batch, &options).map_err(|error| engine_error(&error))
    }

    /// After an error the database is opened anew before it is written again; nothing is written until that works. It is
    /// not even closed before the disk takes writes again, so that it can be read all the while.
    fn mend(&self) -> Result<(), EngineError> {
        let mut failure = self.failure.lock();
        let Some(failed) = failure.as_mut() else { return Ok(()) };
        if failed.last_try.elapsed() < RETRY {
            return Err(EngineError::ReadOnly(failed.message.clone()));
        }
        failed.last_try = Instant::now();
        let read_only = |error: &dyn std::fmt::Display| EngineError::ReadOnly(format!("{}; {error}", failed.message));
        self.probe_disk().map_err(|error| read_only(&error))?;
        self.reopen().map_err(|error| read_only(&error))?;
        tracing::info!("the store can be written again");
        *failure = None;
        Ok(())
    }

    /// Whether the disk takes some megabytes, as a flush would write them.
    fn probe_disk(&self) -> io::Result<()> {
        let path = self.folder.join("PROBE");
        let probe = || {
            let mut file = File::create(&path)?;
            io::Write::write_all(&mut file, &vec![0; PROBE])?;
            file.sync_all()
        };
        let probed = probe();
        std::fs::remove_file(&path)?;
        probed
    }

    fn reopen(&self) -> Result<(), EngineError> {
        // Who reads holds it for as long as that takes; whoever comes later waits.
        let mut slot = self.db.try_write().ok_or_else(|| EngineError::Io("it is still being read".to_owned()))?;
        // RocksDB does not open a database twice in one process, so the old one is closed first.
        *slot = None;
        *slot = Some(open_database(&self.folder, &self.cache)?);
        Ok(())
    }
}

fn closed() -> EngineError {
    EngineError::Io("it is closed".to_owned())
}

/// What those find who read behind the end.
struct ClosedSnapshot;

impl Snapshot for ClosedSnapshot {
    fn get(&self, _: Family, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        Err(closed())
    }

    fn scan(&self, _: &RawRange<'_>, _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        Err(closed())
    }
}

fn open_database(folder: &Path, cache: &Cache) -> Result<DB, EngineError> {
    let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(WRITE_BUFFERS, false, cache.clone());
    let families = Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, cache)));
    DB::open_cf_descriptors(&db_options(&buffers), folder.join(DATABASE), families)
        .map_err(|error| engine_error(&error))
}

fn db_options(buffers: &WriteBufferManager) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(buffers);
    options.set_max_total_wal_size(MOST_LOG);
    options.set_max_open_files(MOST_FILES);
    // The tolerant mode refuses to open after garbage in the tail, and the one that skips damage loses records silently.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_keep_log_file_num(4);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(match family {
        Family::Event => DBCompressionType::Zstd,
        _ => DBCompressionType::Lz4,
    });
    options
}

fn engine_error(error: &rocksdb::Error) -> EngineError {
    match error.kind() {
        ErrorKind::Incomplete => EngineError::Incomplete,
        _ => EngineError::Io(error.to_string()),
    }
}

fn family(db: &DB, family: Family) -> Result<&ColumnFamily, EngineError> {
    db.cf_handle(family.name()).ok_or_else(|| EngineError::Io(format!("the family `{}` is missing", family.name())))
}

impl Engine for Rocks {
    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        match &*self.db.read_recursive() {
            Some(db) => read(&RocksSnapshot::new(db, tier)),
            None => read(&ClosedSnapshot),
        }
    }

    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError> {
        self.mend()?;
        let written = self.write_batch(operations, durability).and_then(|()| match durability {
            Durability::Synced => self.acknowledged.write(last).map_err(|error| EngineError::Io(error.to_string())),
            Durability::Lazy => Ok(()),
        });
        if let Err(error) = &written {
            tracing::error!(%error, "the store cannot be written: it is read-only until that is mended");
            *self.failure.lock() = Some(Failure { message: error.to_string(), last_try: Instant::now() });
        }
        written
    }

    fn acknowledged(&self) -> Position {
        self.acknowledged.read().unwrap_or_default()
    }

    /// A database that is dropped while the process ends finds what it needs of the C++ runtime gone, and aborts.
    fn close(&self) {
        match self.db.try_write_for(LONGEST_READ) {
            Some(mut db) => *db = None,
            None => tracing::warn!("a read has not ended: the store is left open"),
        }
    }
}

struct RocksSnapshot<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
    tier: ReadTier,
    /// For reads of single keys.
    point: ReadOptions,
}

impl<'a> RocksSnapshot<'a> {
    fn new(db: &'a DB, tier: ReadTier) -> Self {
        let snapshot = db.snapshot();
        let mut point = read_options(tier);
        point.set_snapshot(&snapshot);
        Self { db, snapshot, tier, point }
    }

    /// Rows between two keys; all behind the first if the second is empty.
    fn rows(&self, of: Family, start: &[u8], end: &[u8]) -> Result<DBRawIterator<'_>, EngineError> {
        let mut options = read_options(self.tier);
        options.set_iterate_lower_bound(start);
        if !end.is_empty() {
            options.set_iterate_upper_bound(end);
        }
        Ok(self.snapshot.raw_iterator_cf_opt(family(self.db, of)?, options))
    }
}

fn read_options(tier: ReadTier) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(match tier {
        ReadTier::BlockCache => rocksdb::ReadTier::BlockCache,
        ReadTier::All => rocksdb::ReadTier::All,
    });
    options
}

/// Hands the rows of a range to `visit`, from an iterator that reaches at least as far.
fn visit_range(
    rows: &mut DBRawIterator<'_>,
    range: &RawRange<'_>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), EngineError> {
    match (range.reversed, range.end.is_empty()) {
        (false, _) => rows.seek(range.start),
        (true, true) => rows.seek_to_last(),
        (true, false) => {
            rows.seek_for_prev(range.end);
            // The end itself is not in the range.
            if rows.key() == Some(range.end) {
                rows.prev();
            }
        }
    }
    while let Some((key, value)) = rows.item() {
        let is_outside = if range.reversed { key < range.start } else { !range.end.is_empty() && key >= range.end };
        if is_outside || !visit(key, value) {
            return Ok(());
        }
        if range.reversed {
            rows.prev();
        } else {
            rows.next();
        }
    }
    rows.status().map_err(|error| engine_error(&error))
}

fn is_empty(range: &RawRange<'_>) -> bool {
    !range.end.is_empty() && range.start >= range.end
}

impl Snapshot for RocksSnapshot<'_> {
    fn get(&self, of: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        let found = self.db.get_pinned_cf_opt(family(self.db, of)?, key, &self.point);
        let found = found.map_err(|error| engine_error(&error))?;
        Ok(found.map(|value| read(&value)).is_some())
    }

    fn scan(&self, range: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        if is_empty(range) {
            return Ok(());
        }
        visit_range(&mut self.rows(range.family, range.start, range.end)?, range, visit)
    }

    /// Making an iterator costs several times what moving it does: one serves all ranges.
    fn scan_many(&self, ranges: &[RawRange<'_>], visit: &mut VisitMany<'_>) -> Result<(), EngineError> {
        let wanted = || ranges.iter().enumerate().filter(|(_, range)| !is_empty(range));
        let Some((_, first)) = wanted().next() else { return Ok(()) };
        let start = wanted().map(|(_, range)| range.start).min().unwrap_or_default();
        let is_open = wanted().any(|(_, range)| range.end.is_empty());
        let end = wanted().map(|(_, range)| range.end).max().filter(|_| !is_open).unwrap_or_default();
        let mut rows = self.rows(first.family, start, end)?;
        for (which, range) in wanted() {
            visit_range(&mut rows, range, &mut |key, value| visit(which, key, value))?;
        }
        Ok(())
    }
}
