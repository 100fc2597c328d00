//! From bytes to what a handler takes.

use ruma::api::{
    IncomingRequest, IncomingRequestExt as _,
    error::{DeserializationError, FromHttpRequestError},
};

use super::{Parts, body::json_object, error::Refusal};

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

    /// The body, if it is a JSON object that is fit to be kept: in UTF-8, of bounded depth. None at all is an empty one.
    pub fn object(&self) -> Result<&[u8], Refusal> {
        json_object(&self.parts.body)
    }

    /// The request as one of ruma's types, for a handler that had to look at something first.
    pub fn typed<R: IncomingRequest>(&self) -> Result<R, Refusal> {
        let args: Vec<&str> = self.args.iter().map(|(_, value)| value.as_str()).collect();
        typed(&self.parts, &args)
    }
}

/// Reads a request of ruma's type.
pub(super) fn typed<R: IncomingRequest>(parts: &Parts, args: &[&str]) -> Result<R, Refusal> {
    let body = match json_object(&parts.body)? {
        // None at all is an empty object, also for those of ruma's types that do not read it so.
        [] => b"{}",
        body => body,
    };
    let mut request = http::Request::new(body);
    // Not the method that came: a `HEAD` is read as the `GET` that it stands for.
    *request.method_mut() = R::METHOD;
    *request.headers_mut() = parts.headers.clone();
    let target = parts.query.as_deref().map_or_else(|| "/".to_owned(), |query| format!("/?{query}"));
    *request.uri_mut() = target.parse().map_err(|_| Refusal::invalid_param("The query is not well-formed"))?;
    R::try_from_http_request(request, args).map_err(|error| refuse(&error))
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
