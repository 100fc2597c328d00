//! One request, from its route to its response.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field::Empty};

use super::{
    Incoming, Parts, cors,
    error::Refusal,
    handler::Call,
    limit::{Limiter, RateLimits},
    reply::Outgoing,
    route::{Found, Routes},
};
use crate::app::App;

/// The header that names a request in the log and to the client.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What stands for the pattern in the metrics when no route matched.
const NO_PATTERN: &str = "none";

/// A server's endpoints together with what they work on. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    app: App,
    routes: Routes,
    limiter: ArcSwap<Limiter>,
}

/// A request that is being answered: its place in the log and the metrics.
struct Tracked<'a> {
    app: &'a App,
    id: String,
    span: Span,
    started: Instant,
    /// Whether pages of other origins may read the answer.
    open: bool,
    /// Whether only the headers are wanted.
    is_head: bool,
}

impl Site {
    /// A site of these endpoints.
    pub fn new(app: App, routes: Routes, limits: RateLimits) -> Self {
        Self(Arc::new(Inner { app, routes, limiter: ArcSwap::from_pointee(Limiter::new(limits)) }))
    }

    /// What the endpoints work on.
    pub fn app(&self) -> &App {
        &self.0.app
    }

    /// The endpoints.
    pub fn routes(&self) -> &Routes {
        &self.0.routes
    }

    /// Replaces the limits; all budgets are full again.
    pub fn set_limits(&self, limits: RateLimits) {
        self.0.limiter.store(Arc::new(Limiter::new(limits)));
    }

    /// The largest body that is taken at a path, in bytes: nobody needs to read more.
    pub fn body_limit(&self, path: &str) -> usize {
        let limits = &self.0.app.config.limits;
        if path.starts_with("/_matrix/federation/") { limits.federation_body } else { limits.client_body }
    }

    /// Answers a request.
    pub async fn dispatch(&self, incoming: Incoming) -> Outgoing {
        let tracked = self.track(&incoming.method, &incoming.path, incoming.peer);
        let (pattern, answer) = self.answer(incoming).instrument(tracked.span.clone()).await;
        tracked.finish(pattern, answer)
    }

    /// Answers a request that did not arrive whole.
    pub fn refuse(&self, method: &Method, path: &str, peer: IpAddr, refusal: Refusal) -> Outgoing {
        self.track(method, path, peer).finish(NO_PATTERN, Err(refusal))
    }

    fn track(&self, method: &Method, path: &str, peer: IpAddr) -> Tracked<'_> {
        let app = &self.0.app;
        let id = app.random.alphanumeric(12);
        // Never the query: older clients put their access token there.
        let span = tracing::info_span!("request", id, %method, path, %peer, user = Empty);
        let (open, is_head) = (cors::is_open(path), *method == Method::HEAD);
        Tracked { app, id, span, started: app.clock.instant(), open, is_head }
    }

    /// The pattern that matched (for the metrics), and what came of it.
    async fn answer(&self, incoming: Incoming) -> (&str, Result<Outgoing, Refusal>) {
        if incoming.method == Method::OPTIONS {
            let none = Outgoing { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Bytes::new() };
            return ("OPTIONS", Ok(none));
        }
        let (endpoint, args) = match self.0.routes.find(&incoming.method, &incoming.path) {
            Found::Endpoint(endpoint, args) => (endpoint, args),
            Found::WrongMethod => return (NO_PATTERN, Err(Refusal::wrong_method())),
            Found::Nothing => return (NO_PATTERN, Err(Refusal::unrecognized())),
            Found::BadPath => return (NO_PATTERN, Err(Refusal::invalid_param("The path is not well-formed"))),
        };
        let pattern = &endpoint.pattern;
        if incoming.body.len() > self.body_limit(&incoming.path) {
            return (pattern, Err(Refusal::too_large("The body is too large")));
        }
        let call = Call {
            app: self.0.app.clone(),
            parts: Parts::from(incoming),
            args,
            limiter: self.0.limiter.load_full(),
            pattern: Arc::clone(pattern),
        };
        // A panic is a bug; it ends this request and no other.
        let answer = AssertUnwindSafe(endpoint.call(call)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            self.0.app.metrics.panicked("http");
            Err(Refusal::internal(&format!("a panic in {pattern}")))
        });
        (pattern, answer)
    }
}

impl Tracked<'_> {
    fn finish(self, pattern: &str, answer: Result<Outgoing, Refusal>) -> Outgoing {
        let code = answer.as_ref().err().map(|refusal| refusal.code().to_owned()).filter(|code| !code.is_empty());
        let mut outgoing = answer.unwrap_or_else(Refusal::into_outgoing);
        let took = self.started.elapsed();
        let status = outgoing.status.as_u16();
        self.app.metrics.request(pattern, status, took);
        self.span.in_scope(|| {
            tracing::info!(status, code, bytes = outgoing.body.len(), ms = took.as_millis(), "answered");
        });
        if self.open {
            cors::allow(&mut outgoing.headers);
        }
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            outgoing.headers.insert(REQUEST_ID, id);
        }
        if self.is_head {
            outgoing.body = Bytes::new();
        }
        outgoing
    }
}
