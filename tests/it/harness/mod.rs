//! A whole server in this process, without sockets: the memory engine, seeded randomness, a clock that the test moves.
//!
//! [`TestServer::start`] takes milliseconds. Requests go to the same dispatch as those from sockets; bodies are plain
//! JSON, so that a test can also send what no well-behaved client would. At its end a server is checked: nothing in its
//! store may be out of joint, whatever the test did.

mod network;
mod weather;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use myelin::{
    app::App,
    base::{clock::Clock, random::Random},
    catalogue,
    config::Config,
    event::SigningKey,
    federation::{Identity, Transport},
    http::{Incoming, Outgoing, Site},
    server::{Parts, Server},
    store::{
        ReadError, Store,
        engine::{
            faulty::{Fault, Faulty},
            memory::Memory,
        },
    },
};
use serde_json::{Value, json};

pub use self::{
    network::{Lies, Network, Peer, reply},
    weather::{Dice, Weather},
};

/// When tests begin, in ms since the Unix epoch.
pub const START: u64 = 1_800_000_000_000;

/// A running server, and the disk it is on.
pub struct TestServer {
    disk: Memory,
    /// What lies between the store and the disk.
    wire: Faulty<Memory>,
    config: Arc<Config>,
    seed: u64,
    /// How it reaches others; over sockets without one.
    network: Option<Network>,
    server: Server,
}

impl TestServer {
    /// A server on which everybody may register, without rate limits, with cheap password hashes.
    pub fn start() -> Self {
        Self::configured("[registration]\nmode = \"open\"\n")
    }

    /// The same with more configuration: TOML that goes on in the section `[server]`.
    pub fn configured(toml: &str) -> Self {
        Self::adjusted(toml, |_| {})
    }

    /// The same, with what no configuration file may say.
    pub fn adjusted(toml: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::named("localhost", toml, Some(Network::default()), adjust)
    }

    /// The same under another name, in a network where others reach it.
    pub fn in_network(network: &Network, name: &str, toml: &str) -> Self {
        Self::named(name, toml, Some(network.clone()), |_| {})
    }

    /// The same with a clock that reads this, and randomness of its own.
    pub fn in_weather(network: &Network, name: &str, toml: &str, (now, seed): (u64, u64)) -> Self {
        Self::over(Memory::new(), config(name, toml, |_| {}), (Clock::starting_at(now), seed), Some(network.clone()))
    }

    /// The same under another name, on the internet. Others reach it once it listens.
    pub fn on_sockets(name: &str, toml: &str) -> Self {
        Self::named(name, toml, None, |_| {})
    }

    fn named(name: &str, toml: &str, network: Option<Network>, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::over(Memory::new(), config(name, toml, adjust), (Clock::starting_at(START), 1), network)
    }

    fn over(disk: Memory, config: Arc<Config>, (clock, seed): (Clock, u64), network: Option<Network>) -> Self {
        let name = &config.server.name;
        let secret = blake3::hash(name.as_bytes());
        let key = SigningKey::from_seed(secret.as_bytes(), network::KEY_VERSION, name).unwrap();
        let random = Random::seeded(seed);
        let transport: Arc<dyn Transport> = match &network {
            Some(network) => Arc::new(network.of(name)),
            None => Arc::new(myelin::server::internet(&config, &clock, &random).unwrap()),
        };
        let wire = Faulty::new(disk.clone());
        let parts = Parts {
            config: Arc::clone(&config),
            store: Store::open(wire.clone()),
            identity: Identity { active: Arc::new(key), old: Arc::default() },
            transport,
            clock,
            random,
        };
        let server = Server::start(parts);
        if let Some(network) = &network {
            network.attach(&config.server.name, server.federation_site().unwrap_or(server.site()));
        }
        Self { disk, wire, config, seed, network, server }
    }

    /// Stops the server, and starts another one over the same disk.
    pub async fn restart(self) -> Self {
        self.server.stop().await;
        self.crash()
    }

    /// The same, with another configuration.
    pub async fn reconfigured(self, toml: &str) -> Self {
        self.server.stop().await;
        self.server.app().shutdown.trigger();
        let life = (self.app().clock.clone(), self.seed + 1);
        let config = config(self.config.server.name.as_str(), toml, |_| {});
        Self::over(self.disk.clone(), config, life, self.network.clone())
    }

    /// The same data in a new process, without anything that the old one did at its end.
    pub fn crash(self) -> Self {
        self.server.app().shutdown.trigger();
        let life = (self.app().clock.clone(), self.seed + 1);
        Self::over(self.disk.clone(), Arc::clone(&self.config), life, self.network.clone())
    }

    /// After `good` more writes the disk fails like this, and takes no more.
    pub fn fail_after(&self, good: usize, fault: Fault) {
        self.wire.fail_after(good, fault);
    }

