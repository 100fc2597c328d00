//! Requests to other servers: signed, typed, bounded in time and size.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use ruma::{
    OwnedServerName, ServerName,
    api::{
        IncomingResponseExt as _, OutgoingBody as _, OutgoingRequest, auth_scheme::NoAuthentication,
        federation::authentication::ServerSignatures, path_builder::PathBuilder,
    },
};
use serde::Deserialize;
use thiserror::Error;

use super::{
    identity::Identity,
    servers::Servers,
    transport::{Outbound, Reply, Transport, TransportError},
    x_matrix::Signed,
};
use crate::base::clock::Clock;

/// The longest error message of another server that is repeated anywhere, in characters.
const LONGEST_MESSAGE: usize = 200;

/// Why a request to another server has no result.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    /// This server does not talk with that one, by its configuration.
    #[error("this server does not talk with {0}")]
    NotAllowed(OwnedServerName),
    /// There is no answer.
    #[error("{server}: {error}")]
    Transport {
        /// Which server.
        server: OwnedServerName,
        /// Why.
        error: TransportError,
    },
    /// The other server says no.
    #[error("{server} answered {status} {code}: {message}")]
    Refused {
        /// Which server.
        server: OwnedServerName,
        /// The status.
        status: StatusCode,
        /// The Matrix error code; empty if it gave none.
        code: String,
        /// What it says, shortened.
        message: String,
        /// How long to wait before the next request, if it is asked too much (`429`) and says so.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the specification says.
    #[error("{server} answered something else than was asked for: {why}")]
    Unreadable {
        /// Which server.
        server: OwnedServerName,
        /// What is wrong.
        why: String,
    },
    /// The request itself can't be written.
    #[error("the request can't be written: {0}")]
    Request(String),
}

/// How long and how much one request may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From finding the server to the last byte of its answer.
    pub within: Duration,
    /// The most bytes of the answer.
    pub most_bytes: usize,
}

impl Bounds {
    /// For nearly everything: 30 s, 10 MB.
    pub const USUAL: Self = Self { within: Duration::from_secs(30), most_bytes: 10 << 20 };
    /// For the state of a whole room: 5 minutes, 100 MB.
    pub const STATE: Self = Self { within: Duration::from_mins(5), most_bytes: 100 << 20 };
}

/// Whether requests of an authentication scheme are signed.
pub trait OutgoingScheme {
    /// They are.
    const SIGNED: bool;
}

impl OutgoingScheme for ServerSignatures {
    const SIGNED: bool = true;
}

impl OutgoingScheme for NoAuthentication {
    const SIGNED: bool = false;
}

/// Sends requests to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    identity: Identity,
    servers: Servers,
    transport: Arc<dyn Transport>,
    clock: Clock,
}

/// A request, as it will be signed.
struct Written<'a> {
    method: Method,
    target: &'a str,
    body: Bytes,
    /// An answer that is too long is cut.
    is_cut: bool,
}

impl Client {
    pub(super) fn new(identity: Identity, servers: Servers, transport: Arc<dyn Transport>, clock: Clock) -> Self {
        Self(Arc::new(Inner { identity, servers, transport, clock }))
    }

    /// Sends a typed request and reads its typed answer.
    ///
    /// # Errors
    /// See [`ClientError`]. What another server refuses is never what this server answers to its own user as it is: its
    /// 401 says nothing about our user's token.
    pub async fn request<R>(
        &self,
        destination: &ServerName,
        request: R,
        bounds: Bounds,
    ) -> Result<R::IncomingResponse, ClientError>
    where
        R: OutgoingRequest,
        R::Authentication: OutgoingScheme,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = ()>,
    {
        let unwritable = |error: &dyn std::fmt::Display| ClientError::Request(error.to_string());
        let (parts, body) =
            request.try_into_http_request_inner("", ()).map_err(|error| unwritable(&error))?.into_parts();
        let body = body.try_into_buf::<Vec<u8>>().map_err(|error| unwritable(&error.into()))?;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let written = Written { method: parts.method, target, body: body.into(), is_cut: false };
        let reply = self.reply(destination, written, R::Authentication::SIGNED, bounds).await?;
        read::<R::IncomingResponse>(destination, reply)
    }

