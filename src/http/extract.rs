//! From bytes to what a handler takes.

use ruma::api::{
    IncomingRequest, IncomingRequestExt as _,
    error::{DeserializationError, FromHttpRequestError},
};

use super::{Parts, error::Refusal};

/// A request that no type of ruma's fits: for endpoints beside the specification, and where ruma's type is stricter or
/// laxer than it.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// Everything as it came.
    pub parts: Parts,
    /// The arguments of the path, decoded, by name.
    pub args: Vec<(String, String)>,
}

impl std::ops::Deref for RawRequest {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl RawRequest {
    /// An argument of the path.
    pub fn arg(&self, name: &str) -> Result<&str, Refusal> {
        let found = self.args.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.ok_or_else(|| Refusal::internal(&format!("the route has no argument `{name}`")))
    }
}

/// Reads a request of ruma's type.
pub(super) fn typed<R: IncomingRequest>(parts: &Parts, args: &[&str]) -> Result<R, Refusal> {
    let body = checked_body(parts)?;
    let mut request = http::Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.headers_mut() = parts.headers.clone();
    let target = parts.query.as_deref().map_or_else(|| "/".to_owned(), |query| format!("/?{query}"));
    *request.uri_mut() = target.parse().map_err(|_| Refusal::invalid_param("The query is not well-formed"))?;
    R::try_from_http_request(request, args).map_err(|error| refuse(&error))
}

/// The body, if it is a JSON object in UTF-8 or empty. serde would read an array as a struct too, field by field, and
/// take a byte order mark for a syntax error of its own kind.
fn checked_body(parts: &Parts) -> Result<&[u8], Refusal> {
    let body = parts.body.trim_ascii();
    match body.first() {
        None => Ok(&[]),
        Some(b'{') => Ok(body),
        Some(_) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
            Err(Refusal::bad_json("The body must be a JSON object"))
        }
        Some(_) => Err(Refusal::not_json("The body is not JSON")),
    }
}

fn refuse(error: &FromHttpRequestError) -> Refusal {
    let message = error.to_string();
    match error {
        FromHttpRequestError::Deserialization(DeserializationError::Json(error)) => match error.classify() {
            serde_json::error::Category::Data if message.contains("missing field") => Refusal::missing_param(message),
            serde_json::error::Category::Data => Refusal::bad_json(message),
            _ => Refusal::not_json(message),
        },
        FromHttpRequestError::Deserialization(_) if message.contains("missing field") => {
            Refusal::missing_param(message)
        }
        _ => Refusal::invalid_param(message),
    }
}
