//! Local accounts: accounts, passwords, devices, tokens, profiles, account data, filters, transaction ids.
//!
//! Functions over a [`View`](crate::store::View) read; functions over a [`Batch`](crate::store::Batch) add to a commit
//! that a flow makes. The [`Users`] handle is for what needs more than one snapshot: authentication with its cache,
//! password hashing with its pool, and the last-seen memory.

pub mod account_data;
pub mod accounts;
mod attempts;
mod change;
pub mod changes;
pub mod devices;
pub mod filters;
pub mod fsck;
mod keys;
pub mod login_tokens;
pub mod openid;
pub mod password;
pub mod profile;
pub mod registration;
pub mod seen;
pub mod sessions;
pub mod sweep;
pub mod tags;
pub mod tokens;
pub mod txn;
pub mod uia;

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use ruma::{OwnedServerName, ServerName, UserId};

pub use self::{
    accounts::Account,
    attempts::AttemptError,
    keys::KEYSPACES,
    password::{Hashing, PasswordError},
    sessions::{AuthError, Session, Standing},
    tokens::TokenHash,
};
use crate::{
    base::{clock::Clock, random::Random},
    store::Store,
};

/// How accounts are run; plain values from the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cost and concurrency of password hashing.
    pub hashing: Hashing,
    /// The fewest characters of a new password.
    pub shortest_password: usize,
    /// How long the access token of a client that can refresh lives. Others get tokens that do not expire.
    pub access_token_lifetime: Duration,
    /// The most devices that a user may have.
    pub most_devices: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hashing: Hashing::default(),
            shortest_password: 8,
            access_token_lifetime: Duration::from_hours(1),
            most_devices: 500,
        }
    }
}

/// The handle on local accounts. Cheap to clone.
#[derive(Clone)]
pub struct Users(Arc<Inner>);

/// What [`Users`] shares.
pub struct Inner {
    /// The server that these accounts belong to.
    pub server_name: OwnedServerName,
    /// How accounts are run.
    pub options: Options,
    store: Store,
    /// Where the time comes from.
    pub clock: Clock,
    /// Where randomness comes from.
    pub random: Random,
    hasher: password::Hasher,
    sessions: sessions::Cache,
    seen: seen::Seen,
    attempts: attempts::Attempts,
    tellers: profile::Tellers,
}

impl Users {
    /// The accounts of `server_name` in `store`.
    pub fn new(store: Store, clock: Clock, random: Random, server_name: OwnedServerName, options: Options) -> Self {
        let hasher = password::Hasher::new(options.hashing, random.clone());
        let sessions = sessions::Cache::following(&store);
        let (seen, attempts, tellers) = Default::default();
        Self(Arc::new(Inner { server_name, options, store, clock, random, hasher, sessions, seen, attempts, tellers }))
    }

    /// Whether the user id belongs to this server (whether or not there is such an account).
    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.server_name
    }

    /// The server that these accounts belong to.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }
}

impl Deref for Users {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users of {}", self.server_name)
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
