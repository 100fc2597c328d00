//! The internet: requests over HTTPS to where discovery finds a server, with its certificate checked.
//!
//! A client of its own for each target: it knows no names, only the addresses that were looked at, so that nothing is
//! resolved again between the look and the connection.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, future::BoxFuture};
use http::header;
use quick_cache::sync::Cache as QuickCache;
use reqwest::dns::{Name, Resolve, Resolving};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem, pem::PemObject as _};
use thiserror::Error;
use url::{Host, Position, Url};

use super::{
    addresses::AddressFilter,
    discovery::{Certificate, Discovery, Lookup, Target},
    transport::{Outbound, Reply, Transport, TransportError},
    well_known::{Page, PageError, Pages, WellKnown},
};
use crate::base::{clock::Clock, random::Random};

/// Targets whose connections are kept.
const CLIENTS: usize = 2_000;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How many of one target are kept idle.
const MOST_IDLE: usize = 4;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// What this server says it is.
const USER_AGENT: &str = concat!("Myelin/", env!("CARGO_PKG_VERSION"));

/// Why no request can be made.
#[derive(Debug, Error)]
pub enum HttpsError {
    /// The file of further certificate authorities can't be read.
    #[error("{}: {error}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: pem::Error,
    },
    /// A certificate of that file can't be used, or TLS can't be set up.
    #[error("certificates of authorities can't be used: {0}")]
    Unfit(#[from] rustls::Error),
}

/// Requests over HTTPS.
pub struct Https {
    web: Arc<Web>,
    discovery: Discovery,
}

/// HTTPS to addresses that the server connects to.
struct Web {
    lookup: Arc<dyn Lookup>,
    filter: AddressFilter,
    tls: ClientConfig,
    clients: QuickCache<Peer, reqwest::Client>,
}

/// With whom a client talks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    certificate: Certificate,
    addresses: Vec<SocketAddr>,
}

impl Https {
    /// Requests to where `lookup` says servers are. Trusted are the certificate authorities of the machine, and those of
    /// a PEM file besides.
    ///
    /// # Errors
    /// When that file can't be used.
    pub fn new(
        lookup: Arc<dyn Lookup>,
        filter: AddressFilter,
        authorities: Option<&Path>,
        clock: &Clock,
        random: &Random,
    ) -> Result<Self, HttpsError> {
        let tls = tls(authorities)?;
        let web = Web { lookup: Arc::clone(&lookup), filter: filter.clone(), tls, clients: QuickCache::new(CLIENTS) };
        let web = Arc::new(web);
        let pages: Arc<dyn Pages> = web.clone();
        let well_known = WellKnown::new(pages, clock.clone());
        Ok(Self { web, discovery: Discovery::new(lookup, well_known, filter, random.clone()) })
    }

    async fn deliver(&self, request: Outbound) -> Result<Reply, TransportError> {
        let Target { addresses, host, certificate } = self.discovery.find(&request.destination).await?;
        let url = url(&certificate, &addresses, &request.target)?;
        let client = self.web.client(Peer { certificate, addresses })?;
        let mut builder = client.request(request.method, url).header(header::HOST, host);
        if let Some(authorization) = request.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        if !request.body.is_empty() {
            builder = builder.header(header::CONTENT_TYPE, "application/json").body(request.body);
        }
        let mut response = builder.send().await.map_err(|error| broken(&error))?;
        let body = read(&mut response, request.most_bytes, request.is_cut).await?;
        Ok(Reply { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }
}

impl Transport for Https {
    fn send(&self, request: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let deadline = request.deadline;
        let reply = tokio::time::timeout_at(deadline, self.deliver(request));
        async move { reply.await.unwrap_or(Err(TransportError::Timeout)) }.boxed()
    }
}

impl Web {
    fn client(&self, peer: Peer) -> Result<reqwest::Client, TransportError> {
        let build = |peer: &Peer| {
            let mut builder = reqwest::Client::builder()
                .tls_backend_preconfigured(self.tls.clone())
                .https_only(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(MOST_IDLE)
                .dns_resolver(NoNames);
            if let Certificate::Name(name) = &peer.certificate {
                builder = builder.resolve_to_addrs(name, &peer.addresses);
            }
            builder.build().map_err(|error| TransportError::Request(error.to_string()))
        };
        let found = self.clients.get_or_insert_with(&peer, || build(&peer))?;
        Ok(found)
    }

    async fn page(&self, url: &Url, most_bytes: usize) -> Result<Page, PageError> {
        let failed = |error: &dyn std::fmt::Display| PageError(error.to_string());
        let port = url.port_or_known_default().unwrap_or(443);
        // The host as a web address reads it: `2130706433` is an IP address here.
        let (certificate, found) = match url.host() {
            Some(Host::Domain(name)) => {
                let found = self.lookup.addresses(name).await.map_err(|error| failed(&error))?;
                (Certificate::Name(name.to_owned()), found)
            }
            Some(Host::Ipv4(address)) => (Certificate::Address(address.into()), vec![address.into()]),
            Some(Host::Ipv6(address)) => (Certificate::Address(address.into()), vec![address.into()]),
            None => return Err(failed(&"no host")),
        };
        let permitted = found.into_iter().filter(|address: &IpAddr| self.filter.permits(*address));
        let addresses: Vec<SocketAddr> = permitted.map(|address| SocketAddr::new(address, port)).collect();
        if addresses.is_empty() {
            return Err(failed(&"no address that this server connects to"));
        }
        let client = self.client(Peer { certificate, addresses }).map_err(|error| failed(&error))?;
        let mut response = client.get(url.clone()).send().await.map_err(|error| failed(&broken(&error)))?;
        let body = read(&mut response, most_bytes, false).await.map_err(|error| failed(&error))?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (location, cache_control) = (text(header::LOCATION), text(header::CACHE_CONTROL));
        Ok(Page { status: response.status(), location, cache_control, body })
    }
}

impl Pages for Web {
    fn get<'a>(&'a self, url: &'a Url, most_bytes: usize) -> BoxFuture<'a, Result<Page, PageError>> {
        self.page(url, most_bytes).boxed()
    }
}

/// Knows no names: what is to be connected to was resolved and looked at before.
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, name: Name) -> Resolving {
        let error = format!("{} was not looked at", name.as_str());
        Box::pin(std::future::ready(Err(error.into())))
    }
}

/// The address of a request. It must say what was signed: a web address that reads the target in another way, or the host
/// as an IP address, is refused.
fn url(certificate: &Certificate, addresses: &[SocketAddr], target: &str) -> Result<Url, TransportError> {
    let refused = |why: &str| TransportError::Request(why.to_owned());
    // A name without a port: then the ports of the addresses count.
    let authority = match (certificate, addresses.first()) {
        (Certificate::Name(name), _) => name.clone(),
        (Certificate::Address(_), Some(address)) => address.to_string(),
        (Certificate::Address(_), None) => return Err(refused("no address")),
    };
    let url = Url::parse(&format!("https://{authority}{target}")).map_err(|_| refused("no web address"))?;
    let same_kind = match (url.host(), certificate) {
        (Some(Host::Domain(domain)), Certificate::Name(name)) => domain == name,
        (Some(Host::Ipv4(ours)), Certificate::Address(address)) => *address == ours,
        (Some(Host::Ipv6(ours)), Certificate::Address(address)) => *address == ours,
        _ => false,
    };
    if !same_kind {
        return Err(refused("the host is not what it seems"));
    }
    if &url[Position::BeforePath..] == target && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(refused("the path is not what it seems"))
    }
}