    /// Whether the disk has failed.
    pub fn has_failed(&self) -> bool {
        self.wire.has_failed()
    }

    /// The machine goes off, and on again with a disk that works: what was not synced is gone.
    pub fn power_cut(self) -> Self {
        self.wire.crash().unwrap();
        // What is left of the old server writes nothing any more.
        self.wire.fail_after(0, Fault::Refused);
        self.crash()
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What handlers work on.
    pub fn app(&self) -> &App {
        self.server.app()
    }

    /// How often the server has asked its store so far.
    pub fn waves(&self) -> u64 {
        self.disk.waves()
    }

    /// What answers requests.
    pub fn site(&self) -> &Site {
        self.server.site()
    }

    /// A request that is sent with [`Request::send`]. `target` is a path, with a query if need be.
    pub fn request(&self, method: Method, target: impl Into<String>) -> Request<'_> {
        Request {
            site: self.site(),
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: [127, 0, 0, 1].into(),
        }
    }

    /// A `GET` below `/_matrix/client`.
    pub fn get(&self, target: &str) -> Request<'_> {
        self.request(Method::GET, client_path(target))
    }

    /// A `PUT` below `/_matrix/client`.
    pub fn put(&self, target: &str) -> Request<'_> {
        self.request(Method::PUT, client_path(target))
    }

    /// A `POST` below `/_matrix/client`.
    pub fn post(&self, target: &str) -> Request<'_> {
        self.request(Method::POST, client_path(target))
    }

    /// Registers `name` on a device `FIRST`, with the password that [`password`] gives.
    pub async fn register_user(&self, name: &str) -> TestUser {
        let body = json!({
            "username": name,
            "password": password(name),
            "device_id": "FIRST",
            "auth": {"type": "m.login.dummy"},
        });
        let answer = self.post("/v3/register").json(&body).send().await.ok();
        TestUser { user_id: answer["user_id"].as_str().unwrap().to_owned(), token: token(&answer) }
    }
}

fn config(name: &str, toml: &str, adjust: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::read(&format!("[server]\nname = \"{name}\"\n{toml}"), []).unwrap();
    config.rate_limits.enabled &= toml.contains("[rate_limits]");
    (config.passwords.memory_kib, config.passwords.iterations) = (8, 1);
    adjust(&mut config);
    Arc::new(config)
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.app().shutdown.trigger();
        if std::thread::panicking() {
            return;
        }
        let problems = self.app().store.read_blocking::<_, ReadError>(|view| {
            let mut problems = Vec::new();
            catalogue::check(view, &mut |problem| problems.push(problem))?;
            Ok(problems)
        });
        assert_eq!(problems.unwrap(), Vec::<String>::new());
    }
}

/// A user of a test.
#[derive(Clone, Debug)]
pub struct TestUser {
    pub user_id: String,
    pub token: String,
}

/// A request that is being put together.
pub struct Request<'a> {
    site: &'a Site,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    peer: IpAddr,
}

impl<'a> Request<'a> {
    /// With an access token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// By a user.
    pub fn by(self, user: &TestUser) -> Self {
        self.token(&user.token)
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string()).header(header::CONTENT_TYPE.as_str(), "application/json")
    }

    /// With any body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// To another site of the server.
    pub fn through(mut self, site: &'a Site) -> Self {
        self.site = site;
        self
    }

    /// From this address.
    pub fn from(mut self, peer: impl Into<IpAddr>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Sends it. No request whatsoever may be answered with a 5xx.
    pub async fn send(self) -> Answer {
        let target = self.target.clone();
        let answer = self.send_anyhow().await;
        assert!(answer.status < 500, "{target}: {answer:?}");
        answer
    }

    /// Sends it to a server that may not be able to write, and then may say so.
    pub async fn send_anyhow(self) -> Answer {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (self.target.clone(), None),
        };
        let Self { site, method, headers, body, peer, .. } = self;
        let Outgoing { status, headers, body } =
            site.dispatch(Incoming { method, path, query, headers, body, peer }).await;
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: status.as_u16(), headers, body, json }
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body as JSON; null if it is none.
    pub json: Value,
}

impl Answer {
    /// The body, if the request went well.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json
    }

    /// The request was refused like this.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json["errcode"].as_str()), (status, Some(code)), "{:?}", self.body);
        assert!(self.json["error"].is_string());
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A path below `/_matrix/client`.
pub fn client_path(target: &str) -> String {
    format!("/_matrix/client{target}")
}

/// The access token of an answer.
pub fn token(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap().to_owned()
}

/// The password of a test user.
pub fn password(name: &str) -> String {
    format!("{name}'s password")
}
