//! The engine of tests and simulations: persistent maps in memory, snapshots by cloning an `Arc`.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::RwLock;

use super::{Durability, Engine, EngineError, Operation, RawRange, ReadTier, Snapshot};
use crate::store::{keyspace::Family, position::Position};

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keeps everything in memory. Cheap to clone: clones share the data, so a "restarted" server finds it again.
#[derive(Clone, Default, Debug)]
pub struct Memory(Arc<RwLock<Arc<[Table; 6]>>>);

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for Memory {
    fn snapshot(&self, _: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        let tables = Arc::clone(&self.0.read());
        read(&MemorySnapshot(tables));
    }

    fn acknowledged(&self) -> Position {
        // It holds what it holds: there is no disk to disagree with.
        Position::ZERO
    }

    fn write(&self, operations: &[Operation], _: Durability, _: Position) -> Result<(), EngineError> {
        let mut guard = self.0.write();
        let tables = Arc::make_mut(&mut guard);
        for operation in operations {
            match operation {
                Operation::Put { family, key, value } => {
                    table_mut(tables, *family).insert(key.clone(), value.clone());
                }
                Operation::Delete { family, key } => {
                    table_mut(tables, *family).remove(key);
                }
                Operation::DeleteRange { family, start, end } => {
                    let table = table_mut(tables, *family);
                    let doomed: Vec<_> = range(table, start, end).map(|(key, _)| key.clone()).collect();
                    for key in doomed {
                        table.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }
}

struct MemorySnapshot(Arc<[Table; 6]>);

impl Snapshot for MemorySnapshot {
    fn get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        Ok(table(&self.0, family).get(key).map(|value| read(value)).is_some())
    }

    fn scan(&self, wanted: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        let rows = range(table(&self.0, wanted.family), wanted.start, wanted.end);
        let mut visit = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value);
        if wanted.reversed {
            rows.rev().all(&mut visit);
        } else {
            { rows }.all(&mut visit);
        }
        Ok(())
    }
}

fn index(family: Family) -> usize {
    match family {
        Family::Hot => 0,
        Family::Event => 1,
        Family::State => 2,
        Family::Index => 3,
        Family::Log => 4,
        Family::Inbox => 5,
    }
}

#[expect(clippy::indexing_slicing, reason = "INVARIANT: `index` gives a number below six")]
fn table(tables: &[Table; 6], family: Family) -> &Table {
    &tables[index(family)]
}

#[expect(clippy::indexing_slicing, reason = "INVARIANT: `index` gives a number below six")]
fn table_mut(tables: &mut [Table; 6], family: Family) -> &mut Table {
    &mut tables[index(family)]
}

fn range<'a>(table: &'a Table, start: &[u8], end: &[u8]) -> std::collections::btree_map::Range<'a, Vec<u8>, Vec<u8>> {
    if !end.is_empty() && start >= end {
        // BTreeMap panics on a range that runs backwards; for us it is simply empty.
        return table.range::<[u8], _>((Bound::Excluded(start), Bound::Included(start)));
    }
    let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
    table.range::<[u8], _>((Bound::Included(start), end))
}
