//! Requests to a server in this process, in plain JSON: for what a well-behaved client would not send, too.

use http::Method;
use myelin::app::App;
use serde_json::{Value, json};

use crate::harness::TestServer;
pub use crate::harness::{Answer, password, token};

/// A running server.
pub struct Api(TestServer);

impl Api {
    /// A server on which everybody may register.
    pub fn open() -> Self {
        Self::configured("[registration]\nmode = \"open\"\n")
    }

    /// A server with this configuration.
    pub fn configured(config: &str) -> Self {
        let lifetime = "[sessions]\naccess_token_lifetime = \"5m\"\n";
        Self(TestServer::configured(&format!("{config}{lifetime}")))
    }

    /// The same data in a new process.
    pub fn restart(self) -> Self {
        Self(self.0.crash())
    }

    /// What handlers work on.
    pub fn app(&self) -> &App {
        self.0.app()
    }

    /// How often the server has asked its store so far.
    pub fn waves(&self) -> u64 {
        self.0.waves()
    }

    /// Sends bytes.
    pub async fn send(
        &self,
        method: Method,
        target: &str,
        token: Option<&str>,
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let request = self.0.request(method, target).body(body);
        match token {
            Some(token) => request.token(token).send().await,
            None => request.send().await,
        }
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

fn client(target: &str) -> String {
    format!("/_matrix/client{target}")
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
