//! The bridge to actix-web: the only file that knows it, besides the server that starts it.
//!
//! actix uses version 0.2 of the `http` crate and everything else version 1, so methods and headers are converted here,
//! once each way.

use std::{io, net::IpAddr, net::TcpListener, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use actix_web::{
    App as ActixApp, HttpRequest, HttpResponse, HttpServer,
    dev::Server,
    web::{self, Data, Payload},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::{Incoming, Outgoing, Refusal, Site};

/// How sockets are served.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// The longest time that the headers of a request may take.
    pub header_timeout: Duration,
    /// The longest time that its body may take.
    pub body_timeout: Duration,
    /// Connections at once, for each worker.
    pub connections: usize,
    /// Threads that serve.
    pub workers: usize,
    /// How long requests that are under way may take when the server stops.
    pub shutdown_timeout: Duration,
}

/// Says whether a peer is a proxy whose `X-Forwarded-For` is believed.
pub type TrustsProxy = std::sync::Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Connections that are open and idle are closed after this.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Serves a site on these sockets, with TLS where there is a certificate. The returned server must be awaited.
pub fn serve(
    site: &Site,
    sockets: Vec<(TcpListener, Option<rustls::ServerConfig>)>,
    options: &SocketOptions,
    trusts_proxy: &TrustsProxy,
) -> io::Result<Server> {
    let (site, trusts_proxy, body_timeout) = (site.clone(), trusts_proxy.clone(), options.body_timeout);
    let mut server = HttpServer::new(move || {
        let shared = Shared { site: site.clone(), trusts_proxy: trusts_proxy.clone(), body_timeout };
        ActixApp::new().app_data(Data::new(shared)).default_service(web::to(answer))
    })
    .workers(options.workers)
    .max_connections(options.connections)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(options.header_timeout)
    .client_disconnect_timeout(Duration::from_secs(2))
    .shutdown_timeout(options.shutdown_timeout.as_secs())
    .disable_signals();
    for (socket, tls) in sockets {
        server = match tls {
            Some(config) => server.listen_rustls_0_23(socket, config)?,
            None => server.listen(socket)?,
        };
    }
    Ok(server.run())
}

struct Shared {
    site: Site,
    trusts_proxy: TrustsProxy,
    body_timeout: Duration,
}

async fn answer(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    let Ok(method) = Method::from_bytes(request.method().as_str().as_bytes()) else {
        return into_actix(Refusal::wrong_method().into_outgoing());
    };
    let path = request.uri().path().to_owned();
    let limit = shared.site.body_limit(&method, &path);
    let body = match tokio::time::timeout(shared.body_timeout, read_body(&request, payload, limit)).await {
        Ok(Ok(body)) => body,
        Ok(Err(refusal)) => return into_actix(refusal.into_outgoing()),
        Err(_) => {
            let status = ::http::StatusCode::REQUEST_TIMEOUT;
            return into_actix(Refusal::custom(status, "M_UNKNOWN", "The body took too long").into_outgoing());
        }
    };
    let headers = headers(&request);
    let peer = peer(&request, &headers, &shared.trusts_proxy);
    let query = request.uri().query().map(str::to_owned);
    into_actix(shared.site.dispatch(Incoming { method, path, query, headers, body, peer }).await)
}

/// Reads a body as far as the limit, and refuses it before reading when its length is announced.
async fn read_body(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::too_large("The body is too large");
    let announced = request.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Refusal::not_json(format!("The body cannot be read: {error}")))?;
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn headers(request: &HttpRequest) -> HeaderMap {
    let convert = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().iter().filter_map(convert) {
        headers.append(name, value);
    }
    headers
}

/// The address of the client: the last one in `X-Forwarded-For` that no trusted proxy has.
fn peer(request: &HttpRequest, headers: &HeaderMap, trusts_proxy: &TrustsProxy) -> IpAddr {
    let direct = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
    if !trusts_proxy(direct) {
        return direct;
    }
    let hops = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<IpAddr> = hops.flat_map(|value| value.split(',')).filter_map(|hop| hop.trim().parse().ok()).collect();
    hops.into_iter().rev().find(|hop| !trusts_proxy(*hop)).unwrap_or(direct)
}

fn into_actix(outgoing: Outgoing) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(outgoing.status.as_u16());
    let mut response = HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in &outgoing.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response.body(outgoing.body)
}
