//! Who sends a request: the server that has signed it (server-server API, "Request Authentication").

use std::ops::Deref;

use ruma::{OwnedServerName, ServerName};
use thiserror::Error;

use super::{
    Federation,
    key_ring::Wanted,
    x_matrix::{Malformed, NotAnObject, Signed, XMatrix},
};
use crate::store::ReadError;

/// The most `Authorization` headers of a request; older servers send one for each of their keys.
const MOST_HEADERS: usize = 4;

/// A server that has signed the request at hand with its own key. Made only by [`Federation::authenticate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(OwnedServerName);

impl Deref for Origin {
    type Target = ServerName;
    fn deref(&self) -> &ServerName {
        &self.0
    }
}

/// Why the sender of a request is not known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// It has no `Authorization` header, or too many.
    #[error("the request must be signed by its server")]
    NotSigned,
    /// The header is not well-formed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is meant for another server.
    #[error("the request is for {0}")]
    WrongDestination(OwnedServerName),
    /// Its headers name several servers.
    #[error("the request is signed for several servers")]
    SeveralOrigins,
    /// This server does not talk with that one.
    #[error("this server does not talk with {0}")]
    NotAllowed(OwnedServerName),
    /// The key is not known and can't be had, or is no longer valid.
    #[error("the key {key_id} of {server} is not known, or not valid now")]
    NoKey {
        /// Whose.
        server: OwnedServerName,
        /// Which.
        key_id: String,
    },
    /// The signature is of another request, or by another key.
    #[error("the signature is wrong")]
    WrongSignature,
    /// The body is no JSON object, so that nobody can have signed it.
    #[error(transparent)]
    Body(#[from] NotAnObject),
    /// The store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Federation {
    /// Makes out which server sends a request, from its `Authorization` headers and what they cover. Fetches the keys of
    /// that server if need be.
    ///
    /// # Errors
    /// See [`AuthError`]; nothing else of the request may be looked at then.
    pub async fn authenticate(&self, headers: &[&str], request: Signed<'_>) -> Result<Origin, AuthError> {
        if headers.is_empty() || headers.len() > MOST_HEADERS {
            return Err(AuthError::NotSigned);
        }
        let headers: Vec<XMatrix> = headers.iter().map(|header| XMatrix::parse(header)).collect::<Result<_, _>>()?;
        let origin = headers.first().ok_or(AuthError::NotSigned)?.origin.clone();
        if headers.iter().any(|header| header.origin != origin) {
            return Err(AuthError::SeveralOrigins);
        }
        let own = &self.0.servers.own;
        let elsewhere = headers.iter().find_map(|header| header.destination.clone().filter(|to| to != own));
        if let Some(elsewhere) = elsewhere {
            return Err(AuthError::WrongDestination(elsewhere));
        }
        if !self.0.servers.allow(&origin) {
            return Err(AuthError::NotAllowed(origin));
        }
        let now = self.0.clock.now();
        let wanted = |header: &XMatrix| Wanted { server: origin.clone(), key_id: header.key_id.clone(), at: Some(now) };
        let keys = self.0.keys.look_up(&headers.iter().map(wanted).collect::<Vec<_>>()).await?;
        let mut reason = None;
        for header in &headers {
            let Some(key) = keys.for_request(&origin, &header.key_id, now) else {
                let no_key = AuthError::NoKey { server: origin.clone(), key_id: header.key_id.clone() };
                reason = reason.or(Some(no_key));
                continue;
            };
            if request.is_signed(header, own, key)? {
                self.requested_by(&origin);
                return Ok(Origin(origin));
            }
            reason = Some(AuthError::WrongSignature);
        }
        Err(reason.unwrap_or(AuthError::NotSigned))
    }
}
