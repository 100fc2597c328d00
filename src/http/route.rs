//! Routes: from a method and a raw path to an endpoint and its decoded arguments.
//!
//! One table of patterns a method; the segments of a path are decoded once, here, after the match, so that `%2F` in an
//! event id is no separator.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use ::http::Method;
use ruma::api::{IncomingRequest, path_builder::PathBuilder as _};

use super::{
    Parts, RateClass,
    caller::Scheme,
    error::Refusal,
    extract::typed,
    handler::{Call, Handler, PartsHandler, RawHandler, Reading, admit},
    reply::Outgoing,
};
use crate::app::App;

type Answer = Pin<Box<dyn Future<Output = Result<Outgoing, Refusal>> + Send>>;

/// One pattern of one method.
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) pattern: Arc<str>,
    handler: Box<dyn Fn(Call) -> Answer + Send + Sync>,
}

impl Endpoint {
    pub(super) fn call(&self, call: Call) -> Answer {
        (self.handler)(call)
    }
}

/// All endpoints of a server.
#[derive(Default)]
pub struct Routes {
    tables: HashMap<Method, matchit::Router<usize>>,
    endpoints: Vec<Endpoint>,
}

/// What became of looking for a route.
pub(super) enum Found<'a> {
    Endpoint(&'a Endpoint, Vec<(String, String)>),
    WrongMethod,
    Nothing,
    BadPath,
}

impl Routes {
    /// Adds an endpoint under all paths that ruma knows for it.
    pub fn add<R, F, A>(&mut self, class: RateClass, handler: F)
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: Scheme,
        F: Handler<R, A>,
    {
        for path in R::PATH_BUILDER.all_paths() {
            self.add_at::<R, F, A>(path, class, handler.clone());
        }
    }

    /// The same, for a handler that also takes the request as it came.
    pub fn add_with_parts<R, F, A>(&mut self, class: RateClass, handler: F)
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: Scheme,
        F: PartsHandler<R, A>,
    {
        let handler = move |app: App, who, request: R, parts: Parts| handler.clone().call(app, who, request, parts);
        for path in R::PATH_BUILDER.all_paths() {
            self.insert::<R, _, _>(path, class, false, handler.clone());
        }
    }

    /// Adds an endpoint whose last argument may be empty (the state key of `/state`): also without the last segment, and
    /// without anything behind its slash.
    pub fn add_with_empty_tail<R, F, A>(&mut self, class: RateClass, handler: F)
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: Scheme,
        F: Handler<R, A>,
    {
        let call = move |app: App, who, request: R, _: Parts| handler.clone().call(app, who, request);
        for path in R::PATH_BUILDER.all_paths() {
            self.insert::<R, _, _>(path, class, false, call.clone());
            let Some((stem, _)) = path.rsplit_once('/') else { continue };
            self.insert::<R, _, _>(stem, class, true, call.clone());
            self.insert::<R, _, _>(&format!("{stem}/"), class, true, call.clone());
        }
    }

    fn add_at<R, F, A>(&mut self, path: &str, class: RateClass, handler: F)
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: Scheme,
        F: Handler<R, A>,
    {
        let call = move |app: App, who, request: R, _: Parts| handler.clone().call(app, who, request);
        self.insert::<R, _, _>(path, class, false, call);
    }

    fn insert<R, F, Fut>(&mut self, path: &str, class: RateClass, empty_tail: bool, handler: F)
    where
        R: IncomingRequest + Send + 'static,
        R::Authentication: Scheme,
        F: Fn(App, <R::Authentication as Scheme>::Who, R, Parts) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Outgoing, Refusal>> + Send,
    {
        let run = move |call: Call| -> Answer {
            let handler = handler.clone();
            Box::pin(async move {
                let who = admit::<R::Authentication>(&call, class).await?;
                let mut args: Vec<&str> = call.args.iter().map(|(_, value)| value.as_str()).collect();
                if empty_tail {
                    args.push("");
                }
                let request = typed::<R>(&call.parts, &args)?;
                let reading = Reading::of(&call, R::Authentication::caller(&who));
                reading.behind_sends(handler(call.app, who, request, call.parts).await).await
            })
        };
        self.put(R::METHOD, path, Box::new(run));
    }

    /// Adds an endpoint that reads its request itself.
    pub fn raw<F, A>(&mut self, method: Method, path: &str, class: RateClass, handler: F)
    where
        F: RawHandler<A>,
    {
        let run = move |call: Call| -> Answer {
            let handler = handler.clone();
            Box::pin(async move { handler.run(call, class).await })
        };
        self.put(method, path, Box::new(run));
    }

    fn put(&mut self, method: Method, path: &str, handler: Box<dyn Fn(Call) -> Answer + Send + Sync>) {
        let table = self.tables.entry(method.clone()).or_default();
        // INVARIANT: patterns are ours; two that collide are found by the first test that starts a server.
        #[expect(clippy::expect_used, reason = "the invariant above")]
        table.insert(path, self.endpoints.len()).expect("no two endpoints share a pattern");
        self.endpoints.push(Endpoint { method, pattern: path.into(), handler });
    }

    /// Finds an endpoint; a `HEAD` request is answered like a `GET`.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let Some(matched) = self.tables.get(method).and_then(|table| table.at(path).ok()) else {
            let elsewhere = self.tables.values().any(|table| table.at(path).is_ok());
            return if elsewhere { Found::WrongMethod } else { Found::Nothing };
        };
        let Some(endpoint) = self.endpoints.get(*matched.value) else { return Found::Nothing };
        let decoded = |(name, value): (&str, &str)| Some((name.to_owned(), decode(value)?));
        match matched.params.iter().map(decoded).collect() {
            Some(args) => Found::Endpoint(endpoint, args),
            None => Found::BadPath,
        }
    }

    /// Every method and pattern, for the test that holds them against the specification.
    pub fn patterns(&self) -> impl Iterator<Item = (&Method, &str)> {
        self.endpoints.iter().map(|endpoint| (&endpoint.method, &*endpoint.pattern))
    }
}

/// Decodes one segment of a path; `None` if it is not well-formed, or not UTF-8 when decoded.
fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let value = digit()?.checked_mul(16)?.checked_add(digit()?)?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once_and_strictly() {
        assert_eq!(decode("plain").as_deref(), Some("plain"));
        assert_eq!(decode("%40a%2Bb%2525%2F").as_deref(), Some("@a+b%25/"));
        assert_eq!(decode("a+b").as_deref(), Some("a+b"), "a plus sign in a path is a plus sign");
        assert_eq!(decode("%00").as_deref(), Some("\0"));
        for bad in ["%zz", "%", "%4", "%FF", "%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
