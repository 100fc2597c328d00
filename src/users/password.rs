//! Passwords: argon2id on a bounded pool, in a time that does not tell whether the user exists.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::Users;
use crate::base::random::Random;

/// The longest password, in bytes.
pub const LONGEST_PASSWORD: usize = 512;

/// The cost of argon2id and how much of it may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Hashes that run at once; each takes a thread and its memory.
    pub concurrency: usize,
    /// Requests that may wait for their turn; more are told to come back later.
    pub queue: usize,
}

impl Default for Hashing {
    /// The parameters that OWASP recommends for argon2id (19 MiB, 2 passes).
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2, concurrency: 2, queue: 64 }
    }
}

/// Why a password could not be hashed or compared, or may not be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked: try again shortly")]
    Busy,
    /// Shorter than this server allows.
    #[error("the password must have at least {0} characters")]
    TooShort(usize),
    /// Longer than [`LONGEST_PASSWORD`].
    #[error("the password must not be longer than 512 bytes")]
    TooLong,
    /// The hashing itself failed: parameters out of range, or no memory.
    #[error("password hashing failed: {0}")]
    Failed(argon2::password_hash::Error),
}

/// The pool.
pub(super) struct Hasher {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
}

struct Shared {
    options: Hashing,
    random: Random,
    /// A hash that no password has: compared when there is no account, so that this takes as long.
    decoy: OnceLock<String>,
}

impl Hasher {
    pub(super) fn new(options: Hashing, random: Random) -> Self {
        let shared = Arc::new(Shared { options, random, decoy: OnceLock::new() });
        let turns = Arc::new(Semaphore::new(options.concurrency.max(1)));
        Self { shared, turns, waiting: AtomicUsize::new(0), queue: options.queue }
    }

    /// Runs `work` on a thread that may block, when its turn comes.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = Place::take(&self.waiting, self.queue)?;
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else { return Err(PasswordError::Busy) };
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            // The turn belongs to the work: a client that hangs up does not let another one begin early.
            let _turn = turn;
            work(&shared)
        });
        task.await.unwrap_or_else(|_| Err(PasswordError::Failed(argon2::password_hash::Error::Crypto)))
    }
}

/// A place in the queue, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Result<Self, PasswordError> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        if before >= queue { Err(PasswordError::Busy) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn argon2(&self) -> Result<Argon2<'static>, PasswordError> {
        let params = Params::new(self.options.memory_kib, self.options.iterations, 1, None)
            .map_err(|error| PasswordError::Failed(error.into()))?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let salt = SaltString::encode_b64(&self.random.bytes::<16>()).map_err(PasswordError::Failed)?;
        let hash = self.argon2()?.hash_password(password.as_bytes(), &salt).map_err(PasswordError::Failed)?;
        Ok(hash.to_string())
    }

    /// Compares with `known`, or with the decoy: both take one whole hash.
    fn verify(&self, password: &str, known: Option<&str>) -> Result<bool, PasswordError> {
        let decoy = match self.decoy.get() {
            Some(decoy) => decoy,
            None => {
                let hash = self.hash(&self.random.alphanumeric(32))?;
                self.decoy.get_or_init(|| hash)
            }
        };
        let hash = PasswordHash::new(known.unwrap_or(decoy)).map_err(PasswordError::Failed)?;
        // The parameters are those of the hash, so that changing the configuration locks nobody out.
        match Argon2::default().verify_password(password.as_bytes(), &hash) {
            Ok(()) => Ok(known.is_some()),
            Err(argon2::password_hash::Error::Password) => Ok(false),
            Err(error) => Err(PasswordError::Failed(error)),
        }
    }
}

impl Users {
    /// Hashes a new password for [`super::Account::password_hash`], if it is long enough.
    pub async fn hash_password(&self, password: String) -> Result<String, PasswordError> {
        let shortest = self.options.shortest_password.max(1);
        if password.chars().count() < shortest {
            return Err(PasswordError::TooShort(shortest));
        }
        if password.len() > LONGEST_PASSWORD {
            return Err(PasswordError::TooLong);
        }
        self.hasher.run(move |shared| shared.hash(&password)).await
    }

    /// Whether `password` is the one behind `known`. Without a known hash the answer is no, and takes as long.
    pub(super) async fn verify_password(&self, password: String, known: Option<String>) -> Result<bool, PasswordError> {
        self.hasher.run(move |shared| shared.verify(&password, known.as_deref())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(concurrency: usize, queue: usize) -> Hasher {
        Hasher::new(Hashing { memory_kib: 8, iterations: 1, concurrency, queue }, Random::seeded(1))
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hasher = hasher(1, 8);
        let hash = hasher.run(|shared| shared.hash("wonderland")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        let again = hasher.run(|shared| shared.hash("wonderland")).await.unwrap();
        assert_ne!(hash, again, "every hash has its own salt");
        for (password, right) in [("wonderland", true), ("wonderland ", false), ("", false)] {
            let known = hash.clone();
            assert_eq!(hasher.run(move |shared| shared.verify(password, Some(&known))).await.unwrap(), right);
        }
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_hash_and_never_matches() {
        let hasher = hasher(1, 8);
        assert!(!hasher.run(|shared| shared.verify("anything", None)).await.unwrap());
        let decoy = hasher.shared.decoy.get().unwrap();
        assert!(decoy.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "the decoy costs what a real hash costs");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_recovers() {
        let hasher = hasher(1, 1);
        let turn = Arc::clone(&hasher.turns).acquire_owned().await.unwrap();
        let waits = hasher.run(|_| Ok(1));
        let refused = async {
            let second = hasher.run(|_| Ok(2)).await;
            drop(turn);
            second
        };
        let (first, second) = tokio::join!(waits, refused);
        assert_eq!((first, second), (Ok(1), Err(PasswordError::Busy)));
        assert_eq!(hasher.run(|_| Ok(3)).await, Ok(3));
    }
}
