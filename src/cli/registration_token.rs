//! `myelin registration-token …`

use std::time::Duration;

use clap::Subcommand;

use super::{
    Outcome,
    offline::{Data, Expect},
    output::say,
};
use crate::{
    config::{Config, RegistrationMode},
    flows::register::create_token,
    users::registration::RegistrationToken as Limits,
};

#[derive(Debug, Subcommand)]
pub(super) enum RegistrationToken {
    /// Make a token that lets people register, and print it.
    Create {
        /// How many accounts it may make; any number if absent.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// In how many days it ends; never if absent.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
    },
}

pub(super) fn run(command: &RegistrationToken, config: &Config) -> Outcome {
    let RegistrationToken::Create { uses, days } = *command;
    if config.registration.mode != RegistrationMode::Token {
        return Err("registration tokens have a use only when `registration.mode` is \"token\"".into());
    }
    Data::find(config, Expect::Existing)?.run(async |users| {
        let lifetime = days.map(|days| Duration::from_hours(24 * u64::from(days)));
        let lifetime = lifetime.and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok());
        let expires_at = lifetime.map(|lifetime| users.clock.now().saturating_add(lifetime));
        let token = create_token(&users, Limits { uses_allowed: uses, used: 0, expires_at }).await?;
        say(&token)?;
        Ok(())
    })
}
