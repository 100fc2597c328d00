//! The bridge to actix-web: the only file that knows it, besides the server that starts it.
//!
//! actix uses version 0.2 of the `http` crate and everything else version 1, so methods and headers are converted here,
//! once each way.

use std::{
    any::Any,
    convert::Infallible,
    io,
    net::{IpAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{
    App as ActixApp, HttpRequest, HttpResponse, HttpServer,
    body::{BodySize, MessageBody},
    dev::{Extensions, Server},
    rt::net::TcpStream,
    web::{self, Data, Payload},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use socket2::SockRef;

use super::{
    Incoming, Outgoing, Refusal, Site,
    connections::{Busy, Connections, Ticket},
};

/// How sockets are served.
#[derive(Clone)]
pub struct SocketOptions {
    /// The longest time that the headers of a request may take.
    pub header_timeout: Duration,
    /// The longest time that its body may take.
    pub body_timeout: Duration,
    /// Connections at once, of all workers.
    pub connections: usize,
    /// Threads that serve.
    pub workers: usize,
    /// Whether a peer is a proxy: then `X-Forwarded-For` is believed, and it may have any number of connections.
    pub trusts_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// Connections that are idle are closed after this. Longer than the pause between two requests of a syncing client.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Connections of one address that is no proxy: a large household, and then some.
const MOST_OF_ONE_ADDRESS: usize = 500;
/// Bytes of a body that are handed over at once.
const CHUNK: usize = 64 * 1024;
/// Seconds that connections have to finish when the server stops.
const STOPPING: u64 = 1;

/// Serves a site on these sockets, with TLS where there is a certificate. The returned server must be awaited.
///
/// # Errors
/// When the system refuses to listen on one of them.
pub fn serve(
    site: &Site,
    sockets: Vec<(TcpListener, Option<rustls::ServerConfig>)>,
    options: &SocketOptions,
    connections: &Connections,
) -> io::Result<Server> {
    let shared = Data::new(Shared { site: site.clone(), options: options.clone() });
    let (connections, trusts_proxy) = (connections.clone(), Arc::clone(&options.trusts_proxy));
    let mut server = HttpServer::new(move || ActixApp::new().app_data(shared.clone()).default_service(web::to(answer)))
        .workers(options.workers)
        .max_connections(options.connections.div_ceil(options.workers.max(1)))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(options.header_timeout)
        .client_disconnect_timeout(Duration::from_secs(2))
        .shutdown_timeout(STOPPING)
        .on_connect(move |stream, extensions| count(stream, extensions, &connections, &*trusts_proxy))
        .disable_signals();
    for (socket, tls) in sockets {
        server = match tls {
            Some(config) => server.listen_rustls_0_23(socket, config)?,
            None => server.listen(socket)?,
        };
    }
    Ok(server.run())
}

/// What the threads that serve share.
struct Shared {
    site: Site,
    options: SocketOptions,
}

/// Counts a connection, or ends it when its address has too many.
fn count(
    stream: &dyn Any,
    extensions: &mut Extensions,
    connections: &Connections,
    trusts_proxy: &(dyn Fn(IpAddr) -> bool + Send + Sync),
) {
    let plain = stream.downcast_ref::<TcpStream>();
    let Some(stream) = plain.or_else(|| stream.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref().0))
    else {
        return;
    };
    // Without an address it is gone already.
    let Ok(address) = stream.peer_addr() else { return };
    let address = address.ip().to_canonical();
    let most = if trusts_proxy(address) { usize::MAX } else { MOST_OF_ONE_ADDRESS };
    if let Some(ticket) = connections.admit(&SockRef::from(stream), address, most) {
        extensions.insert(ticket);
    }
}

async fn answer(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    let busy = request.conn_data::<Ticket>().map(Ticket::busy);
    let Shared { site, options } = &**shared;
    let (outgoing, whole) = read_and_dispatch(&request, payload, site, options).await;
    let status = actix_web::http::StatusCode::from_u16(outgoing.status.as_u16());
    let mut response = HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in &outgoing.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    // What is left of a body that was refused is not read, so nothing can follow it. actix would wait for the rest.
    if let (false, Some(ticket)) = (whole, request.conn_data::<Ticket>()) {
        ticket.is_over();
    }
    if !whole || site.app().shutdown.is_triggered() {
        response.force_close();
    }
    if outgoing.body.len() <= CHUNK {
        return response.body(outgoing.body);
    }
    response.body(Written { rest: outgoing.body, _busy: busy })
}

/// A long body on its way out, in chunks: actix takes the next one when what it had is written, so whoever reads slowly is not
/// idle before nearly all of it is theirs.
struct Written {
    rest: Bytes,
    _busy: Option<Busy>,
}

impl MessageBody for Written {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        // INVARIANT: a length in memory fits into 64 bits.
        BodySize::Sized(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let next = self.rest.len().min(CHUNK);
        Poll::Ready(Some(Ok(self.rest.split_to(next))))
    }
}

/// The answer, and whether the request was read to its end.
async fn read_and_dispatch(
    request: &HttpRequest,
    payload: Payload,
    site: &Site,
    options: &SocketOptions,
) -> (Outgoing, bool) {
    let path = request.uri().path();
    let headers = headers(request);
    let peer = peer(request, &headers, options);
    let Ok(method) = Method::from_bytes(request.method().as_str().as_bytes()) else {
        return (site.refuse(&Method::GET, path, peer, Refusal::wrong_method()), false);
    };
    let read = read_body(&headers, payload, site.body_limit(path));
    let refusal = match tokio::time::timeout(options.body_timeout, read).await {
        Ok(Ok(body)) => {
            let (path, query) = (path.to_owned(), request.uri().query().map(str::to_owned));
            return (site.dispatch(Incoming { method, path, query, headers, body, peer }).await, true);
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal::custom(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "The body took too long"),
    };
    (site.refuse(&method, path, peer, refusal), false)
}

/// Reads a body as far as the limit, and refuses it before reading when its length is announced.
async fn read_body(headers: &HeaderMap, mut payload: Payload, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::too_large("The body is too large");
    let announced = headers.get(::http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
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
    let mut headers = HeaderMap::with_capacity(request.headers().len());
    for (name, value) in request.headers().iter().filter_map(convert) {
        headers.append(name, value);
    }
    headers
}

/// The address of the client: the last one in `X-Forwarded-For` that no trusted proxy has.
fn peer(request: &HttpRequest, headers: &HeaderMap, options: &SocketOptions) -> IpAddr {
    let direct = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
    if !(options.trusts_proxy)(direct) {
        return direct;
    }
    let hops = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<IpAddr> = hops.flat_map(|value| value.split(',')).filter_map(|hop| hop.trim().parse().ok()).collect();
    hops.into_iter().rev().find(|hop| !(options.trusts_proxy)(*hop)).unwrap_or(direct)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Socket;

    use futures_util::task::noop_waker_ref;

    use super::*;

    #[test]
    fn a_connection_is_busy_until_its_whole_body_is_handed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Socket::connect(listener.local_addr().unwrap()).unwrap();
        let connections = Connections::default();
        let ticket = connections.admit(&SockRef::from(&client), IpAddr::from([127, 0, 0, 1]), 1).unwrap();
        let whole: Bytes = (0..3 * CHUNK + 7).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut body = Box::pin(Written { rest: whole.clone(), _busy: Some(ticket.busy()) });
        assert_eq!(body.size(), BodySize::Sized(3 * 65_536 + 7));
        let (mut context, mut read) = (Context::from_waker(noop_waker_ref()), Vec::new());
        while let Poll::Ready(Some(Ok(chunk))) = body.as_mut().poll_next(&mut context) {
            assert!(chunk.len() <= CHUNK && connections.are_busy());
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, whole);
        drop(body);
        assert!(!connections.are_busy());
    }
}
