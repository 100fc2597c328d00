//! `myelin config …`

use std::path::Path;

use clap::Subcommand;

use super::{Outcome, output::say};
use crate::config;

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Say whether the configuration is right, and what is wrong if not.
    Check,
    /// Print a configuration file with every option, its meaning and its default.
    Example,
}

pub(super) fn run(command: &Config, file: Option<&Path>) -> Outcome {
    match command {
        Config::Check => {
            let config = config::Config::load(file)?;
            let from = file.map_or_else(|| "the environment".to_owned(), |path| path.display().to_string());
            say(&format!("The configuration of {} in {from} is right.", config.server.name))?;
        }
        Config::Example => say(config::example().trim_end())?,
    }
    Ok(())
}
