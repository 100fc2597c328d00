//! The configuration, one file a section.
//!
//! An option is data: a `setting::Setting` says its key, meaning, unit, allowed values and default, and how to get from
//! what was typed to what the program needs. The example file, the environment variables, the checks and the errors are
//! all made from these descriptions. What the user typed is `typed::Typed`; what the program needs is [`Config`].

mod appservices;
mod database;
mod example;
mod federation;
mod limits;
mod listeners;
mod log;
mod passwords;
mod problem;
mod rate_limits;
mod registration;
mod rooms;
mod secret;
mod server;
mod sessions;
mod setting;
mod support;
mod tls;
mod typed;
mod value;
mod well_known;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::{
    database::{Database, Durability},
    example::example,
    federation::Federation,
    limits::Limits,
    listeners::{Listeners, Network},
    log::{Log, LogFormat},
    passwords::Passwords,
    problem::{ConfigError, Problem},
    rate_limits::{Rate, RateLimits},
    registration::{Registration, RegistrationMode},
    rooms::Rooms,
    secret::Secret,
    server::Server,
    sessions::Sessions,
    support::Support,
    tls::Tls,
    well_known::WellKnown,
};
use self::{setting::Section, typed::Typed};
use crate::appservice::Registry;

/// All that can be configured, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this server is.
    pub server: Server,
    /// Where others find it.
    pub well_known: WellKnown,
    /// Whom to ask for help.
    pub support: Support,
    /// The addresses that it listens on.
    pub listeners: Listeners,
    /// The certificate of its listeners, if they speak TLS.
    pub tls: Option<Tls>,
    /// Talking with other servers.
    pub federation: Federation,
    /// The store.
    pub database: Database,
    /// Who may get an account.
    pub registration: Registration,
    /// Bridges and bots.
    pub appservices: Registry,
    /// How passwords are kept.
    pub passwords: Passwords,
    /// Logins and devices.
    pub sessions: Sessions,
    /// The most that one request may ask for.
    pub limits: Limits,
    /// How often one may ask.
    pub rate_limits: RateLimits,
    /// How rooms are made.
    pub rooms: Rooms,
    /// What is written to the log.
    pub log: Log,
}

/// All sections, in the order of the example file.
static SECTIONS: &[&Section] = &[
    &server::SECTION,
    &well_known::SECTION,
    &support::SECTION,
    &listeners::SECTION,
    &tls::SECTION,
    &federation::SECTION,
    &database::SECTION,
    &registration::SECTION,
    &appservices::SECTION,
    &passwords::SECTION,
    &sessions::SECTION,
    &limits::SECTION,
    &rate_limits::SECTION,
    &rooms::SECTION,
    &log::SECTION,
];

impl Config {
    /// Reads the file, if one is given, and this process's environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?,
            None => String::new(),
        };
        // What is not Unicode can't be the name of one of our variables.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
        Self::read(&text, environment)
    }

    /// Reads a TOML text and environment variables, which override it. Secrets in files are read too.
    pub fn read(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let typed = Typed::read(SECTIONS, text, environment).map_err(ConfigError::Wrong)?;
        Self::build(&typed).map_err(|problem| ConfigError::Wrong(vec![problem]))
    }

    fn build(typed: &Typed) -> Result<Self, Problem> {
        let server = Server::read(&typed.section(&server::SECTION))?;
        let config = Self {
            appservices: appservices::read(&typed.section(&appservices::SECTION), &server.name)?,
            server,
            well_known: WellKnown::read(&typed.section(&well_known::SECTION))?,
            support: Support::read(&typed.section(&support::SECTION))?,
            listeners: Listeners::read(&typed.section(&listeners::SECTION))?,
            tls: Tls::read(&typed.section(&tls::SECTION))?,
            federation: Federation::read(&typed.section(&federation::SECTION))?,
            database: Database::read(&typed.section(&database::SECTION))?,
            registration: Registration::read(&typed.section(&registration::SECTION))?,
            passwords: Passwords::read(&typed.section(&passwords::SECTION))?,
            sessions: Sessions::read(&typed.section(&sessions::SECTION))?,
            limits: Limits::read(&typed.section(&limits::SECTION))?,
            rate_limits: RateLimits::read(&typed.section(&rate_limits::SECTION))?,
            rooms: Rooms::read(&typed.section(&rooms::SECTION))?,
            log: Log::read(&typed.section(&log::SECTION))?,
        };
        config.check()
    }

    /// What no section can tell by itself.
    fn check(self) -> Result<Self, Problem> {
        let unused_certificate =
            self.tls.as_ref().is_some_and(|tls| !tls.client) && self.listeners.federation.is_empty();
        if unused_certificate {
            return Err(Problem::unfit(
                "`tls.client` is false, so `listeners.federation` must be set: only there the certificate would be used",
            ));
        }
        Ok(self)
    }
}
