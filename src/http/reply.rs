//! Responses.

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use ruma::api::{OutgoingResponse, OutgoingResponseExt as _};
use serde::Serialize;

use super::error::Refusal;

/// A response, ready to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A body that is JSON already, sent with status 200.
#[derive(Clone, Debug)]
pub struct Json(Bytes);

impl Json {
    /// Of a value.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Self {
        let mut out = Vec::new();
        crate::base::json_writer::any(&mut out, value);
        Self(out.into())
    }

    /// Of text that is JSON.
    pub fn text(json: impl Into<Bytes>) -> Self {
        Self(json.into())
    }

    /// The same, which is dropped together with `held` when it has been handed to the socket.
    #[must_use]
    pub fn holding(self, held: impl Send + 'static) -> Self {
        struct Holding<T>(Bytes, T);
        impl<T> AsRef<[u8]> for Holding<T> {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Self(Bytes::from_owner(Holding(self.0, held)))
    }

    /// `{}`.
    pub fn empty() -> Self {
        Self(Bytes::from_static(b"{}"))
    }
}

/// What a handler may answer with.
pub trait IntoOutgoing {
    /// The response.
    fn into_outgoing(self) -> Result<Outgoing, Refusal>;
}

impl IntoOutgoing for Outgoing {
    fn into_outgoing(self) -> Result<Outgoing, Refusal> {
        Ok(self)
    }
}

impl IntoOutgoing for Json {
    fn into_outgoing(self) -> Result<Outgoing, Refusal> {
        Ok(Outgoing { status: StatusCode::OK, headers: json_headers(), body: self.0 })
    }
}

impl<T: OutgoingResponse> IntoOutgoing for T {
    fn into_outgoing(self) -> Result<Outgoing, Refusal> {
        let response = self.try_into_http_response::<Vec<u8>>().map_err(|error| Refusal::internal(&error))?;
        let (parts, body) = response.into_parts();
        Ok(Outgoing { status: parts.status, headers: parts.headers, body: body.into() })
    }
}

pub(super) fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}
