//! Refusals: what goes wrong, as a client is told (client-server API, "Standard error response").

use std::{fmt, time::Duration};

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use ruma::api::{OutgoingResponseExt as _, client::uiaa::UiaaInfo};
use serde_json::{Map, Value, json};

use super::reply::{Outgoing, json_headers};

/// An error response: a status, a Matrix error code, words, and what else belongs to that code.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    extra: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// Any status and code.
    pub fn custom(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), extra: Map::new(), retry_after: None }
    }

    /// Adds a field to the body.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    /// 400 `M_BAD_JSON`: JSON, but not what is wanted.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    /// 400 `M_NOT_JSON`.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    }

    /// 400 `M_UNKNOWN`.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_UNKNOWN", message)
    }

    /// 404 `M_UNRECOGNIZED`: there is no such endpoint.
    pub fn unrecognized() -> Self {
        Self::custom(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "There is no such endpoint")
    }

    /// 405 `M_UNRECOGNIZED`: the endpoint is there, for other methods.
    pub fn wrong_method() -> Self {
        Self::custom(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "This endpoint does not take this method")
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// 429 `M_LIMIT_EXCEEDED`, with the time to wait in the body and in a header.
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut refusal = Self::custom(status, "M_LIMIT_EXCEEDED", "Too many requests: wait before you try again");
        refusal.retry_after = Some(retry_after);
        refusal.with("retry_after_ms", u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX))
    }

    /// 401 `M_MISSING_TOKEN`.
    pub fn missing_token() -> Self {
        Self::custom(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "This endpoint needs an access token")
    }

    /// 401 `M_UNAUTHORIZED`: which server asks is not known.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
    }

    /// 401 `M_UNKNOWN_TOKEN`; softly when the device is still there.
    pub fn unknown_token(soft_logout: bool) -> Self {
        Self::custom(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN", "The access token is unknown or has expired")
            .with("soft_logout", soft_logout)
    }

    /// 401 `M_USER_LOCKED`.
    pub fn user_locked() -> Self {
        Self::custom(StatusCode::UNAUTHORIZED, "M_USER_LOCKED", "This account is locked").with("soft_logout", true)
    }

    /// 403 `M_USER_SUSPENDED`.
    pub fn user_suspended() -> Self {
        Self::custom(StatusCode::FORBIDDEN, "M_USER_SUSPENDED", "This account is suspended: it may only read")
    }

    /// 403 `M_GUEST_ACCESS_FORBIDDEN`.
    pub fn guest_forbidden() -> Self {
        Self::custom(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not do this")
    }

    /// 400 `M_USER_IN_USE`.
    pub fn user_in_use() -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_USER_IN_USE", "This user name is taken")
    }

    /// 400 `M_INVALID_USERNAME`.
    pub fn invalid_username(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_INVALID_USERNAME", message)
    }

    /// 400 `M_EXCLUSIVE`.
    pub fn exclusive() -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_EXCLUSIVE", "This name is reserved")
    }

    /// 400 `M_WEAK_PASSWORD`.
    pub fn weak_password(message: impl Into<String>) -> Self {
        Self::custom(StatusCode::BAD_REQUEST, "M_WEAK_PASSWORD", message)
    }

    /// 401 with the flows, the session and what is done of them (client-server API, "User-Interactive Authentication").
    pub fn uia(info: UiaaInfo) -> Self {
        let response = ruma::api::client::uiaa::UiaaResponse::AuthResponse(info).try_into_http_response::<Vec<u8>>();
        let body = response.ok().and_then(|response| serde_json::from_slice(response.body()).ok());
        let Some(extra) = body else { return Self::internal(&"user-interactive authentication cannot be written") };
        Self { extra, ..Self::custom(StatusCode::UNAUTHORIZED, "", "") }
    }

    /// 500 `M_UNKNOWN`. What went wrong is logged and not told.
    pub fn internal(error: &(impl fmt::Display + ?Sized)) -> Self {
        tracing::error!(%error, "a request failed");
        Self::custom(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "An internal error, which was logged")
    }

    /// 503 `M_UNKNOWN`: nothing can be written at the moment.
    pub fn unavailable(error: &(impl fmt::Display + ?Sized)) -> Self {
        tracing::error!(%error, "nothing can be written");
        Self::custom(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "The server cannot write at the moment: try again")
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The `M_…` code; empty for user-interactive authentication that did not fail.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The response.
    pub fn into_outgoing(self) -> Outgoing {
        let mut headers: HeaderMap = json_headers();
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: a client that waits as told is not refused again.
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)),
            );
        }
        let mut body = json!({"errcode": self.code, "error": self.message});
        if let Some(fields) = body.as_object_mut() {
            if self.code.is_empty() {
                fields.clear();
            }
            fields.extend(self.extra);
        }
        Outgoing { status: self.status, headers, body: body.to_string().into() }
    }
}
