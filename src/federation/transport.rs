//! Carrying a request to another server, whatever lies between: the internet ([`super::https`]) or a simulated network.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use ruma::OwnedServerName;
use thiserror::Error;
use tokio::time::Instant;

use super::discovery::DiscoveryError;

/// A request to another server.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// To whom.
    pub destination: OwnedServerName,
    /// The method.
    pub method: Method,
    /// Path and query, percent-encoded, exactly as they were signed.
    pub target: String,
    /// The `Authorization` header, if it is signed.
    pub authorization: Option<String>,
    /// The body, in JSON; empty for none.
    pub body: Bytes,
    /// When the answer must have arrived whole.
    pub deadline: Instant,
    /// The most bytes of a body that are read.
    pub most_bytes: usize,
    /// A longer body is cut off there; otherwise it is an error.
    pub is_cut: bool,
}

/// What another server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TransportError {
    /// The server is not found.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// There is no connection, or it broke.
    #[error("no connection: {0}")]
    Connection(String),
    /// The answer did not come in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than what was asked for can be.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The request can't be sent like this.
    #[error("the request can't be sent: {0}")]
    Request(String),
}

/// Carries requests to other servers.
pub trait Transport: Send + Sync {
    /// Sends a request and waits for its answer, until the request's deadline.
    fn send(&self, request: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>>;
}
