//! Opening what is in the data folder: for the server itself, and for commands while it does not run.

use std::path::PathBuf;

use thiserror::Error;

use crate::{
    config::Config,
    store::{self, Store},
    users,
};

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
    /// The data folder is not there, and can't be made.
    #[error("{} can't be created: {error}", data.display())]
    Create {
        /// The data folder.
        data: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The store is damaged, or of a newer release.
    #[error("{}: {error}", data.display())]
    Store {
        /// The data folder.
        data: PathBuf,
        /// What is wrong.
        error: store::OpenError,
    },
}

/// The store of the configuration's data folder. With `accept_loss` also when acknowledged commits are missing.
#[cfg(feature = "rocksdb")]
pub fn store(config: &Config, accept_loss: bool) -> Result<Store, OpenError> {
    use crate::{
        config::Durability,
        store::{
            Driver, OpenOptions,
            engine::rocks::{Rocks, RocksOptions},
        },
    };
    let data = &config.server.data;
    create(data).map_err(|error| OpenError::Create { data: data.clone(), error })?;
    let options = RocksOptions {
        cache: usize::try_from(config.database.cache / 2).unwrap_or(usize::MAX),
        fsync: config.database.durability == Durability::Fsync,
    };
    let opened = Rocks::open(data, options)
        .and_then(|engine| Store::open_with(engine, OpenOptions { driver: Driver::Thread, accept_loss }));
    opened.map_err(|error| match error {
        store::OpenError::InUse(_) => OpenError::InUse { data: data.clone() },
        error => OpenError::Store { data: data.clone(), error },
    })
}

/// Makes the data folder, if it is not there, for this user only: messages and keys are in it.
#[cfg(feature = "rocksdb")]
fn create(data: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data)
}

/// The store of the configuration's data folder: this build has none.
#[cfg(not(feature = "rocksdb"))]
pub fn store(_: &Config, _: bool) -> Result<Store, OpenError> {
    Err(OpenError::NoEngine)
}

/// The graph's part of the memory for what was read, in bytes. The engine has half; the rest is for accounts and routes.
pub fn graph_cache(config: &Config) -> u64 {
    config.database.cache / 4
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
