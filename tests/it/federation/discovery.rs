//! Finding servers: the steps of the specification, over DNS and web pages that a test writes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::StatusCode;
use myelin::{
    base::{clock::Clock, random::Random},
    federation::{
        addresses::AddressFilter,
        discovery::{Certificate, Discovery, DiscoveryError, Lookup, LookupError, Service, Target},
        well_known::{Page, PageError, Pages, WellKnown},
    },
};
use ruma::ServerName;
use url::Url;

/// The world as a test has it.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    addresses: HashMap<String, Vec<IpAddr>>,
    services: HashMap<String, Vec<Service>>,
    pages: HashMap<String, Page>,
    asked: Vec<String>,
}

impl World {
    pub fn host(self, name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.lock().unwrap().addresses.insert(name.to_owned(), addresses);
        self
    }

    pub fn service(self, name: &str, targets: &[(u16, u16, u16, &str)]) -> Self {
        let service = |(priority, weight, port, host): &(u16, u16, u16, &str)| Service {
            priority: *priority,
            weight: *weight,
            port: *port,
            host: (*host).to_owned(),
        };
        self.0.lock().unwrap().services.insert(name.to_owned(), targets.iter().map(service).collect());
        self
    }

    pub fn page(self, url: &str, status: u16, body: &str) -> Self {
        self.answer(url, status, body, None, None)
    }

    pub fn redirect(self, url: &str, location: &str) -> Self {
        self.answer(url, 302, "", Some(location), None)
    }

    pub fn answer(self, url: &str, status: u16, body: &str, location: Option<&str>, cache: Option<&str>) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        let (location, cache_control) = (location.map(str::to_owned), cache.map(str::to_owned));
        let page = Page { status, location, cache_control, body: body.to_owned().into() };
        self.0.lock().unwrap().pages.insert(url.to_owned(), page);
        self
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn discovery(&self) -> Discovery {
        let well_known = WellKnown::new(Arc::new(self.clone()), Clock::starting_at(0));
        Discovery::new(Arc::new(self.clone()), well_known, AddressFilter::new(|_| false), Random::seeded(1))
    }
}

