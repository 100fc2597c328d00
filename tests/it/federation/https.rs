//! Federation over real sockets and real TLS, with certificates of an authority that exists for one test.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use myelin::{
    app::App,
    base::{clock::Clock, random::Random},
    federation::{
        Bounds, ClientError, Transport,
        addresses::AddressFilter,
        https::Https,
        transport::{Outbound, TransportError},
    },
    http::{
        Json, Outgoing, RateClass, RateLimits, RawRequest, Refusal, Routes, Site,
        actix::{self, SocketOptions},
        connections::Connections,
    },
    server,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ruma::api::federation::{
    discovery::get_server_version::v1 as version, query::get_profile_information::v1 as get_profile,
};
use serde_json::json;

use super::discovery::World;
use crate::harness::TestServer;

/// A certificate authority with a folder for its certificates.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn certificate(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The sections of a server with a certificate for `name`, that listens on `address` and trusts `trusted`.
    fn config(&self, address: SocketAddr, name: &str, trusted: &Self) -> String {
        let (certificate, key) = self.certificate(name);
        let file = |suffix: &str| self.folder.path().join(format!("{}{suffix}", address.port()));
        std::fs::write(file("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(file("key.pem"), key.serialize_pem()).unwrap();
        format!(
            "[listeners]\nclient = [\"127.0.0.1:0\"]\nfederation = [\"{address}\"]\n\
             [tls]\ncertificate = {:?}\nkey = {:?}\n\
             [registration]\nmode = \"open\"\n\
             [federation]\nallowed_address_ranges = [\"127.0.0.0/8\"]\ncertificate_authorities = {:?}\n",
            file("cert.pem"),
            file("key.pem"),
            trusted.path()
        )
    }
}

/// An address of this machine that is probably free.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn start(address: SocketAddr, config: &str) -> (TestServer, server::Listening) {
    let server = TestServer::on_sockets(&address.to_string(), config);
    let listening = server::listen(server.server()).unwrap();
    (server, listening)
}

