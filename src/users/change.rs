//! Reading, building and committing in one go, again when something changed meanwhile.

use super::Users;
use crate::store::{Batch, CommitError, ReadError, View};

/// How often a change is built anew before it is given up.
const TRIES: usize = 32;

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
        for _ in 0..TRIES {
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
}
