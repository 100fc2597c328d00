//! The handles of a running server; no logic.

use std::{ops::Deref, sync::Arc};

use ruma::OwnedServerName;

use crate::{
    appservice::Appservices,
    base::{clock::Clock, metrics::Metrics, random::Random, shutdown::Shutdown, tasks::Tasks},
    config::Config,
    ephemeral::typing::Typing,
    federation::{Federation, Inbox, PolicyServers, Sender, joining::Handshakes},
    graph::Graph,
    rooms::Rooms,
    store::Store,
    sync::Sync,
    users::Users,
};

/// What requests and flows work on. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Handles>);

/// One handle a module.
pub struct Handles {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// What was configured.
    pub config: Arc<Config>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// The end.
    pub shutdown: Shutdown,
    /// Tasks beside requests.
    pub tasks: Tasks,
    /// Metrics.
    pub metrics: Metrics,
    /// The store, for flows that commit rows of several modules at once.
    pub store: Store,
    /// Local accounts.
    pub users: Users,
    /// Bridges and bots.
    pub appservices: Appservices,
    /// The write side of rooms.
    pub graph: Graph,
    /// Views of rooms.
    pub rooms: Rooms,
    /// Who is typing.
    pub typing: Typing,
    /// Other servers.
    pub federation: Federation,
    /// The policy servers of rooms.
    pub policy: PolicyServers,
    /// What other servers send.
    pub inbox: Inbox,
    /// Sending to them.
    pub sender: Sender,
    /// Handshakes with them about memberships.
    pub handshakes: Handshakes,
    /// What clients have not seen yet.
    pub sync: Sync,
}

impl From<Handles> for App {
    fn from(handles: Handles) -> Self {
        Self(Arc::new(handles))
    }
}

impl Deref for App {
    type Target = Handles;
    fn deref(&self) -> &Handles {
        &self.0
    }
}
