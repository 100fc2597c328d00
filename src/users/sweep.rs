//! The sweep: rows that only matter for a while are deleted when that is over. Losing a sweep is only repeated work.

use std::time::Duration;

use super::{
    Users,
    keys::{LOGIN_TOKEN, NONCE, OPENID_TOKEN, TXN, UIA},
};
use crate::{
    base::clock::UnixMillis,
    store::{Batch, CommitError, Key, KeyOf, Keyspace, ReadError, Value},
};

/// How long a transaction id is remembered: longer than any client retries.
const TXN_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// Rows that one step looks at.
const STEP: usize = 1_000;

/// How often what was seen is written.
const WRITE_SEEN: Duration = Duration::from_mins(1);
/// How many of those make a sweep.
const SWEEP_EVERY: u32 = 60;

impl Users {
    /// Writes what was seen and sweeps, for ever: a task of the server. What fails is tried again the next time.
    pub async fn keep_house(&self) {
        for round in 1_u32.. {
            self.clock.sleep(WRITE_SEEN).await;
            if let Err(error) = self.write_seen().await {
                tracing::warn!(%error, "when devices were last seen could not be written");
            }
            if round.is_multiple_of(SWEEP_EVERY)
                && let Err(error) = self.sweep().await
            {
                tracing::warn!(%error, "what is over could not be swept away");
            }
        }
    }

    /// Deletes what is over, a bounded step at a time. To be called about once an hour. Returns how many rows went.
    pub async fn sweep(&self) -> Result<usize, CommitError> {
        let now = self.clock.now();
        let lifetime = u64::try_from(TXN_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let mut swept = self.sweep_keyspace(&UIA, move |row| row.expires_at <= now).await?;
        swept += self.sweep_keyspace(&LOGIN_TOKEN, move |row| row.expires_at <= now).await?;
        swept += self.sweep_keyspace(&OPENID_TOKEN, move |row| row.expires_at <= now).await?;
        swept += self.sweep_keyspace(&NONCE, move |end: &UnixMillis| *end <= now).await?;
        swept += self.sweep_keyspace(&TXN, move |row| row.at.saturating_add(lifetime) <= now).await?;
        Ok(swept)
    }

    async fn sweep_keyspace<K, V>(
        &self,
        keyspace: &'static Keyspace<K, V>,
        is_over: impl Fn(&V) -> bool + Send + Sync + Copy + 'static,
    ) -> Result<usize, CommitError>
    where
        K: Key + KeyOf<K> + Clone + Send + Sync + 'static,
        V: Value + Send + 'static,
    {
        let (mut after, mut swept) = (None::<K>, 0);
        loop {
            let from = after.take();
            let read = self.store.read(move |view| {
                let span = keyspace.span(&());
                let span = match &from {
                    Some(from) => span.after(from),
                    None => span,
                };
                view.scan(&span, STEP)
            });
            let Ok::<_, ReadError>(page) = read.await else { return Ok(swept) };
            after = page.more.then(|| page.rows.last().map(|(key, _)| key.clone())).flatten();
            let mut batch = Batch::new();
            for (key, value) in &page.rows {
                if is_over(value) {
                    batch.delete(keyspace, key);
                }
            }
            if !batch.is_empty() {
                swept += batch.len();
                self.store.commit_lazy(batch).await?;
            }
            if after.is_none() {
                return Ok(swept);
            }
        }
    }
}
