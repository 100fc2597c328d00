//! Reading, building and committing in one go, again when something changed meanwhile.

use std::time::Duration;

use super::Users;
use crate::store::{Batch, CommitError, ReadError, View};

/// How often a change is built anew before it is given up.
const TRIES: u32 = 48;
/// Tries that follow at once; behind them, each waits for a random time, so that not all come again together.
const AT_ONCE: u32 = 3;
/// The longest such wait, in ms; it begins with the double of 1 and doubles with each try.
const LONGEST_WAIT: u64 = 512;

impl Users {
    /// Reads from one snapshot; see [`crate::store::Store::read`].
    pub async fn read<T, E>(&self, closure: impl Fn(&View<'_>) -> Result<T, E> + Send + Sync + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        self.store.read(closure).await
    }

    /// Commits what `build` puts into the batch, all or nothing. `build` runs again, on a newer snapshot, when something
    /// that it asserts has changed; what it returns belongs to the run that was committed. An empty batch commits
    /// nothing.
    pub async fn change<T, E>(
        &self,
        build: impl Fn(&View<'_>, &mut Batch) -> Result<T, E> + Clone + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + From<CommitError> + Send + 'static,
    {
        for tried in 0..TRIES {
            self.wait_for_turn(tried).await;
            let build = build.clone();
            let read = self.store.read(move |view| {
                let mut batch = Batch::new();
                let result = build(view, &mut batch)?;
                Ok::<_, E>((result, batch))
            });
            let (result, batch) = read.await?;
            if batch.is_empty() {
                return Ok(result);
            }
            match self.store.commit(batch).await {
                Ok(_) => return Ok(result),
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommitError::Conflict.into())
    }

    async fn wait_for_turn(&self, tried: u32) {
        if let Some(waits) = tried.checked_sub(AT_ONCE) {
            let longest = 2_u64.checked_shl(waits).filter(|longest| *longest < LONGEST_WAIT).unwrap_or(LONGEST_WAIT);
            let millis = self.random.u64().checked_rem(longest).unwrap_or_default();
            self.clock.sleep(Duration::from_millis(millis)).await;
        }
    }
}
