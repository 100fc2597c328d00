//! Trying a password. Wrong ones are counted per account, so that nobody can go on guessing from many addresses.
//!
//! The count is in memory only: losing the count on a restart gives a guesser a few more tries, and nobody is locked out for ever.

use std::time::Duration;

use quick_cache::sync::Cache;
use ruma::UserId;
use thiserror::Error;
use tokio::time::Instant;

use super::{Account, PasswordError, Users, accounts};
use crate::store::ReadError;

/// Failures in a row that cost nothing.
const FREE: u32 = 10;
/// After those, one more try in this time.
const PACE: Duration = Duration::from_secs(10);
/// Accounts (existing or not) that are watched; the least watched is forgotten first.
const MOST_ACCOUNTS: usize = 20_000;

/// Why a password could not be tried.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AttemptError {
    /// Too many wrong ones for this account; when to come back.
    #[error("too many wrong passwords")]
    TooMany(Duration),
    /// Passwords can't be checked just now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Users {
    /// The user's account, if this is its password. An unknown user takes as long as a known one.
    ///
    /// # Errors
    /// When the password could not be tried: nothing is known of it.
    pub async fn try_password(&self, user_id: &UserId, password: String) -> Result<Option<Account>, AttemptError> {
        self.attempts.check(user_id, self.clock.instant()).map_err(AttemptError::TooMany)?;
        let reader = user_id.to_owned();
        let account = self.store.read(move |view| accounts::get(view, &reader)).await?;
        let hash = account.as_ref().and_then(|account| account.password_hash.clone());
        let right = self.verify_password(password, hash).await?;
        if !right {
            self.attempts.failed(user_id, self.clock.instant());
        }
        Ok(account.filter(|_| right))
    }
}

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
