//! The engine of tests and simulations: persistent maps in memory. A snapshot shares them, and a write beside it copies
//! only the few nodes on the way to what it changes.

use std::{
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imbl::OrdMap;
use parking_lot::RwLock;

use super::{Durability, Engine, EngineError, Operation, RawRange, ReadTier, Snapshot};
use crate::store::{keyspace::Family, position::Position};

/// Keys and values are shared between the versions of a table too, so that a copied node costs no copied rows.
type Table = OrdMap<Arc<[u8]>, Arc<[u8]>>;
type Tables = [Table; 6];

/// Keeps everything in memory. Cheap to clone: clones share the data, so a "restarted" server finds it again.
#[derive(Clone, Default, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Default, Debug)]
struct Inner {
    tables: RwLock<Tables>,
    waves: AtomicU64,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own that holds what this one holds now.
    #[must_use]
    pub fn copied(&self) -> Self {
        let tables = RwLock::new(self.0.tables.read().clone());
        Self(Arc::new(Inner { tables, waves: AtomicU64::new(0) }))
    }

    /// How often readers asked, over all clones, since the first was made: an engine across a network pays for each such
    /// wave, however many keys are in it. What the commit lane checks is not among them.
    pub fn waves(&self) -> u64 {
        self.0.waves.load(Ordering::Relaxed)
    }
}

impl Engine for Memory {
    fn snapshot(&self, _: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        let tables = self.0.tables.read().clone();
        read(&MemorySnapshot { tables, waves: &self.0.waves });
    }

    fn acknowledged(&self) -> Position {
        // It holds what it holds: there is no disk to disagree with.
        Position::ZERO
    }

    fn write(&self, operations: &[Operation], _: Durability, _: Position) -> Result<(), EngineError> {
        let mut guard = self.0.tables.write();
        let tables = &mut *guard;
        for operation in operations {
            match operation {
                Operation::Put { family, key, value } => {
                    table_mut(tables, *family).insert(key.as_slice().into(), value.as_slice().into());
                }
                Operation::Delete { family, key } => {
                    table_mut(tables, *family).remove(key.as_slice());
                }
                Operation::DeleteRange { family, start, end } => {
                    let table = table_mut(tables, *family);
                    let doomed: Vec<_> = range(table, start, end).map(|(key, _)| Arc::clone(key)).collect();
                    for key in doomed {
                        table.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }
}

struct MemorySnapshot<'a> {
    tables: Tables,
    waves: &'a AtomicU64,
}

impl Snapshot for MemorySnapshot<'_> {
    fn wave(&self) {
        self.waves.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        Ok(table(&self.tables, family).get(key).map(|value| read(value)).is_some())
    }

    fn scan(&self, wanted: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        let rows = range(table(&self.tables, wanted.family), wanted.start, wanted.end);
        let mut visit = |(key, value): (&Arc<[u8]>, &Arc<[u8]>)| visit(key, value);
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
fn table(tables: &Tables, family: Family) -> &Table {
    &tables[index(family)]
}

#[expect(clippy::indexing_slicing, reason = "INVARIANT: `index` gives a number below six")]
fn table_mut(tables: &mut Tables, family: Family) -> &mut Table {
    &mut tables[index(family)]
}

/// The rows of a range. One that runs backwards is empty.
fn range<'a>(
    table: &'a Table,
    start: &'a [u8],
    end: &'a [u8],
) -> impl DoubleEndedIterator<Item = (&'a Arc<[u8]>, &'a Arc<[u8]>)> {
    let runs_backwards = !end.is_empty() && start >= end;
    let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
    let rows = (!runs_backwards).then(|| table.range::<_, [u8]>((Bound::Included(start), end)));
    rows.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let key = || prop::collection::vec(0_u8..4, 0..4);
        let family = Family::Hot;
        let operation = prop_oneof![
            6 => (key(), any::<u8>()).prop_map(move |(key, value)| Operation::Put { family, key, value: vec![value] }),
            2 => key().prop_map(move |key| Operation::Delete { family, key }),
            1 => (key(), key()).prop_map(move |(start, end)| Operation::DeleteRange { family, start, end }),
        ];
        prop::collection::vec(operation, 0..200)
    }

    /// What a plain map makes of an operation.
    fn apply(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, operation: Operation) {
        match operation {
            Operation::Put { key, value, .. } => drop(rows.insert(key, value)),
            Operation::Delete { key, .. } => drop(rows.remove(&key)),
            Operation::DeleteRange { start, end, .. } => {
                rows.retain(|key, _| *key < start || !end.is_empty() && *key >= end);
            }
        }
    }

    fn scan(snapshot: &dyn Snapshot, start: &[u8], end: &[u8], reversed: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let range = RawRange { family: Family::Hot, start, end, reversed };
        let scanned = snapshot.scan(&range, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            true
        });
        assert_eq!(scanned, Ok(()));
        rows
    }

    proptest! {
        #[test]
        fn snapshots_are_what_a_plain_map_was(
            before in operations(),
            after in operations(),
            start in prop::collection::vec(0_u8..4, 0..4),
            end in prop::collection::vec(0_u8..4, 0..4),
        ) {
            let (memory, mut plain) = (Memory::new(), BTreeMap::new());
            memory.write(&before, Durability::Synced, Position::ZERO).unwrap();
            before.into_iter().for_each(|operation| apply(&mut plain, operation));
            memory.snapshot(ReadTier::All, &mut |snapshot| {
                memory.write(&after, Durability::Synced, Position::ZERO).unwrap();
                let wanted = |key: &[u8]| key >= start.as_slice() && (end.is_empty() || key < end.as_slice());
                let mut expected: Vec<_> =
                    plain.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
                assert_eq!(scan(snapshot, &start, &end, false), expected);
                expected.reverse();
                assert_eq!(scan(snapshot, &start, &end, true), expected);
            });
            after.into_iter().for_each(|operation| apply(&mut plain, operation));
            memory.snapshot(ReadTier::All, &mut |snapshot| {
                assert_eq!(scan(snapshot, &[], &[], false), plain.clone().into_iter().collect::<Vec<_>>());
            });
        }
    }
}