    /// Sends a signed `PUT` whose body is JSON already to this path, and hands out the answer's body as it is.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn put(
        &self,
        destination: &ServerName,
        target: &str,
        body: Vec<u8>,
        bounds: Bounds,
    ) -> Result<Bytes, ClientError> {
        self.put_json(destination, (target, body), bounds, false).await
    }

    /// The same for an answer of which only the beginning counts: what is longer than the bounds allow is cut.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn put_and_skim(
        &self,
        destination: &ServerName,
        target: &str,
        body: Vec<u8>,
        bounds: Bounds,
    ) -> Result<Bytes, ClientError> {
        self.put_json(destination, (target, body), bounds, true).await
    }

    async fn put_json(
        &self,
        destination: &ServerName,
        (target, body): (&str, Vec<u8>),
        bounds: Bounds,
        is_cut: bool,
    ) -> Result<Bytes, ClientError> {
        let written = Written { method: Method::PUT, target, body: body.into(), is_cut };
        let reply = self.reply(destination, written, true, bounds).await?;
        if reply.status.is_success() { Ok(reply.body) } else { Err(refused(destination, &reply)) }
    }

    async fn reply(
        &self,
        destination: &ServerName,
        Written { method, target, body, is_cut }: Written<'_>,
        is_signed: bool,
        bounds: Bounds,
    ) -> Result<Reply, ClientError> {
        let signed = Signed { method: method.as_str(), target, body: &body };
        let authorization = is_signed.then(|| signed.header(&self.0.identity.active, destination)).transpose();
        let outbound = Outbound {
            destination: destination.to_owned(),
            authorization: authorization.map_err(|error| ClientError::Request(error.to_string()))?,
            target: target.to_owned(),
            method,
            body,
            deadline: self.0.clock.instant() + bounds.within,
            most_bytes: bounds.most_bytes,
            is_cut,
        };
        self.send(outbound).await
    }

    async fn send(&self, outbound: Outbound) -> Result<Reply, ClientError> {
        let (server, most, is_cut) = (outbound.destination.clone(), outbound.most_bytes, outbound.is_cut);
        if !self.0.servers.allow(&server) {
            return Err(ClientError::NotAllowed(server));
        }
        let deadline = outbound.deadline;
        // A transport keeps to the deadline and the bound by itself; nobody waits for ever for one that does not.
        let reply = tokio::time::timeout_at(deadline, self.0.transport.send(outbound)).await;
        let reply = match reply.unwrap_or(Err(TransportError::Timeout)) {
            Ok(reply) if reply.body.len() > most && is_cut => Ok(Reply { body: reply.body.slice(..most), ..reply }),
            Ok(reply) if reply.body.len() > most => Err(TransportError::TooLarge(most)),
            reply => reply,
        };
        reply.map_err(|error| ClientError::Transport { server, error })
    }
}

fn read<T: ruma::api::IncomingResponse>(server: &ServerName, reply: Reply) -> Result<T, ClientError> {
    if !reply.status.is_success() {
        return Err(refused(server, &reply));
    }
    let mut response = http::Response::new(&*reply.body);
    (*response.status_mut(), *response.headers_mut()) = (reply.status, reply.headers);
    T::try_from_http_response(response)
        .map_err(|error| ClientError::Unreadable { server: server.to_owned(), why: shortened(&error.to_string()) })
}

fn refused(server: &ServerName, reply: &Reply) -> ClientError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        errcode: String,
        error: String,
    }
    let Body { errcode, error } = serde_json::from_slice(&reply.body).unwrap_or_default();
    let (code, message) = (shortened(&errcode), shortened(&error));
    let retry_after = (reply.status == StatusCode::TOO_MANY_REQUESTS).then(|| retry_after(reply)).flatten();
    ClientError::Refused { server: server.to_owned(), status: reply.status, code, message, retry_after }
}

/// How long a server wants to be left alone: in its header, or as older ones say it (client-server API, "Rate limiting").
fn retry_after(reply: &Reply) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Body {
        retry_after_ms: f64,
    }
    let seconds = || reply.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    let milliseconds = || serde_json::from_slice::<Body>(&reply.body).ok().map(|body| body.retry_after_ms);
    // What is no time (negative, or beyond all times) says nothing.
    seconds().map(Duration::from_secs).or_else(|| Duration::try_from_secs_f64(milliseconds()? / 1_000.0).ok())
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_MESSAGE).filter(|character| !character.is_control()).collect()
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client of {}", self.0.servers.own)
    }
}
