//! This server among others: its keys and theirs, where they are, requests to them and who sends theirs.
//!
//! - [`identity`]: our own signing keys; [`key_ring`]: everybody's keys, fetched and kept
//! - [`discovery`]: where a server is; [`well_known`], [`dns`] and [`addresses`] are what it asks
//! - [`transport`]: carrying one request; [`https`] does it over the internet, tests over a simulated network
//! - [`client`]: typed, signed, bounded requests; `queries`: what they ask for our users; [`x_matrix`]: the signature; [`inbound`]: who sends what comes in;
//!   [`Keys::verify`]: whether events are really from the servers that they name; [`fetch`]: fetching events
//! - [`policy`]: asking a room's policy server before events go anywhere
//! - [`sender`]: sending them what they must hear of

pub mod addresses;
pub mod client;
pub mod discovery;
pub mod dns;
pub mod fetch;
pub mod https;
pub mod identity;
pub mod inbound;
pub mod inbox;
pub mod joining;
mod key_document;
mod key_fetch;
pub mod key_ring;
mod keys;
pub mod policy;
mod queries;
pub mod sender;
pub mod servers;
pub mod transport;
mod turns;
mod verify;
pub mod well_known;
pub mod x_matrix;

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use ruma::{OwnedServerName, ServerName};

pub use self::{
    client::{Bounds, Client, ClientError},
    fetch::{Fetch, FetchError, RoomRules},
    identity::Identity,
    inbound::{AuthError, Origin},
    inbox::Inbox,
    key_ring::Keys,
    keys::KEYSPACES,
    policy::PolicyServers,
    queries::{PublicRooms, PublicRoomsQuery},
    sender::Sender,
    servers::Servers,
    transport::Transport,
    x_matrix::Signed,
};
use self::{joining::UnderWay, key_fetch::Fetcher};
use crate::{
    base::{clock::Clock, tasks::Tasks},
    store::Store,
};

/// How this server takes part in federation; plain values from the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// With whom.
    pub servers: Servers,
    /// Servers that are asked for the keys of others which do not answer.
    pub notaries: Vec<OwnedServerName>,
}

/// The handle on other servers. Cheap to clone.
#[derive(Clone)]
pub struct Federation(Arc<Inner>);

struct Inner {
    servers: Servers,
    client: Client,
    keys: Keys,
    fetch: Fetch,
    joins: UnderWay,
    clock: Clock,
    listeners: RwLock<Vec<Listener>>,
}

/// Told of each server that signs a request to us.
type Listener = Box<dyn Fn(&ServerName) + Send + Sync>;

impl Federation {
    /// Other servers, as `transport` reaches them.
    pub fn new(
        options: Options,
        identity: Identity,
        transport: Arc<dyn Transport>,
        store: &Store,
        (clock, tasks): (&Clock, &Tasks),
    ) -> Self {
        let Options { servers, mut notaries } = options;
        notaries.retain(|notary| servers.allow(notary));
        let client = Client::new(identity.clone(), servers.clone(), transport, clock.clone());
        let fetcher = Fetcher::new(store.clone(), client.clone(), clock.clone(), tasks.clone());
        let own = (identity, servers.own.clone());
        let keys = Keys::new(own, notaries, (store.clone(), clock.clone()), fetcher);
        let fetch = Fetch::new(client.clone(), keys.clone());
        Self(Arc::new(Inner {
            servers,
            client,
            keys,
            fetch,
            joins: UnderWay::default(),
            clock: clock.clone(),
            listeners: RwLock::default(),
        }))
    }

    /// With whom this server talks.
    pub fn servers(&self) -> &Servers {
        &self.0.servers
    }

    /// Calls `listener` with each server whose signed request comes in, from now on. Must be quick.
    pub fn on_request(&self, listener: impl Fn(&ServerName) + Send + Sync + 'static) {
        self.0.listeners.write().push(Box::new(listener));
    }

    fn requested_by(&self, server: &ServerName) {
        for listener in self.0.listeners.read().iter() {
            listener(server);
        }
    }

    /// Requests to other servers.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Events of other servers.
    pub fn fetch(&self) -> &Fetch {
        &self.0.fetch
    }

    /// Rooms that users of ours are joining through others.
    fn joins(&self) -> &UnderWay {
        &self.0.joins
    }

    /// The keys of all servers.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Federation of {}", self.0.servers.own)
    }
}

#[cfg(test)]
mod golden;
