//! A server in this process, and requests to it in plain JSON: for what a well-behaved client would not send, too.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header};
use myelin::{
    api,
    app::{App, Handles},
    base::{clock::Clock, metrics::Metrics, random::Random, shutdown::Shutdown, tasks::Tasks},
    config::Config,
    ephemeral::typing::Typing,
    event::SigningKey,
    graph::{Graph, Settings},
    http::{Incoming, RateLimits, Routes, Site},
    rooms::Rooms,
    store::{ReadError, Store, engine::memory::Memory},
    users::{self, Hashing, Options, Users},
};
use ruma::owned_server_name;
use serde_json::{Value, json};

/// A running server, and the disk it is on.
pub struct Api {
    disk: Memory,
    config: String,
    site: Site,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub json: Value,
}

impl Answer {
    /// The body, if the request went well.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.json);
        self.json
    }

    /// The request was refused like this.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json["errcode"].as_str()), (status, Some(code)), "{}", self.json);
        assert!(self.json["error"].is_string());
    }
}

impl Api {
    /// A server on which everybody may register.
    pub fn open() -> Self {
        Self::configured("[registration]\nmode = \"open\"\n")
    }

    /// A server with this configuration.
    pub fn configured(config: &str) -> Self {
        Self::over(Memory::new(), config.to_owned())
    }

    fn over(disk: Memory, config: String) -> Self {
        let store = Store::open(disk.clone());
        let (clock, random) = (Clock::starting_at(1_800_000_000_000), Random::system());
        let hashing = Hashing { memory_kib: 8, iterations: 1, concurrency: 2, queue: 64 };
        let options = Options { hashing, access_token_lifetime: Duration::from_mins(5), ..Options::default() };
        let server_name = owned_server_name!("localhost");
        let users = Users::new(store.clone(), clock.clone(), random.clone(), server_name.clone(), options);
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let typed = Config::read(&format!("[server]\nname = \"localhost\"\n{config}"), []).unwrap();
        let tasks = Tasks::new(tokio::runtime::Handle::current(), shutdown.clone(), metrics.clone());
        let settings = Settings {
            key: Arc::new(SigningKey::from_seed(&[7; 32], "test", &server_name).unwrap()),
            server_name: server_name.clone(),
            cache_bytes: 16 << 20,
            keep_redacted: 0,
        };
        let graph = Graph::new(&store, &tasks, &clock, &random, settings);
        let typing = Typing::new(clock.clone());
        tasks.spawn("typing", typing.clone().run());
        let app = App::from(Handles {
            server_name,
            config: Arc::new(typed),
            rooms: Rooms::new(store.clone(), graph.reader().clone()),
            graph,
            typing,
            tasks,
            clock,
            random,
            shutdown,
            metrics,
            store,
            users,
        });
        let mut routes = Routes::default();
        api::client::routes(&mut routes);
        api::admin::routes(&mut routes);
        Self { disk, config, site: Site::new(app, routes, RateLimits::default()) }
    }

    /// The same data in a new process.
    pub fn restart(self) -> Self {
        Self::over(self.disk.clone(), self.config.clone())
    }

    /// What handlers work on.
    pub fn app(&self) -> &App {
        self.site.app()
    }

    /// Sends bytes.
    pub async fn send(
        &self,
        method: Method,
        target: &str,
        token: Option<&str>,
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        }
        let incoming = Incoming {
            method,
            path: path.to_owned(),
            query: query.map(ToOwned::to_owned),
            headers,
            body: body.into(),
            peer: Ipv4Addr::LOCALHOST.into(),
        };
        let outgoing = self.site.dispatch(incoming).await;
        assert!(outgoing.status.as_u16() < 500, "{target}: {:?}", outgoing.body);
        let json = serde_json::from_slice(&outgoing.body).unwrap_or(Value::Null);
        Answer { status: outgoing.status.as_u16(), json }
    }

    pub async fn get(&self, target: &str, token: &str) -> Answer {
        self.send(Method::GET, &client(target), Some(token), "").await
    }

    pub async fn put(&self, target: &str, token: &str, body: Value) -> Answer {
        self.send(Method::PUT, &client(target), Some(token), body.to_string()).await
    }

    pub async fn post(&self, target: &str, token: &str, body: Value) -> Answer {
        self.send(Method::POST, &client(target), Some(token), body.to_string()).await
    }

    pub async fn delete(&self, target: &str, token: &str, body: Value) -> Answer {
        self.send(Method::DELETE, &client(target), Some(token), body.to_string()).await
    }

    /// A request without a token.
    pub async fn anonymous(&self, method: Method, target: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &client(target), None, body).await
    }

    /// Registers `name` with the password that [`password`] gives, and returns the access token.
    pub async fn register(&self, name: &str) -> String {
        let body = json!({
            "username": name,
            "password": password(name),
            "device_id": "FIRST",
            "auth": {"type": "m.login.dummy"},
        });
        token(&self.anonymous(Method::POST, "/v3/register", body).await.ok())
    }

    /// Logs `name` in on a device.
    pub async fn login(&self, name: &str, device_id: &str) -> Answer {
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password(name),
            "device_id": device_id,
        });
        self.anonymous(Method::POST, "/v3/login", body).await
    }
}

/// Nothing may be out of joint at the end of a test, whatever it did.
impl Drop for Api {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut problems = Vec::new();
            let store = &self.app().store;
            store
                .read_blocking::<(), ReadError>(|view| users::fsck::check(view, &mut |problem| problems.push(problem)))
                .unwrap();
            assert!(problems.is_empty(), "{problems:?}");
        }
    }
}

fn client(target: &str) -> String {
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

/// What proves that it is `name` who asks.
pub fn proof(name: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": password(name),
    })
}

/// Values of every JSON type, to be put where another is wanted.
pub fn confusions() -> [Value; 7] {
    [json!(null), json!(true), json!(7), json!(1.5), json!("text"), json!([]), json!({})]
}
