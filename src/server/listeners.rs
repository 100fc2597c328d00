//! The sockets that a server listens on.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::dev::ServerHandle;
use socket2::{Domain, Protocol, Socket, Type};

use super::{RunError, Server, drained, metrics, tls::Certificates};
use crate::{
    config::Listeners,
    http::{
        Site,
        actix::{self, KEEP_ALIVE, SocketOptions},
        connections::Connections,
    },
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A peer that takes nothing of what it is sent is cut off after this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often idle connections are looked for.
const WATCH: Duration = Duration::from_secs(1);
/// The longest time from the last answer to a finished stop.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Bound sockets; nothing is accepted yet.
pub(super) struct Sockets {
    client: Vec<TcpListener>,
    federation: Vec<TcpListener>,
    metrics: Option<TcpListener>,
}

/// Sockets on which requests are answered.
pub struct Listening {
    addresses: Vec<String>,
    servers: Vec<ServerHandle>,
    connections: Connections,
}

impl Sockets {
    pub(super) fn bind(listeners: &Listeners) -> Result<Self, RunError> {
        let bind = |address: &SocketAddr| bind(*address).map_err(|error| RunError::Listen { address: *address, error });
        Ok(Self {
            client: listeners.client.iter().map(bind).collect::<Result<_, _>>()?,
            federation: listeners.federation.iter().map(bind).collect::<Result<_, _>>()?,
            metrics: listeners.metrics.as_ref().map(bind).transpose()?,
        })
    }

    /// Answers requests from now on.
    pub(super) fn serve(self, server: &Server, tls: Option<&Certificates>) -> Result<Listening, RunError> {
        let connections = Connections::default();
        let clients_tls = tls.filter(|_| server.app().config.tls.as_ref().is_some_and(|tls| tls.client));
        let scheme = if clients_tls.is_some() { "https" } else { "http" };
        let addresses = self.client.iter().map(|socket| Ok(format!("{scheme}://{}", socket.local_addr()?)));
        let addresses = addresses.collect::<Result<_, std::io::Error>>()?;
        let mut listening = Listening { addresses, servers: Vec::new(), connections };
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        listening.add(server, server.site(), self.client, clients_tls, workers)?;
        if let Some(federation) = server.federation_site() {
            listening.add(server, federation, self.federation, tls, workers)?;
        }
        if let Some(socket) = self.metrics {
            listening.add(server, &metrics::site(server.app()), vec![socket], None, 1)?;
        }
        watch(server, listening.connections.clone());
        Ok(listening)
    }
}

impl Listening {
    fn add(
        &mut self,
        server: &Server,
        site: &Site,
        sockets: Vec<TcpListener>,
        tls: Option<&Certificates>,
        workers: usize,
    ) -> Result<(), RunError> {
        let config = &server.app().config;
        let trusted = config.listeners.trusted_proxies.clone();
        let options = SocketOptions {
            header_timeout: config.limits.header_timeout,
            body_timeout: config.limits.body_timeout,
            connections: config.limits.connections,
            workers,
            trusts_proxy: Arc::new(move |address: IpAddr| trusted.iter().any(|network| network.contains(address))),
        };
        let sockets = sockets.into_iter().map(|socket| Ok((socket, tls.map(Certificates::server_config).transpose()?)));
        let sockets = sockets.collect::<Result<_, RunError>>()?;
        let running = actix::serve(site, sockets, &options, &self.connections)?;
        self.servers.push(running.handle());
        server.app().tasks.spawn("http", async move {
            if let Err(error) = running.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        Ok(())
    }

    /// Where clients come in, as URLs.
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Accepts no further connection.
    pub(super) async fn refuse_more(&self) {
        for server in &self.servers {
            server.pause().await;
        }
    }

    /// Waits for the answers that are under way, then closes everything.
    pub(super) async fn end(self) {
        if !drained(|| !self.connections.are_busy()).await {
            tracing::warn!("some requests were not answered in time");
        }
        let stops = self.servers.iter().map(|server| server.stop(true));
        // What is written by then is written; a peer that does not read is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, futures_util::future::join_all(stops)).await;
    }
}

/// Ends idle connections and counts the others, until the server stops.
fn watch(server: &Server, connections: Connections) {
    let app = server.app().clone();
    let longest = KEEP_ALIVE + app.config.limits.header_timeout;
    let gauge = app.metrics.gauge("myelin_http_connections", "Open connections");
    app.tasks.clone().spawn_forever("connections", move || {
        let (app, connections, gauge) = (app.clone(), connections.clone(), gauge.clone());
        async move {
            loop {
                app.clock.sleep(WATCH).await;
                connections.end_idle(longest);
                gauge.set(u64::try_from(connections.count()).unwrap_or(u64::MAX));
            }
        }
    });
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for the connections of the old process.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
