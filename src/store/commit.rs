//! Committing: what a caller sees of it. The work is the lane's (`store::lane`).

use thiserror::Error;

use super::{
    Store,
    batch::{Batch, Change, Touch},
    engine::{Durability, EngineError, Operation},
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
    /// The server is stopping.
    #[error("the store is closed")]
    Closed,
}

/// What a listener is told of a durable commit.
#[derive(Clone)]
pub struct Published {
    /// The new horizon.
    pub position: Position,
    /// What the batch said it touches.
    pub touches: Vec<Touch>,
}

/// Operations of one commit.
pub const MOST_OPERATIONS: usize = 10_000;
/// Bytes of one commit, keys and values.
pub const MOST_BYTES: usize = 4 << 20;
/// Bytes of a value, but in keyspaces that are marked large.
pub const LARGEST_VALUE: usize = 100 << 10;
/// Bytes of a value in a keyspace that is marked large.
pub const LARGEST_LARGE_VALUE: usize = MOST_BYTES;
/// Rows that one cleared span may hold; more is a job.
pub const MOST_CLEARED: usize = 1_000;
/// Bytes of a key.
pub const LONGEST_KEY: usize = 1 << 10;

impl Store {
    /// Commits: all of the batch is durable when this returns the position (of a batch that has one).
    pub async fn commit(&self, batch: Batch) -> Result<Option<Position>, CommitError> {
        self.lane().commit(batch, Durability::Synced).await
    }

    /// Commits without waiting for the disk: for what is only repeated work when it is lost. A batch that gets a position
    /// waits all the same, since a position that was given out must never be given out again.
    pub async fn commit_lazy(&self, batch: Batch) -> Result<Option<Position>, CommitError> {
        let durability = if batch.wants_position() { Durability::Synced } else { Durability::Lazy };
        self.lane().commit(batch, durability).await
    }
}

/// The operations of a batch at a position, if they are within the limits.
pub(super) fn resolve(changes: Vec<Change>, position: Position) -> Result<Vec<Operation>, CommitError> {
    if changes.len() > MOST_OPERATIONS {
        return Err(CommitError::TooLarge("more than 10,000 operations"));
    }
    let mut bytes = 0_usize;
    let mut operations = Vec::with_capacity(changes.len().saturating_add(1));
    for change in changes {
        let (info, key, value) = match change {
            Change::Put { info, key, value } => (info, key, value),
            Change::PutAt { info, row } => {
                let (key, value) = row(position);
                (info, key, value)
            }
            Change::Delete { info, key } => {
                bytes = bytes.saturating_add(key.len());
                operations.push(Operation::Delete { family: info.family, key });
                continue;
            }
            Change::Clear { info, start, end } => {
                bytes = bytes.saturating_add(start.len()).saturating_add(end.len());
                operations.push(Operation::DeleteRange { family: info.family, start, end });
                continue;
            }
        };
        bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        let largest = if info.large { LARGEST_LARGE_VALUE } else { LARGEST_VALUE };
        if bytes > MOST_BYTES {
            return Err(CommitError::TooLarge("more than 4 MB"));
        }
        if value.len() > largest {
            return Err(CommitError::TooLarge("a value of more than 100 kB"));
        }
        if key.len() > LONGEST_KEY {
            return Err(CommitError::TooLarge("a key of more than 1 kB"));
        }
        operations.push(Operation::Put { family: info.family, key, value });
    }
    Ok(operations)
}
