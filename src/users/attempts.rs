//! Wrong passwords: counted per account, so that nobody can go on guessing from many addresses.
//!
//! In memory only: losing the count on a restart gives a guesser a few more tries, and nobody is locked out for ever.

use std::time::Duration;

use quick_cache::sync::Cache;
use ruma::UserId;
use tokio::time::Instant;

/// Failures in a row that cost nothing.
const FREE: u32 = 10;
/// After those, one more try in this time.
const PACE: Duration = Duration::from_secs(10);
/// Accounts (existing or not) that are watched; the least watched is forgotten first.
const MOST_ACCOUNTS: usize = 20_000;

/// Who failed how often.
pub(super) struct Attempts(Cache<[u8; 16], Failures>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How many count still: each [`PACE`] forgives one.
    fn remaining(self, now: Instant) -> u32 {
        let forgiven = now.saturating_duration_since(self.last).as_secs().checked_div(PACE.as_secs()).unwrap_or(0);
        self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::new(MOST_ACCOUNTS))
    }
}

impl Attempts {
    /// Whether another password may be tried; otherwise, when to come back.
    pub(super) fn check(&self, user_id: &UserId, now: Instant) -> Result<(), Duration> {
        let failures = self.0.get(&key(user_id));
        if failures.is_some_and(|failures| failures.remaining(now) >= FREE) { Err(PACE) } else { Ok(()) }
    }

    /// A password was wrong.
    pub(super) fn failed(&self, user_id: &UserId, now: Instant) {
        let before = self.0.get(&key(user_id)).map_or(0, |failures| failures.remaining(now));
        self.0.insert(key(user_id), Failures { count: before.saturating_add(1), last: now });
    }
}

fn key(user_id: &UserId) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(blake3::hash(user_id.as_bytes()).as_bytes().split_at(16).0);
    key
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn guessing_becomes_slow_and_is_forgiven() {
        let (attempts, victim, other) = (Attempts::default(), user_id!("@a:x"), user_id!("@b:x"));
        for _ in 0..FREE {
            assert_eq!(attempts.check(victim, Instant::now()), Ok(()));
            attempts.failed(victim, Instant::now());
        }
        assert_eq!(attempts.check(victim, Instant::now()), Err(PACE));
        assert_eq!(attempts.check(other, Instant::now()), Ok(()));
        tokio::time::advance(PACE).await;
        assert_eq!(attempts.check(victim, Instant::now()), Ok(()));
        attempts.failed(victim, Instant::now());
        assert_eq!(attempts.check(victim, Instant::now()), Err(PACE));
    }
}
