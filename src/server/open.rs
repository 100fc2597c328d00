//! Opening what is in the data folder: for the server itself, and for commands while it does not run.

#[cfg(any(feature = "rocksdb", test))]
use std::path::Path;
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
    /// The mark of a restored copy can't be read or removed.
    #[error("{}: {error}", mark.display())]
    Mark {
        /// The file.
        mark: PathBuf,
        /// What the system said.
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

/// A file of this name in the data folder says that the rest of the folder is an older copy that was put back. It is
/// removed once the store has begun a new epoch.
#[cfg(any(feature = "rocksdb", test))]
const RESTORED: &str = "RESTORED";

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
    let engine = Rocks::open(data, options).map_err(|error| refused(data, error))?;
    over(data, engine, OpenOptions { driver: Driver::Thread, accept_loss, restored: false })
}

/// Makes the data folder, if it is not there, for this user only: messages and keys are in it.
#[cfg(feature = "rocksdb")]
fn create(data: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data)
}

/// The store of the configuration's data folder: this build has none.
#[cfg(not(feature = "rocksdb"))]
pub fn store(_: &Config, _: bool) -> Result<Store, OpenError> {
    Err(OpenError::NoEngine)
}

/// A store over the engine of a data folder; a new epoch if the folder is marked as restored.
#[cfg(any(feature = "rocksdb", test))]
fn over(data: &Path, engine: impl store::Engine, options: store::OpenOptions) -> Result<Store, OpenError> {
    let mark = data.join(RESTORED);
    let failed = |error| OpenError::Mark { mark: mark.clone(), error };
    let restored = mark.try_exists().map_err(failed)?;
    let store = Store::open_with(engine, store::OpenOptions { restored, ..options });
    let store = store.map_err(|error| refused(data, error))?;
    if restored {
        // Not before the new epoch is durable: to begin another one after a crash in between does no harm.
        std::fs::remove_file(&mark).map_err(failed)?;
        tracing::info!(epoch = store.epoch(), "this is a restored copy: it begins a new epoch");
    }
    Ok(store)
}

#[cfg(any(feature = "rocksdb", test))]
fn refused(data: &Path, error: store::OpenError) -> OpenError {
    let data = data.to_owned();
    match error {
        store::OpenError::InUse(_) => OpenError::InUse { data },
        error => OpenError::Store { data, error },
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::memory::Memory;

    #[test]
    fn a_restored_copy_begins_a_new_epoch_once() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Memory::new());
        let mark = folder.path().join(RESTORED);
        let epoch = || over(folder.path(), disk.clone(), Default::default()).unwrap().epoch();
        assert_eq!(epoch(), 1);
        std::fs::write(&mark, "").unwrap();
        assert_eq!(epoch(), 2);
        assert!(!mark.exists());
        assert_eq!(epoch(), 2);
    }
}
