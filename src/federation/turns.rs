//! Turns: how many do something at once, by key. The next one waits, and more than may wait are sent away.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns of servers, rooms or users.
pub(super) struct Turns<K> {
    /// That are under way at once, of one key.
    at_once: usize,
    /// That are under way or wait, of one key.
    most: usize,
    turns: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// A turn, for as long as it is there.
pub(super) struct Turn<'a, K: Eq + Hash> {
    turns: &'a Turns<K>,
    key: K,
    held: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// Turns of which each key has `at_once` at the same time, and `most` with those that wait.
    pub(super) fn of(at_once: usize, most: usize) -> Self {
        Self { at_once, most, turns: Mutex::default() }
    }

    /// Waits for a turn. `None` if too many wait already.
    pub(super) async fn take(&self, key: &K) -> Option<Turn<'_, K>> {
        let own = {
            let mut turns = self.turns.lock();
            let own = turns.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
            // The map's, and one of each turn.
            if Arc::strong_count(own) > self.most {
                return None;
            }
            Arc::clone(own)
        };
        // There before it waits: whoever goes away while waiting is forgotten, too.
        let mut turn = Turn { turns: self, key: key.clone(), held: None };
        // Never closed.
        turn.held = own.acquire_owned().await.ok();
        Some(turn)
    }
}

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let mut turns = self.turns.turns.lock();
        drop(self.held.take());
        // The map's alone: nobody uses it or waits for it.
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
        let turns = Turns::of(1, 4);
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

    #[tokio::test(start_paused = true)]
    async fn a_key_has_as_many_turns_as_it_may() {
        let turns = Turns::of(2, 3);
        let two = (turns.take(&1).await.unwrap(), turns.take(&1).await.unwrap());
        let mut third = Box::pin(turns.take(&1));
        assert!(futures_util::poll!(&mut third).is_pending());
        assert!(turns.take(&1).await.is_none());
        drop(two);
        assert!(third.await.is_some());
        assert!(turns.turns.lock().is_empty(), "nobody is remembered");
    }
}