/// Reads a body as far as the bound. What lies behind it is left unread if `is_cut`, or else an error.
async fn read(response: &mut reqwest::Response, most: usize, is_cut: bool) -> Result<Bytes, TransportError> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    if !is_cut && announced.is_some_and(|length| length > most) {
        return Err(TransportError::TooLarge(most));
    }
    let mut body = BytesMut::new();
    while let Some(mut chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        let room = most.saturating_sub(body.len());
        let is_too_long = chunk.len() > room;
        if is_too_long && !is_cut {
            return Err(TransportError::TooLarge(most));
        }
        chunk.truncate(room);
        body.extend_from_slice(&chunk);
        if is_too_long {
            break;
        }
    }
    Ok(body.freeze())
}

/// With its causes, which are what is worth reading: `invalid peer certificate: Expired`.
fn broken(error: &reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportError::Timeout;
    }
    let mut text = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push(inner.to_string());
        cause = inner.source();
    }
    // Each error of the chain names its cause again; the last one says it all.
    TransportError::Connection(text.pop().unwrap_or_else(|| error.to_string()))
}

/// Trust in the certificate authorities of the machine, and in further ones.
fn tls(authorities: Option<&Path>) -> Result<ClientConfig, HttpsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if let Some(path) = authorities {
        let wrong = |error| HttpsError::Authorities { path: path.to_owned(), error };
        for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
            roots.add(certificate.map_err(wrong)?)?;
        }
    } else if usable == 0 {
        tracing::warn!("this machine trusts no certificate authority, so no other server can be reached");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Https with {} targets", self.web.clients.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_where_it_seems_to_go() {
        let name = |name: &str| Certificate::Name(name.to_owned());
        let at = |address: &str| vec![address.parse::<SocketAddr>().unwrap()];
        let public = at("1.1.1.1:8448");
        let good = url(&name("a.b"), &public, "/_matrix/x/%40a%2Fb?c=%20d").unwrap();
        assert_eq!(good.as_str(), "https://a.b/_matrix/x/%40a%2Fb?c=%20d");
        let address = Certificate::Address("1.1.1.1".parse().unwrap());
        assert_eq!(url(&address, &public, "/x").unwrap().as_str(), "https://1.1.1.1:8448/x");
        let address = Certificate::Address("2606:4700::1".parse().unwrap());
        assert_eq!(url(&address, &at("[2606:4700::1]:443"), "/x").unwrap().as_str(), "https://[2606:4700::1]/x");
        for host in ["2130706433", "0x7f.1", "127.1", "017700000001"] {
            assert!(url(&name(host), &public, "/x").is_err(), "{host} is an IP address to a web client");
        }
        for target in ["/_matrix/a/../b", "/_matrix/./b", "/_matrix/%2e%2e/b", "/a\\b", "/a b", "/a#b"] {
            assert!(url(&name("a.b"), &public, target).is_err(), "{target}");
        }
    }
}
