//! An engine that fails when a test says so: writes that do not come back, reads that are not in memory, and a power cut
//! that takes along what was not synced.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Durability, Engine, EngineError, Operation, RawRange, ReadTier, Snapshot};
use crate::{
    base::random::Random,
    store::{keyspace::Family, position::Position},
};

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it is written.
    Refused,
    /// It is written, and yet an error is answered: as if the machine had died between the two.
    Applied,
}

/// Wraps an engine. Without further orders it does what that one does. Cheap to clone; clones fail together.
#[derive(Clone, Debug)]
pub struct Faulty<E> {
    engine: E,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    writes: Mutex<Writes>,
    forgetful: Mutex<Option<Forgetful>>,
}

#[derive(Debug, Default)]
struct Writes {
    /// How many more are good, and how the one behind them fails.
    plan: Option<(usize, Fault)>,
    failed: bool,
    /// What takes back the writes that were not synced, the last one's first.
    undo: Vec<Operation>,
}

#[derive(Clone, Debug)]
struct Forgetful {
    random: Random,
    one_in: u64,
}

impl<E: Engine> Faulty<E> {
    /// An engine that fails once it is told how.
    pub fn new(engine: E) -> Self {
        Self { engine, faults: Arc::default() }
    }

    /// After `good` more writes the next one fails like this, and all later ones are refused.
    pub fn fail_after(&self, good: usize, fault: Fault) {
        let mut writes = self.faults.writes.lock();
        (writes.plan, writes.failed) = (Some((good, fault)), false);
    }

    /// Whether a write has failed since [`Self::fail_after`].
    pub fn has_failed(&self) -> bool {
        self.faults.writes.lock().failed
    }

    /// Of the reads that must not go to disk, one in `one_in` (at random, repeatable by the seed) finds its answer, or the
    /// rest of it, not in memory.
    pub fn forget(&self, one_in: u64, seed: u64) {
        *self.faults.forgetful.lock() = Some(Forgetful { random: Random::seeded(seed), one_in: one_in.max(1) });
    }

    /// A power cut: what was written and not synced is gone. Then writes work again, as after a restart.
    pub fn crash(&self) -> Result<(), EngineError> {
        let mut writes = self.faults.writes.lock();
        let undo = std::mem::take(&mut *writes).undo;
        self.engine.write(&undo, Durability::Synced, self.engine.acknowledged())
    }
}

impl<E: Engine> Engine for Faulty<E> {
    fn close(&self) {
        self.engine.close();
    }

    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        let forgetful = self.faults.forgetful.lock().clone().filter(|_| tier == ReadTier::BlockCache);
        self.engine.snapshot(tier, &mut |snapshot| match &forgetful {
            Some(forgetful) => read(&ForgetfulSnapshot { snapshot, forgetful }),
            None => read(snapshot),
        });
    }

    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError> {
        let mut writes = self.faults.writes.lock();
        let fault = writes.next();
        let error = || EngineError::Io("the disk fails, as it was told to".to_owned());
        if fault == Some(Fault::Refused) {
            return Err(error());
        }
        let undo = match durability {
            Durability::Synced => Vec::new(),
            Durability::Lazy => self.undo(operations)?,
        };
        self.engine.write(operations, durability, last)?;
        match durability {
            Durability::Synced => writes.undo.clear(),
            Durability::Lazy => drop(writes.undo.splice(0..0, undo)),
        }
        if fault.is_some() { Err(error()) } else { Ok(()) }
    }

    fn acknowledged(&self) -> Position {
        self.engine.acknowledged()
    }
}

impl<E: Engine> Faulty<E> {
    /// What brings back the rows that these operations are about to change. Their order does not matter: each brings back
    /// what is there now.
    fn undo(&self, operations: &[Operation]) -> Result<Vec<Operation>, EngineError> {
        let (mut undo, mut outcome) = (Vec::new(), Ok(()));
        self.engine.snapshot(ReadTier::All, &mut |snapshot| {
            outcome = operations.iter().try_for_each(|operation| undo_one(snapshot, operation, &mut undo));
        });
        outcome.map(|()| undo)
    }
}

fn undo_one(snapshot: &dyn Snapshot, operation: &Operation, undo: &mut Vec<Operation>) -> Result<(), EngineError> {
    match operation {
        Operation::Put { family, key, .. } | Operation::Delete { family, key } => {
            let (family, key) = (*family, key.clone());
            let mut before = None;
            snapshot.get(family, &key, &mut |value| before = Some(value.to_vec()))?;
            undo.push(match before {
                Some(value) => Operation::Put { family, key, value },
                None => Operation::Delete { family, key },
            });
        }
        Operation::DeleteRange { family, start, end } => {
            let family = *family;
            let range = RawRange { family, start, end, reversed: false };
            snapshot.scan(&range, &mut |key, value| {
                undo.push(Operation::Put { family, key: key.to_vec(), value: value.to_vec() });
                true
            })?;
        }
    }
    Ok(())
}

impl Writes {
    /// How the write that comes now fails, if it does.
    fn next(&mut self) -> Option<Fault> {
        let (good, fault) = self.plan.as_mut()?;
        match good.checked_sub(1) {
            Some(fewer) => {
                *good = fewer;
                None
            }
            None => {
                self.failed = true;
                Some(std::mem::replace(fault, Fault::Refused))
            }
        }
    }
}

struct ForgetfulSnapshot<'a> {
    snapshot: &'a dyn Snapshot,
    forgetful: &'a Forgetful,
}

impl ForgetfulSnapshot<'_> {
    fn forgets(&self) -> bool {
        self.forgetful.random.u64().is_multiple_of(self.forgetful.one_in)
    }
}

impl Snapshot for ForgetfulSnapshot<'_> {
    fn get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        if self.forgets() {
            return Err(EngineError::Incomplete);
        }
        self.snapshot.get(family, key, read)
    }

    fn scan(&self, range: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        if !self.forgets() {
            return self.snapshot.scan(range, visit);
        }
        // As on a disk, some rows may come before the one that is missing.
        let mut rows = self.forgetful.random.u64() % 4;
        self.snapshot.scan(range, &mut |key, value| {
            rows > 0 && {
                rows = rows.saturating_sub(1);
                visit(key, value)
            }
        })?;
        Err(EngineError::Incomplete)
    }

    fn wave(&self) {
        self.snapshot.wave();
    }
}