impl Lookup for World {
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, LookupError>> {
        let found = self.0.lock().unwrap().addresses.get(host).cloned();
        async move { found.ok_or(LookupError::NotFound) }.boxed()
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, LookupError>> {
        let found = self.0.lock().unwrap().services.get(name).cloned();
        async move { found.ok_or(LookupError::NotFound) }.boxed()
    }
}

impl Pages for World {
    fn get<'a>(&'a self, url: &'a Url, _: usize) -> BoxFuture<'a, Result<Page, PageError>> {
        let mut inner = self.0.lock().unwrap();
        inner.asked.push(url.to_string());
        let found = inner.pages.get(url.as_str()).cloned();
        async move { found.ok_or(PageError("no connection".to_owned())) }.boxed()
    }
}

fn well_known(host: &str) -> String {
    format!("https://{host}/.well-known/matrix/server")
}

async fn find(discovery: &Discovery, name: &str) -> Result<Target, DiscoveryError> {
    discovery.find(<&ServerName>::try_from(name).unwrap()).await
}

/// As `address, address | Host header | certificate`.
async fn found(discovery: &Discovery, name: &str) -> String {
    match find(discovery, name).await {
        Ok(Target { addresses, host, certificate }) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let certificate = match certificate {
                Certificate::Name(name) => name,
                Certificate::Address(address) => address.to_string(),
            };
            format!("{} | {host} | {certificate}", addresses.join(", "))
        }
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_the_specification() {
    let world = World::default()
        .host("plain.example", &["1.0.0.1", "2600::1"])
        .host("port.example", &["1.0.0.2"])
        .host("fed-target.example", &["1.0.0.3"])
        .host("old-target.example", &["1.0.0.4"])
        .host("delegate.example", &["1.0.0.5"])
        .service("_matrix-fed._tcp.fed.example", &[(10, 0, 1111, "fed-target.example")])
        .service("_matrix._tcp.fed.example", &[(10, 0, 2222, "old-target.example")])
        .service("_matrix._tcp.old.example", &[(10, 0, 2222, "old-target.example")])
        .page(&well_known("to-literal.example"), 200, r#"{"m.server": "1.0.0.6"}"#)
        .page(&well_known("to-literal-port.example"), 200, r#"{"m.server": "[2600::6]:443"}"#)
        .page(&well_known("to-port.example"), 200, r#"{"m.server": "delegate.example:443"}"#)
        .page(&well_known("to-fed.example"), 200, r#"{"m.server": "fed.example"}"#)
        .page(&well_known("to-old.example"), 200, r#"{"m.server": "old.example"}"#)
        .page(&well_known("to-plain.example"), 200, r#"{"m.server": "Delegate.Example"}"#)
        .page(&well_known("delegate.example"), 200, r#"{"m.server": "wrong.example:1"}"#)
        .page(&well_known("port.example"), 200, r#"{"m.server": "wrong.example:1"}"#);
    let discovery = world.discovery();
    for (step, name, wanted) in [
        ("1", "1.2.3.4", "1.2.3.4:8448 | 1.2.3.4 | 1.2.3.4"),
        ("1", "1.2.3.4:443", "1.2.3.4:443 | 1.2.3.4:443 | 1.2.3.4"),
        ("1", "[2600::1]", "[2600::1]:8448 | [2600::1] | 2600::1"),
        ("1", "[2600::1]:443", "[2600::1]:443 | [2600::1]:443 | 2600::1"),
        ("2", "port.example:99", "1.0.0.2:99 | port.example:99 | port.example"),
        ("2", "Port.Example:99", "1.0.0.2:99 | Port.Example:99 | port.example"),
        ("3.1", "to-literal.example", "1.0.0.6:8448 | 1.0.0.6 | 1.0.0.6"),
        ("3.1", "to-literal-port.example", "[2600::6]:443 | [2600::6]:443 | 2600::6"),
        ("3.2", "to-port.example", "1.0.0.5:443 | delegate.example:443 | delegate.example"),
        ("3.3", "to-fed.example", "1.0.0.3:1111 | fed.example | fed.example"),
        ("3.4", "to-old.example", "1.0.0.4:2222 | old.example | old.example"),
        ("3.5", "to-plain.example", "1.0.0.5:8448 | delegate.example | delegate.example"),
        ("4", "fed.example", "1.0.0.3:1111 | fed.example | fed.example"),
        ("5", "old.example", "1.0.0.4:2222 | old.example | old.example"),
        ("6", "plain.example", "1.0.0.1:8448, [2600::1]:8448 | plain.example | plain.example"),
        ("6", "no.example", "no address of no.example: there is none"),
    ] {
        assert_eq!(found(&discovery, name).await, wanted, "step {step}: {name}");
    }
    let asked = world.asked();
    assert!(!asked.iter().any(|url| url.contains("port.example/") && !url.contains("to-")), "{asked:?}");
    assert!(!asked.contains(&well_known("delegate.example")), "nobody delegates twice");
}

#[tokio::test(start_paused = true)]
async fn services_are_tried_in_their_order() {
    let world = World::default()
        .host("a.example", &["1.0.0.1"])
        .host("b.example", &["1.0.0.2"])
        .host("c.example", &["1.0.0.3"])
        .service(
            "_matrix-fed._tcp.x.example",
            &[(20, 0, 3, "c.example"), (10, 5, 1, "a.example"), (10, 0, 9, "gone.example")],
        )
        .service("_matrix-fed._tcp.w.example", &[(1, 90, 1, "a.example"), (1, 10, 2, "b.example")])
        .service("_matrix-fed._tcp.off.example", &[(0, 0, 0, "")])
        .service("_matrix-fed._tcp.gone.example", &[(0, 0, 1, "gone.example")]);
    let discovery = world.discovery();
    assert_eq!(found(&discovery, "x.example").await, "1.0.0.1:1, 1.0.0.3:3 | x.example | x.example");
    assert_eq!(found(&discovery, "off.example").await, "off.example does not offer federation");
    assert_eq!(found(&discovery, "gone.example").await, "no address of gone.example: there is none");
    let mut first = 0;
    for _ in 0..1_000 {
        let target = find(&discovery, "w.example").await.unwrap();
        assert_eq!(target.addresses.len(), 2);
        first += usize::from(target.addresses[0].port() == 1);
    }
    assert!((850..950).contains(&first), "the heavier one came first {first} times in 1,000");
}

#[tokio::test(start_paused = true)]
async fn no_address_inside_our_own_network_is_found() {
    let world = World::default()
        .host("inside.example", &["127.0.0.1", "10.0.0.1", "::1", "fe80::1"])
        .host("mixed.example", &["192.168.1.1", "1.0.0.1"])
        .host("target.example", &["169.254.169.254"])
        .service("_matrix-fed._tcp.srv.example", &[(0, 0, 1, "target.example")])
        .page(&well_known("wk.example"), 200, r#"{"m.server": "127.0.0.1:22"}"#);
    let discovery = world.discovery();
    for name in [
        "127.0.0.1",
        "[::1]:443",
        "[::ffff:10.0.0.1]",
        "inside.example",
        "inside.example:80",
        "srv.example",
        "wk.example",
    ] {
        let error = find(&discovery, name).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::NotPermitted(_)), "{name}: {error}");
    }
    assert_eq!(found(&discovery, "mixed.example:1").await, "1.0.0.1:1 | mixed.example:1 | mixed.example");
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_no_use_are_as_if_they_were_not_there() {
    let host = |name: &str| well_known(&format!("{name}.example"));
    let mut world = World::default();
    let names = [
        "loop",
        "chain",
        "plain-http",
        "credentials",
        "nowhere",
        "error",
        "no-json",
        "odd",
        "empty-name",
        "huge",
        "not-found",
    ];
    for name in names {
        world = world.host(&format!("{name}.example"), &["1.0.0.1"]);
    }
    for at in 0..8 {
        let (from, to) = (format!("https://chain.example/{at}"), format!("/{}", at + 1));
        world = world.redirect(&from, &to);
    }
    let world = world
        .redirect(&host("loop"), &host("loop"))
        .redirect(&host("chain"), "/0")
        .page("https://chain.example/8", 200, r#"{"m.server": "bad.example:1"}"#)
        .redirect(&host("plain-http"), "http://plain-http.example/x")
        .page("http://plain-http.example/x", 200, r#"{"m.server": "bad.example:1"}"#)
        .redirect(&host("credentials"), "https://user:password@credentials.example/x")
        .answer(&host("nowhere"), 302, "", None, None)
        .page(&host("error"), 500, r#"{"m.server": "bad.example:1"}"#)
        .page(&host("no-json"), 200, "m.server: bad.example:1")
        .page(&host("odd"), 200, r#"{"m.server": ["bad.example:1"]}"#)
        .page(&host("empty-name"), 200, r#"{"m.server": ""}"#)
        .page(&host("huge"), 200, &format!(r#"{{"m.server": "bad.example:1", "x": "{}"}}"#, "x".repeat(100_000)));
    let discovery = world.discovery();
    for name in names {
        let name = format!("{name}.example");
        assert_eq!(found(&discovery, &name).await, format!("1.0.0.1:8448 | {name} | {name}"));
    }
    assert!(world.asked().len() <= names.len() + 2 * 5, "redirects are bounded");
    let world = World::default()
        .host("delegate.example", &["1.0.0.2"])
        .redirect(&host("good"), "https://www.example/matrix")
        .page("https://www.example/matrix", 200, r#"{"m.server": "delegate.example:443"}"#);
    let wanted = "1.0.0.2:443 | delegate.example:443 | delegate.example";
    assert_eq!(found(&world.discovery(), "good.example").await, wanted, "one redirect is followed");
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_as_long_as_they_say() {
    let delegating = |cache: Option<&str>| {
        let page = r#"{"m.server": "delegate.example:443"}"#;
        World::default().host("delegate.example", &["1.0.0.2"]).answer(&well_known("x.example"), 200, page, None, cache)
    };
    let minutes = |minutes| tokio::time::advance(Duration::from_mins(minutes));
    for (cache, kept) in
        [(None, 24 * 60), (Some("max-age=7200"), 120), (Some("max-age=9999999"), 48 * 60), (Some("no-cache"), 5)]
    {
        let world = delegating(cache);
        let discovery = world.discovery();
        find(&discovery, "x.example").await.unwrap();
        minutes(kept - 1).await;
        find(&discovery, "X.example").await.unwrap();
        assert_eq!(world.asked().len(), 1, "{cache:?}");
        minutes(1).await;
        find(&discovery, "x.example").await.unwrap();
        assert_eq!(world.asked().len(), 1, "{cache:?}");
    }
    // When it fails, the last answer holds for a while, and it is asked ever more rarely.
    let world = delegating(None);
    let discovery = world.discovery();
    find(&discovery, "x.example").await.unwrap();
    world.0.lock().unwrap().pages.clear();
    minutes(24 * 60).await;
    assert!(find(&discovery, "x.example").await.is_ok(), "a page that is away for a moment moves no server");
    world.asked();
    for _ in 0..24 * 60 + 60 {
        minutes(1).await;
        let _ = find(&discovery, "x.example").await;
    }
    let asked = world.asked().len();
    assert!((24..=32).contains(&asked), "{asked} times in a day");
    assert!(find(&discovery, "x.example").await.is_err(), "but not for ever");
    // Many who ask at once ask once.
    let world = delegating(None);
    let discovery = world.discovery();
    futures_util::future::join_all((0..50).map(|_| find(&discovery, "x.example"))).await;
    assert_eq!(world.asked().len(), 1);
}
