//! One request, from its route to its response.

use std::{panic::AssertUnwindSafe, sync::Arc};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{
    Incoming, Parts, cors,
    error::Refusal,
    limit::{Limiter, RateLimits},
    reply::Outgoing,
    route::{BODY_LIMIT, Call, Found, Routes},
};
use crate::app::App;

/// The header that names a request in the log and to the client.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A server's endpoints together with what they work on. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    app: App,
    routes: Routes,
    limiter: ArcSwap<Limiter>,
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

    /// The largest body that this endpoint takes, in bytes: nobody needs to read more.
    pub fn body_limit(&self, method: &Method, path: &str) -> usize {
        match self.0.routes.find(method, path) {
            Found::Endpoint(endpoint, _) => endpoint.body_limit,
            _ => BODY_LIMIT,
        }
    }

    /// Answers a request.
    pub async fn dispatch(&self, incoming: Incoming) -> Outgoing {
        let started = self.0.app.clock.instant();
        let id = self.0.app.random.alphanumeric(12);
        let open = cors::is_open(&incoming.path);
        let is_head = incoming.method == Method::HEAD;
        let (method, path) = (incoming.method.clone(), incoming.path.clone());
        let span = tracing::info_span!("request", id, %method, path);
        let (pattern, answer) = self.answer(incoming).instrument(span.clone()).await;
        let mut outgoing = answer.unwrap_or_else(Refusal::into_outgoing);
        let took = started.elapsed();
        self.0.app.metrics.request(pattern, outgoing.status.as_u16(), took);
        span.in_scope(|| {
            tracing::info!(
                status = outgoing.status.as_u16(),
                bytes = outgoing.body.len(),
                ms = took.as_millis(),
                "answered"
            );
        });
        if open {
            cors::allow(&mut outgoing.headers);
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            outgoing.headers.insert(REQUEST_ID, id);
        }
        if is_head {
            outgoing.body = bytes::Bytes::new();
        }
        outgoing
    }

    /// The pattern that matched (for the metrics), and what came of it.
    async fn answer(&self, incoming: Incoming) -> (&str, Result<Outgoing, Refusal>) {
        if incoming.method == Method::OPTIONS {
            let none =
                Outgoing { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: bytes::Bytes::new() };
            return ("OPTIONS", Ok(none));
        }
        let (endpoint, args) = match self.0.routes.find(&incoming.method, &incoming.path) {
            Found::Endpoint(endpoint, args) => (endpoint, args),
            Found::WrongMethod => return ("none", Err(Refusal::wrong_method())),
            Found::Nothing => return ("none", Err(Refusal::unrecognized())),
            Found::BadPath => return ("none", Err(Refusal::invalid_param("The path is not well-formed"))),
        };
        if incoming.body.len() > endpoint.body_limit {
            return (&endpoint.pattern, Err(Refusal::too_large("The body is too large")));
        }
        let call =
            Call { app: self.0.app.clone(), parts: Parts::from(incoming), args, limiter: self.0.limiter.load_full() };
        // A panic is a bug; it ends this request and no other.
        let answer = AssertUnwindSafe(endpoint.call(call)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| {
            self.0.app.metrics.panicked("http");
            Err(Refusal::internal(&format!("a panic in {}", endpoint.pattern)))
        });
        (&endpoint.pattern, answer)
    }
}
