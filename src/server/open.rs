//! Opening what is in the data folder: for the server itself, and for commands while it does not run.

use std::path::PathBuf;

use thiserror::Error;

use crate::{config::Config, store::Store, users};

/// Why the data can't be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("{} is used by another process, probably a running server", data.display())]
    InUse {
        /// The data folder.
        data: PathBuf,
    },
    /// Nothing here can keep data on disk.
    #[error("this build can't keep data on disk: build it with the feature `rocksdb`")]
    NoEngine,
}

/// The store of the configuration's data folder.
pub fn store(config: &Config) -> Result<Store, OpenError> {
    let _ = config;
    Err(OpenError::NoEngine)
}

/// How accounts are run.
pub fn user_options(config: &Config) -> users::Options {
    users::Options {
        hashing: users::Hashing {
            memory_kib: config.passwords.memory_kib,
            iterations: config.passwords.iterations,
            concurrency: config.passwords.concurrency,
            queue: config.passwords.queue,
        },
        shortest_password: config.passwords.shortest,
        access_token_lifetime: config.sessions.access_token_lifetime,
        most_devices: config.sessions.most_devices,
    }
}
