//! Finding servers: from a server name to addresses, a `Host` header, and the name that the certificate must be for
//! (server-server API, "Resolving server names").

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use ruma::ServerName;
use thiserror::Error;

use super::{addresses::AddressFilter, well_known::WellKnown};
use crate::base::random::Random;

/// The port of servers that name none.
const PORT: u16 = 8448;
/// The most addresses that are tried.
const MOST_ADDRESSES: usize = 16;
/// The most targets of a service that are looked at.
const MOST_TARGETS: usize = 8;
/// The names of the service in DNS: the registered one, and the deprecated one.
const SERVICES: [&str; 2] = ["_matrix-fed._tcp", "_matrix._tcp"];

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where to connect, in the order in which to try.
    pub addresses: Vec<SocketAddr>,
    /// The `Host` header.
    pub host: String,
    /// What the certificate must be for.
    pub certificate: Certificate,
}

/// What a certificate must be for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// A host name, in lower case.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

/// Why a server is not found.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DiscoveryError {
    /// DNS has no address for it, or did not answer.
    #[error("no address of {host}: {error}")]
    Lookup {
        /// The name that was looked up.
        host: String,
        /// Why.
        error: LookupError,
    },
    /// All of its addresses are in networks that this server does not connect to.
    #[error("{0} has no address that this server connects to (see `federation.allowed_address_ranges`)")]
    NotPermitted(String),
    /// DNS says that it takes no part in federation.
    #[error("{0} does not offer federation")]
    NotOffered(String),
}

/// Why DNS has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LookupError {
    /// There is no such record.
    #[error("there is none")]
    NotFound,
    /// It can't be asked.
    #[error("{0}")]
    Failed(String),
}

/// A target of an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower ones first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, without the dot at its end; empty if the service is decidedly not offered.
    pub host: String,
}

/// Looks names up in DNS.
pub trait Lookup: Send + Sync {
    /// The addresses of a host (CNAME, AAAA, A).
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, LookupError>>;
    /// The targets of a service (SRV).
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, LookupError>>;
}

/// Finds servers. Cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    lookup: Arc<dyn Lookup>,
    well_known: WellKnown,
    filter: AddressFilter,
    random: Random,
}

impl Discovery {
    /// Finds servers by these means.
    pub fn new(lookup: Arc<dyn Lookup>, well_known: WellKnown, filter: AddressFilter, random: Random) -> Self {
        Self { lookup, well_known, filter, random }
    }

    /// Where a server is.
    ///
    /// # Errors
    /// When DNS does not know it, or only at addresses that this server does not connect to.
    pub async fn find(&self, server: &ServerName) -> Result<Target, DiscoveryError> {
        // Steps 1 and 2.
        if let Some(target) = self.explicit(server).await? {
            return Ok(target);
        }
        // Step 3. The delegated name is taken as it is: it is not delegated again.
        if let Some(delegated) = self.well_known.delegated(&server.host().to_lowercase()).await {
            return match self.explicit(&delegated).await? {
                Some(target) => Ok(target),
                None => self.by_name(delegated.host()).await,
            };
        }
        // Steps 4, 5 and 6.
        self.by_name(server.host()).await
    }

    /// A server name with an IP address or a port, which says where the server is.
    async fn explicit(&self, server: &ServerName) -> Result<Option<Target>, DiscoveryError> {
        let host = server.host().to_lowercase();
        if let Some(address) = ip_literal(&host) {
            let at = SocketAddr::new(address, server.port().unwrap_or(PORT));
            let addresses = self.permitted(&host, vec![at])?;
            let certificate = Certificate::Address(address);
            return Ok(Some(Target { addresses, host: server.as_str().to_owned(), certificate }));
        }
        let Some(port) = server.port() else { return Ok(None) };
        let addresses = self.permitted(&host, self.resolve(&host, port).await?)?;
        Ok(Some(Target { addresses, host: server.as_str().to_owned(), certificate: Certificate::Name(host) }))
    }

    /// A host without a port: its service, or the default port.
    async fn by_name(&self, host: &str) -> Result<Target, DiscoveryError> {
        let host = host.to_lowercase();
        let certificate = Certificate::Name(host.clone());
        for service in SERVICES {
            // A nameserver that fails at SRV records is as one that has none: the certificate decides who is right.
            let targets = self.lookup.services(&format!("{service}.{host}")).await.unwrap_or_default();
            if targets.is_empty() {
                continue;
            }
            let addresses = self.of_services(&host, targets).await?;
            return Ok(Target { addresses: self.permitted(&host, addresses)?, host, certificate });
        }
        let addresses = self.permitted(&host, self.resolve(&host, PORT).await?)?;
        Ok(Target { addresses, host, certificate })
    }

    /// The addresses of the targets of a service, in the order in which RFC 2782 wants them to be tried.
    async fn of_services(&self, host: &str, targets: Vec<Service>) -> Result<Vec<SocketAddr>, DiscoveryError> {
        let mut offered: Vec<Service> = targets.into_iter().filter(|target| !target.host.is_empty()).collect();
        if offered.is_empty() {
            return Err(DiscoveryError::NotOffered(host.to_owned()));
        }
        let mut ordered = Vec::with_capacity(offered.len());
        while let Some(priority) = offered.iter().map(|target| target.priority).min() {
            let (mut alike, rest) = offered.into_iter().partition(|target| target.priority == priority);
            self.shuffle(&mut alike, &mut ordered);
            offered = rest;
        }
        let (mut addresses, mut failure) = (Vec::new(), None);
        for Service { host, port, .. } in ordered.into_iter().take(MOST_TARGETS) {
            match self.resolve(&host, port).await {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) if addresses.is_empty() => Err(failure),
            _ => Ok(addresses),
        }
    }

    /// Draws targets of one priority, the heavier the sooner.
    fn shuffle(&self, alike: &mut Vec<Service>, ordered: &mut Vec<Service>) {
        while !alike.is_empty() {
            let total: u64 = alike.iter().map(|target| u64::from(target.weight)).sum();
            let mut drawn = self.random.u64() % total.saturating_add(1);
            let at = alike.iter().position(|target| match drawn.checked_sub(u64::from(target.weight)) {
                Some(left) if left > 0 => {
                    drawn = left;
                    false
                }
                _ => true,
            });
            ordered.push(alike.remove(at.unwrap_or(0)));
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DiscoveryError> {
        let found = self.lookup.addresses(host).await.and_then(|found| match found.as_slice() {
            [] => Err(LookupError::NotFound),
            _ => Ok(found),
        });
        let found = found.map_err(|error| DiscoveryError::Lookup { host: host.to_owned(), error })?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn permitted(&self, host: &str, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, DiscoveryError> {
        addresses.retain(|address| self.filter.permits(address.ip()));
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() { Err(DiscoveryError::NotPermitted(host.to_owned())) } else { Ok(addresses) }
    }
}

/// The address that a host of a server name is, if it is one.
fn ip_literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Discovery")
    }
}
