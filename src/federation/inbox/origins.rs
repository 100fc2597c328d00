//! One transaction of a server at a time: the next one waits, and more than a few are sent away.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex as Lock;
use ruma::OwnedServerName;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Transactions of a server that are under way or wait; a server sends one at a time, and again when it gets no answer.
const MOST: usize = 4;

#[derive(Default)]
pub(super) struct Origins(Lock<HashMap<OwnedServerName, Arc<Mutex<()>>>>);

/// The turn of one transaction.
pub(super) struct Turn<'a> {
    origins: &'a Origins,
    server: OwnedServerName,
    _held: OwnedMutexGuard<()>,
}

impl Origins {
    /// Waits for the turn of a transaction. `None` if too many of its server wait already.
    pub(super) async fn turn(&self, server: &OwnedServerName) -> Option<Turn<'_>> {
        let own = {
            let mut origins = self.0.lock();
            let own = Arc::clone(origins.entry(server.clone()).or_default());
            // The map's, and one of each transaction.
            if Arc::strong_count(&own) > MOST.saturating_add(1) {
                return None;
            }
            own
        };
        Some(Turn { origins: self, server: server.clone(), _held: own.lock_owned().await })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut origins = self.origins.0.lock();
        // The map's and ours.
        if origins.get(&self.server).is_some_and(|own| Arc::strong_count(own) <= 2) {
            origins.remove(&self.server);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ruma::server_name;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_has_one_turn_at_a_time_and_a_short_queue() {
        let origins = Origins::default();
        let (one, other) = (server_name!("a.b").to_owned(), server_name!("c.d").to_owned());
        let first = origins.turn(&one).await.unwrap();
        assert!(origins.turn(&other).await.is_some(), "others are not held up");
        let waiting: Vec<_> = (1..MOST).map(|_| Box::pin(origins.turn(&one))).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        let pause = Duration::from_secs(1);
        assert!(tokio::time::timeout(pause, &mut waiting).await.is_err());
        assert!(origins.turn(&one).await.is_none());
        drop((waiting, first));
        assert!(tokio::time::timeout(pause, origins.turn(&one)).await.unwrap().is_some());
        assert!(origins.0.lock().is_empty(), "nobody is remembered");
    }
}
