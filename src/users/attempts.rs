//! Trying a password. Wrong ones are counted for an account and an address; and, with more of them free, for an account from
//! all addresses, so that nobody can go on guessing from many. That count does not bind addresses from which the password was
//! right: strangers who guess do not lock the owner out.
//!
//! The count is in memory only: losing the count on a restart gives a guesser a few more tries, and nobody is locked out for ever.

use std::{net::IpAddr, time::Duration};

use quick_cache::sync::Cache;
use ruma::UserId;
use thiserror::Error;
use tokio::time::Instant;

use super::{Account, PasswordError, Users, accounts};
use crate::{base::address::subscriber, store::ReadError};

/// Failures in a row, from one address, that cost nothing.
const FREE: u32 = 10;
/// The same, from all addresses.
const FREE_OF_ALL: u32 = 40;
/// After those, one more try in this time.
const PACE: Duration = Duration::from_secs(10);
/// What is watched of each: accounts (existing or not), and addresses that try them. The least watched is forgotten first.
const MOST: usize = 20_000;

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
    /// The user's account, if this is its password, which somebody tries from this address. An unknown user takes as long as a known one.
    ///
    /// # Errors
    /// When the password could not be tried: nothing is known of it.
    pub async fn try_password(
        &self,
        user_id: &UserId,
        password: String,
        from: IpAddr,
    ) -> Result<Option<Account>, AttemptError> {
        let place = Place::new(user_id, from);
        self.attempts.check(place, self.clock.instant()).map_err(AttemptError::TooMany)?;
        let reader = user_id.to_owned();
        let account = self.store.read(move |view| accounts::get(view, &reader)).await?;
        let hash = account.as_ref().and_then(|account| account.password_hash.clone());
        let right = self.verify_password(password, hash).await?;
        if right {
            self.attempts.succeeded(place);
        } else {
            self.attempts.failed(place, self.clock.instant());
        }
        Ok(account.filter(|_| right))
    }
}

/// Who failed how often, and who did not.
pub(super) struct Attempts {
    of_account: Cache<[u8; 16], Failures>,
    of_place: Cache<[u8; 16], Failures>,
    /// Where the password was right.
    known: Cache<[u8; 16], ()>,
}

/// An account, and the address from which it is tried.
#[derive(Clone, Copy)]
pub(super) struct Place {
    account: [u8; 16],
    place: [u8; 16],
}

impl Place {
    pub(super) fn new(user_id: &UserId, from: IpAddr) -> Self {
        let place = format!("{user_id} {}", subscriber(from));
        Self { account: key(user_id.as_bytes()), place: key(place.as_bytes()) }
    }
}

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
        Self { of_account: Cache::new(MOST), of_place: Cache::new(MOST), known: Cache::new(MOST) }
    }
}

impl Attempts {
    /// Whether another password may be tried; otherwise, when to come back.
    pub(super) fn check(&self, Place { account, place }: Place, now: Instant) -> Result<(), Duration> {
        let stranger = self.known.get(&place).is_none();
        if remaining(&self.of_place, place, now) >= FREE
            || (stranger && remaining(&self.of_account, account, now) >= FREE_OF_ALL)
        {
            return Err(PACE);
        }
        Ok(())
    }

    /// A password was wrong.
    pub(super) fn failed(&self, Place { account, place }: Place, now: Instant) {
        for (failures, key) in [(&self.of_account, account), (&self.of_place, place)] {
            let count = remaining(failures, key, now).saturating_add(1);
            failures.insert(key, Failures { count, last: now });
        }
    }

    /// A password was right: nothing is held against this place any more.
    pub(super) fn succeeded(&self, Place { place, .. }: Place) {
        self.of_place.remove(&place);
        self.known.insert(place, ());
    }
}

fn remaining(failures: &Cache<[u8; 16], Failures>, key: [u8; 16], now: Instant) -> u32 {
    failures.get(&key).map_or(0, |failures| failures.remaining(now))
}

fn key(bytes: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(blake3::hash(bytes).as_bytes().split_at(16).0);
    key
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    /// Somebody at the address of this number.
    fn at(user_id: &UserId, number: u8) -> Place {
        Place::new(user_id, IpAddr::from([192, 0, 2, number]))
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_becomes_slow_and_is_forgiven() {
        let (attempts, victim, other) = (Attempts::default(), at(user_id!("@a:x"), 1), at(user_id!("@b:x"), 1));
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

    #[tokio::test(start_paused = true)]
    async fn strangers_do_not_lock_the_owner_out() {
        let (attempts, user) = (Attempts::default(), user_id!("@a:x"));
        let owner = at(user, 0);
        attempts.failed(owner, Instant::now());
        attempts.succeeded(owner);
        for stranger in 1..=10 {
            for _ in 0..FREE {
                attempts.failed(at(user, stranger), Instant::now());
            }
        }
        assert_eq!(attempts.check(at(user, 99), Instant::now()), Err(PACE), "from many addresses");
        assert_eq!(attempts.check(owner, Instant::now()), Ok(()));
        for _ in 0..FREE {
            attempts.failed(owner, Instant::now());
        }
        assert_eq!(attempts.check(owner, Instant::now()), Err(PACE), "not without end from there either");
        attempts.succeeded(owner);
        assert_eq!(attempts.check(owner, Instant::now()), Ok(()));
    }
}
