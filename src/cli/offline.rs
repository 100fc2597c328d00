//! Working on the data of a server that is not running.

use std::{error::Error, path::PathBuf};

use super::{Outcome, output::note};
use crate::{
    base::{clock::Clock, random::Random},
    config::Config,
    server::open,
    store::Store,
    users::Users,
};

/// The data folder of a configuration, once it is known that a command may work on it.
pub(super) struct Data<'a> {
    config: &'a Config,
}

/// Whether a command may be the first to use a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// A server has run here: a folder without data is the wrong one.
    Existing,
    /// It may be new.
    NewOrExisting,
}

impl<'a> Data<'a> {
    /// Finds the data folder and says on standard error which one it is.
    pub(super) fn find(config: &'a Config, expect: Expect) -> Result<Self, Box<dyn Error>> {
        let folder = open::folder(config);
        if expect == Expect::Existing {
            open::require_data(&folder).map_err(explain)?;
        }
        note(&format!("Data folder: {}", folder.display()));
        Ok(Self { config })
    }

    /// Opens the store.
    pub(super) fn store(&self) -> Result<Store, Box<dyn Error>> {
        open::store(self.config, false).map_err(explain)
    }

    /// Runs `work` over the accounts.
    pub(super) fn run(&self, work: impl AsyncFnOnce(Users) -> Outcome) -> Outcome {
        let (opened, config) = (self.store()?, self.config);
        let store = opened.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let outcome = runtime.block_on(async {
            let options = open::user_options(config);
            let users = Users::new(store, Clock::system(), Random::system(), config.server.name.clone(), options);
            work(users).await
        });
        opened.close();
        outcome
    }
}

/// What to do when the store can't be opened.
pub(super) fn explain(error: open::OpenError) -> Box<dyn Error> {
    match error {
        open::OpenError::InUse { .. } => format!(
            "{error}\nStop it first. While a server runs, accounts can be made by its /_synapse/admin/v1/register."
        )
        .into(),
        open::OpenError::NoData { .. } => format!("{error}\n{}", which_folder()).into(),
        other => other.into(),
    }
}

/// What decides about the data folder, and what to do when there is none yet.
fn which_folder() -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    format!(
        "The folder is `server.data` of the configuration (--config FILE, or MYELIN_CONFIG); a relative one starts from \
         the working folder, which is {}.\nBefore a server's first start there is no data: start it, or make the \
         first account by `myelin user create --new NAME`.",
        here.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_folder_is_named_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("typo");
        let toml = format!("[server]\nname = \"a.b\"\ndata = {:?}\n", data.display().to_string());
        let config = Config::read(&toml, []).unwrap();
        let refused = Data::find(&config, Expect::Existing).err().unwrap().to_string();
        assert!(refused.starts_with(&format!("there is no server's data in {}\n", data.display())), "{refused}");
        assert!(refused.contains("--config") && refused.contains("user create --new"), "{refused}");
        assert!(Data::find(&config, Expect::NewOrExisting).is_ok());
        assert!(!data.exists());
        std::fs::create_dir_all(data.join("db")).unwrap();
        assert!(Data::find(&config, Expect::Existing).is_ok());
    }

    #[test]
    fn a_relative_folder_is_named_whole() {
        let config = Config::read("[server]\nname = \"a.b\"\ndata = \"no/such/folder\"\n", []).unwrap();
        let refused = Data::find(&config, Expect::Existing).err().unwrap().to_string();
        let whole = std::env::current_dir().unwrap().join("no/such/folder");
        assert!(refused.contains(&whole.display().to_string()), "{refused}");
    }
}
