//! One thing at a time, by key: the next one waits, and more than a few are sent away.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex as Lock;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Turns of servers, or of rooms.
pub(super) struct Turns<K> {
    /// That are under way or wait, of one key.
    most: usize,
    turns: Lock<HashMap<K, Arc<Mutex<()>>>>,
}

/// A turn, for as long as it is there.
pub(super) struct Turn<'a, K: Eq + Hash> {
    turns: &'a Turns<K>,
    key: K,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash + Clone> Turns<K> {
    pub(super) fn of(most: usize) -> Self {
        Self { most, turns: Lock::default() }
    }

    /// Waits for a turn. `None` if too many wait already.
    pub(super) async fn take(&self, key: &K) -> Option<Turn<'_, K>> {
        let own = {
            let mut turns = self.turns.lock();
            let own = Arc::clone(turns.entry(key.clone()).or_default());
            // The map's, and one of each turn.
            if Arc::strong_count(&own) > self.most.saturating_add(1) {
                return None;
            }
            own
        };
        // There before it waits: whoever goes away while waiting is forgotten, too.
        let mut turn = Turn { turns: self, key: key.clone(), held: None };
        turn.held = Some(own.lock_owned().await);
        Some(turn)
    }
}

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let mut turns = self.turns.turns.lock();
        drop(self.held.take());
        // The map's alone.
        if turns.get(&self.key).is_some_and(|own| Arc::strong_count(own) <= 1) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_turn_at_a_time_and_a_short_queue() {
        let turns = Turns::of(4);
        let first = turns.take(&1).await.unwrap();
        assert!(turns.take(&2).await.is_some(), "others are not held up");
        let waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.take(&1))).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        let pause = Duration::from_secs(1);
        assert!(tokio::time::timeout(pause, &mut waiting).await.is_err());
        assert!(turns.take(&1).await.is_none());
        // Whoever waits and goes away after the one before, or before it.
        drop((first, waiting));
        assert!(tokio::time::timeout(pause, turns.take(&1)).await.unwrap().is_some());
        assert!(turns.turns.lock().is_empty(), "nobody is remembered");
    }
}
