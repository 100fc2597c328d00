//! Opening what is in the data folder: for the server itself, and for commands while it does not run.

use std::path::{self, Path, PathBuf};

use thiserror::Error;

use crate::{
    config::Config,
    store::{self, Store, engine},
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
    /// A command that makes no data folder found none.
    #[error("there is no server's data in {}", data.display())]
    NoData {
        /// The data folder.
        data: PathBuf,
    },
    /// It can't be told whether there is data.
    #[error("{} can't be looked at: {error}", data.display())]
    Look {
        /// The data folder.
        data: PathBuf,
        /// Why.
        error: std::io::Error,
    },
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

/// The configuration's data folder, as an absolute path: a relative one starts from the working folder, which may not be
/// the one that whoever reads a message has in mind.
pub fn folder(config: &Config) -> PathBuf {
    let data = &config.server.data;
    path::absolute(data).unwrap_or_else(|_| data.clone())
}

/// Refuses a data folder in which no server has kept anything yet: for whoever expects data and must not make a new
/// folder where the old one is not.
///
/// # Errors
/// [`OpenError::NoData`], or [`OpenError::Look`] when that can't be told.
pub fn require_data(data: &Path) -> Result<(), OpenError> {
    match data.join(engine::DATABASE).try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenError::NoData { data: data.to_owned() }),
        Err(error) => Err(OpenError::Look { data: data.to_owned(), error }),
    }
}

/// The store of the configuration's data folder, which is made if it is not there. With `accept_loss` also when
/// acknowledged commits are missing.
#[cfg(feature = "rocksdb")]
pub fn store(config: &Config, accept_loss: bool) -> Result<Store, OpenError> {
    use crate::{
        config::Durability,
        store::{
            Driver, OpenOptions,
            engine::rocks::{Rocks, RocksOptions},
        },
    };
    let data = &folder(config);
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
    fn data_is_where_a_database_is() {
        let folder = tempfile::tempdir().unwrap();
        for data in [folder.path().to_owned(), folder.path().join("elsewhere")] {
            let refused = require_data(&data).unwrap_err();
            assert!(matches!(&refused, OpenError::NoData { data: named } if *named == data), "{refused}");
        }
        std::fs::create_dir(folder.path().join(engine::DATABASE)).unwrap();
        require_data(folder.path()).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(require_data(&file), Err(OpenError::Look { .. })));
    }

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
