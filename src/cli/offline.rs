//! Working on the data of a server that is not running.

use std::error::Error;

use super::Outcome;
use crate::{
    base::{clock::Clock, random::Random},
    config::Config,
    server::open,
    users::Users,
};

/// Runs `work` over the accounts in the data folder of the configuration.
pub(super) fn run(config: &Config, work: impl AsyncFnOnce(Users) -> Outcome) -> Outcome {
    let store = open::store(config, false).map_err(explain)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let options = open::user_options(config);
        let users = Users::new(store, Clock::system(), Random::system(), config.server.name.clone(), options);
        work(users).await
    })
}

/// What to do when the store can't be opened.
pub(super) fn explain(error: open::OpenError) -> Box<dyn Error> {
    match error {
        open::OpenError::InUse { .. } => format!(
            "{error}\nStop it first. While a server runs, accounts can be made by its /_synapse/admin/v1/register."
        )
        .into(),
        other => other.into(),
    }
}
