//! The HTTP edge: from bytes that came in to one call of a handler, and back.
//!
//! [`Site::dispatch`] does all of it and knows no server library: [`actix`] feeds it from sockets, tests call it as it is.
//! In order: the route is found ([`route`]), the caller is made out ([`caller`]), limits are applied ([`limit`]), the body
//! becomes a request of ruma's types ([`extract`]), the handler runs, and its answer or its refusal ([`error`]) becomes a
//! response ([`reply`]).

pub mod actix;
mod appservice;
mod body;
pub mod caller;
pub mod connections;
pub mod cors;
pub mod dispatch;
pub mod error;
pub mod extract;
mod guests;
pub mod handler;
pub mod limit;
pub mod reply;
pub mod route;

use std::{net::IpAddr, ops::Deref, sync::Arc};

use ::http::{HeaderMap, Method};
use bytes::Bytes;

pub use self::{
    appservice::appservice,
    body::json_object,
    caller::{Caller, CallerKind},
    dispatch::Site,
    error::Refusal,
    extract::RawRequest,
    limit::{Budget, RateClass, RateLimits},
    reply::{IntoOutgoing, Json, Outgoing},
    route::Routes,
};

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded as it came.
    pub path: String,
    /// What stands behind `?`, percent-encoded as it came.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, within the limit of [`Site::body_limit`].
    pub body: Bytes,
    /// Where it came from.
    pub peer: IpAddr,
}

/// A request beside its typed form: shared, so that handing it on costs nothing.
#[derive(Clone, Debug)]
pub struct Parts(Arc<Incoming>);

impl Deref for Parts {
    type Target = Incoming;
    fn deref(&self) -> &Incoming {
        &self.0
    }
}

impl From<Incoming> for Parts {
    fn from(incoming: Incoming) -> Self {
        Self(Arc::new(incoming))
    }
}

impl Incoming {
    /// The decoded pairs of the query.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        let query = self.query.as_deref().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// The first value of a query parameter.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let query = self.query.as_deref()?;
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// A header, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
