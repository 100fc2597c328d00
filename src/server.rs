//! Wires a server, binds its listeners, stops it.
//!
//! [`Server`] is everything but sockets: tests run it as it is. [`run`] is what `myelin serve` does with it.

mod listeners;
pub mod log;
mod metrics;
pub mod open;
mod reload;
mod running;
mod tls;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use thiserror::Error;

pub use self::{
    listeners::Listening,
    running::{Parts, Server, routes},
    tls::TlsError,
};
use self::{listeners::Sockets, reload::Reload};
use crate::{
    base::{clock::Clock, random::Random},
    config::{Config, RegistrationMode},
    federation::{
        addresses::AddressFilter,
        dns::Dns,
        https::{Https, HttpsError},
        identity,
    },
    flows::register::first_token,
    store::ReadError,
};

/// Why a server did not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The data can't be used.
    #[error(transparent)]
    Open(#[from] open::OpenError),
    /// The server's own key can't be used.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Other servers can't be reached.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// An address of the configuration can't be listened on.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system refused threads, signals or sockets.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// The store failed at start.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The first registration token could not be made.
    #[error("the first registration token can't be made: {0}")]
    FirstToken(#[from] crate::flows::register::RegisterError),
}

/// A server that listens.
#[derive(Clone, Debug)]
pub struct Started {
    /// Where clients come in, as URLs.
    pub addresses: Vec<String>,
    /// A token for the first account, on the first start.
    pub registration_token: Option<String>,
}

/// What is given to [`run`] beside the configuration.
pub struct Run<'a> {
    /// The configuration.
    pub config: Config,
    /// Where it was read from, to be read again on SIGHUP.
    pub file: Option<PathBuf>,
    /// Open although acknowledged commits are missing, and begin a new epoch.
    pub accept_loss: bool,
    /// What the log is written by.
    pub log: log::Handle,
    /// Called once, when the server listens.
    pub announce: Box<dyn FnOnce(&Started) + 'a>,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the server could not start.
pub fn run(run: Run<'_>) -> Result<(), RunError> {
    let Run { config, file, accept_loss, log, announce } = run;
    let config = Arc::new(config);
    let certificates = config.tls.as_ref().map(tls::Certificates::load).transpose()?;
    let sockets = Sockets::bind(&config.listeners)?;
    let store = open::store(&config, accept_loss)?;
    let random = Random::system();
    let identity = identity::load_or_create(&config.server.data, &config.server.name, &random)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("background").enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::system();
        let transport = Arc::new(internet(&config, &clock, &random)?);
        let server = Server::start(Parts { config: Arc::clone(&config), store, identity, transport, clock, random });
        let reload = Reload { server: &server, file, log, certificates: certificates.clone() };
        let mut signals = Signals::listen()?;
        let listening = sockets.serve(&server, certificates.as_ref())?;
        announce(&Started {
            addresses: listening.addresses(),
            registration_token: match config.registration.mode {
                RegistrationMode::Token => first_token(&server.app().users).await?,
                RegistrationMode::Open | RegistrationMode::Closed => None,
            },
        });
        signals.wait(&reload).await;
        stop(&server, listening).await;
        Ok(())
    })
}

/// Reaches other servers over the internet, as the configuration allows. Must be called inside a runtime.
///
/// # Errors
/// When the configured certificate authorities can't be used.
pub fn internet(config: &Config, clock: &Clock, random: &Random) -> Result<Https, HttpsError> {
    let ranges = config.federation.allowed_address_ranges.clone();
    let filter = AddressFilter::new(move |address| ranges.iter().any(|range| range.contains(address)));
    let authorities = config.federation.certificate_authorities.as_deref();
    Https::new(Arc::new(Dns::of_machine()), filter, authorities, clock, random)
}

/// Listens on the addresses of a server's configuration.
///
/// # Errors
/// When one of them is taken, or the certificate can't be used.
pub fn listen(server: &Server) -> Result<Listening, RunError> {
    let config = &server.app().config;
    let certificates = config.tls.as_ref().map(tls::Certificates::load).transpose()?;
    Sockets::bind(&config.listeners)?.serve(server, certificates.as_ref())
}

/// Nothing new comes in, long polls end, what is under way is answered, and what it wrote is durable.
pub async fn stop(server: &Server, listening: Listening) {
    tracing::info!("stopping");
    listening.refuse_more().await;
    server.app().shutdown.trigger();
    listening.end().await;
    server.stop().await;
    tracing::info!("stopped");
}

/// The signals that the process reacts to.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the server is to stop. SIGHUP reads the configuration again.
    async fn wait(&mut self, reload: &Reload<'_>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload.run(),
            }
        }
    }
}

/// How long what is under way may take when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Waits until `done`, at most for [`DRAIN`]. Says whether it was in time.
async fn drained(done: impl Fn() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + DRAIN;
    while !done() {
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}