async fn ask_version(from: &TestServer, to: &str) -> Result<version::Response, ClientError> {
    let client = from.app().federation.client();
    client.request(to.try_into().unwrap(), version::Request::new(), Bounds::USUAL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_talk_over_tls() {
    let authority = Authority::new();
    let (a, b) = (free_address(), free_address());
    let (server_a, listening_a) = start(a, &authority.config(a, "127.0.0.1", &authority));
    let (server_b, listening_b) = start(b, &authority.config(b, "127.0.0.1", &authority));
    server_b.register_user("bob").await;
    let request = get_profile::Request::new(format!("@bob:{b}").try_into().unwrap());
    let destination = b.to_string().try_into().unwrap();
    let client = server_a.app().federation.client();
    client.request(&destination as &ruma::OwnedServerName, request, Bounds::USUAL).await.unwrap();
    server::stop(server_a.server(), listening_a).await;
    server::stop(server_b.server(), listening_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_must_prove_its_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (a, wrong_name, wrong_authority) = (free_address(), free_address(), free_address());
    let (server, listening) = start(a, &authority.config(a, "127.0.0.1", &authority));
    let (_wrong_name, first) = start(wrong_name, &authority.config(wrong_name, "127.0.0.2", &authority));
    let (_wrong_authority, second) = start(wrong_authority, &other.config(wrong_authority, "127.0.0.1", &authority));
    assert!(ask_version(&server, &a.to_string()).await.is_err(), "a server does not talk with itself");
    for (address, wanted) in [(wrong_name, "not valid for name"), (wrong_authority, "invalid peer certificate")] {
        let error = ask_version(&server, &address.to_string()).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let closed = free_address().to_string();
    assert!(matches!(ask_version(&server, &closed).await, Err(ClientError::Transport { .. })));
    let strict = authority.config(a, "127.0.0.1", &authority).replace("[\"127.0.0.0/8\"]", "[]");
    let strict = TestServer::on_sockets("strict.example", &strict);
    let error = ask_version(&strict, &wrong_name.to_string()).await.unwrap_err().to_string();
    assert!(error.contains("allowed_address_ranges"), "{error}");
    for (server, listening) in [(&server, listening), (&_wrong_name, first), (&_wrong_authority, second)] {
        server::stop(server.server(), listening).await;
    }
}

async fn echo_host(_: App, request: RawRequest) -> Result<Json, Refusal> {
    let (host, agent) = (request.header("host"), request.header("user-agent"));
    Ok(Json::of(&json!({"host": host, "agent": agent, "packed": request.header("accept-encoding")})))
}

async fn huge(_: App, _: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::of(&json!({"x": "x".repeat(2_000_000)})))
}

/// What unpacks to a thousand times of its size, if somebody unpacks it.
const PACKED: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff];

async fn packed(_: App, _: RawRequest) -> Result<Outgoing, Refusal> {
    let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    Ok(Outgoing { status: StatusCode::OK, headers, body: bytes::Bytes::from_static(PACKED) })
}

async fn redirect(_: App, _: RawRequest) -> Result<Outgoing, Refusal> {
    let location = HeaderValue::from_static("https://elsewhere.test/");
    let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
    Ok(Outgoing { status: StatusCode::FOUND, headers, body: bytes::Bytes::new() })
}

async fn never(_: App, _: RawRequest) -> Result<Json, Refusal> {
    std::future::pending().await
}

/// A web server that is no homeserver, with this certificate; returns where it is.
async fn web_server(app: &App, (certificate, key): &(rcgen::Certificate, KeyPair)) -> SocketAddr {
    let mut routes = Routes::default();
    routes.raw(Method::GET, "/host", RateClass::Poll, echo_host);
    routes.raw(Method::GET, "/huge", RateClass::Poll, huge);
    routes.raw(Method::GET, "/redirect", RateClass::Poll, redirect);
    routes.raw(Method::GET, "/packed", RateClass::Poll, packed);
    routes.raw(Method::GET, "/never", RateClass::Poll, never);
    let site = Site::new(app.clone(), routes, RateLimits::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let options = SocketOptions {
        header_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(5),
        connections: 100,
        workers: 1,
        trusts_proxy: Arc::new(|_| false),
    };
    let running = actix::serve(&site, vec![(socket, Some(tls))], &options, &Connections::default()).unwrap();
    tokio::spawn(running);
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_reached_where_dns_says_and_proves_itself_by_its_own_certificate() {
    let (authority, server) = (Authority::new(), TestServer::start());
    let address = web_server(server.app(), &authority.certificate("srv.test")).await;
    let world = World::default()
        .host("target.test", &["127.0.0.1"])
        .host("srv.test", &["127.0.0.1"])
        .service("_matrix-fed._tcp.srv.test", &[(0, 0, address.port(), "target.test")])
        .service("_matrix-fed._tcp.other.test", &[(0, 0, address.port(), "target.test")]);
    let local = AddressFilter::new(|address| address.is_loopback());
    let https = |filter: &AddressFilter| {
        let (clock, random) = (Clock::system(), Random::seeded(1));
        Https::new(Arc::new(world.clone()), filter.clone(), Some(&authority.path()), &clock, &random).unwrap()
    };
    let reach = https(&local);
    let ask = async |https: &Https, to: &str, target: &str, within: u64| {
        let outbound = Outbound {
            destination: to.try_into().unwrap(),
            method: Method::GET,
            target: target.to_owned(),
            authorization: None,
            body: bytes::Bytes::new(),
            deadline: tokio::time::Instant::now() + Duration::from_millis(within),
            most_bytes: 1_000_000,
            is_cut: target == "/huge?cut",
        };
        https.send(outbound).await
    };
    let answer = ask(&reach, "SRV.test", "/host", 10_000).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["host"], "srv.test", "the name, not the target, and no port");
    assert!(body["agent"].as_str().unwrap().starts_with("Myelin/"));
    assert!(body["packed"].is_null(), "nothing packed is asked for");
    // The same machine under an explicit port is another server name.
    let with_port = format!("srv.test:{}", address.port());
    let answer = ask(&reach, &with_port, "/host", 10_000).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["host"], *with_port);
    let error = ask(&reach, "other.test", "/host", 10_000).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let error = ask(&https(&AddressFilter::new(|_| false)), "srv.test", "/host", 10_000).await.unwrap_err();
    assert!(matches!(error, TransportError::Discovery(_)), "{error}");
    assert_eq!(ask(&reach, "srv.test", "/huge", 10_000).await.unwrap_err(), TransportError::TooLarge(1_000_000));
    let cut = ask(&reach, "srv.test", "/huge?cut", 10_000).await.unwrap();
    assert_eq!((cut.status.as_u16(), cut.body.len(), &cut.body[..6]), (200, 1_000_000, &b"{\"x\":\""[..]));
    assert_eq!(ask(&reach, "srv.test", "/packed", 10_000).await.unwrap().body, PACKED, "nor unpacked");
    assert_eq!(ask(&reach, "srv.test", "/never", 300).await.unwrap_err(), TransportError::Timeout);
    assert_eq!(ask(&reach, "srv.test", "/redirect", 10_000).await.unwrap().status, 302, "redirects are not followed");
}
