//! Committing: assertions are checked, a position is allotted, the bytes become durable, then everybody is told.

use thiserror::Error;

use super::{
    Store,
    batch::{Batch, Change, Touch},
    engine::{Durability, EngineError, Operation, ReadTier},
    position::Position,
};

/// Why a batch was not committed. Nothing of it was written.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// An assertion does not hold any more: read again and build again.
    #[error("something that this commit rests on has changed")]
    Conflict,
    /// The batch is beyond the store's limits.
    #[error("the commit is too large: {0}")]
    TooLarge(&'static str),
    /// The engine could not write.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a listener is told of a durable commit.
#[derive(Clone)]
pub struct Published {
    /// The new horizon.
    pub position: Position,
    /// What the batch said it touches.
    pub touches: Vec<Touch>,
}

/// Everything that a commit may hold.
const MOST_OPERATIONS: usize = 10_000;
const MOST_BYTES: usize = 4 << 20;
const LARGEST_VALUE: usize = 100 << 10;

impl Store {
    /// Commits: all of the batch is durable when this returns the position (of a batch that has one).
    pub async fn commit(&self, batch: Batch) -> Result<Option<Position>, CommitError> {
        self.commit_as(batch, Durability::Synced)
    }

    /// Commits without waiting for the disk: for what is only repeated work when it is lost.
    pub async fn commit_lazy(&self, batch: Batch) -> Result<Option<Position>, CommitError> {
        self.commit_as(batch, Durability::Lazy)
    }

    fn commit_as(&self, batch: Batch, durability: Durability) -> Result<Option<Position>, CommitError> {
        let mut lane = self.inner.lane.lock();
        self.check_assertions(&batch)?;
        let position = batch.wants_position().then(|| Position(lane.last.0 + 1));
        let touches = batch.touches;
        let operations = resolve(batch.changes, position.unwrap_or_default())?;
        self.inner.engine.write(&operations, durability)?;
        if let Some(position) = position {
            lane.last = position;
            self.publish(&Published { position, touches: touches.into_iter().map(|touch| touch(position)).collect() });
        }
        Ok(position)
    }

    fn check_assertions(&self, batch: &Batch) -> Result<(), CommitError> {
        let snapshot = self.inner.engine.snapshot(ReadTier::All);
        for assertion in &batch.assertions {
            let mut holds = assertion.expected.is_none();
            snapshot.get(assertion.family, &assertion.key, &mut |found| {
                holds = assertion.expected.as_deref() == Some(found);
            })?;
            if !holds {
                return Err(CommitError::Conflict);
            }
        }
        Ok(())
    }
}

fn resolve(changes: Vec<Change>, position: Position) -> Result<Vec<Operation>, CommitError> {
    if changes.len() > MOST_OPERATIONS {
        return Err(CommitError::TooLarge("more than 10,000 operations"));
    }
    let mut bytes = 0_usize;
    let mut operations = Vec::with_capacity(changes.len());
    for change in changes {
        let (info, key, value) = match change {
            Change::Put { info, key, value } => (info, key, value),
            Change::PutAt { info, row } => {
                let (key, value) = row(position);
                (info, key, value)
            }
            Change::Delete { info, key } => {
                operations.push(Operation::Delete { family: info.family, key });
                continue;
            }
            Change::Clear { info, start, end } => {
                operations.push(Operation::DeleteRange { family: info.family, start, end });
                continue;
            }
        };
        bytes += key.len() + value.len();
        if bytes > MOST_BYTES {
            return Err(CommitError::TooLarge("more than 4 MB"));
        }
        if value.len() > LARGEST_VALUE && !info.large {
            return Err(CommitError::TooLarge("a value of more than 100 kB"));
        }
        operations.push(Operation::Put { family: info.family, key, value });
    }
    Ok(operations)
}
