//! Nothing secret reaches the log, at any level, or comes back in an error.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::Method;
use myelin::store::engine::faulty::Fault;
use serde_json::{Value, json};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

use crate::{
    client::api::{password, proof},
    harness::{Answer, TestServer, client_path},
};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A server, and every secret that went to it or came from it.
struct Watched {
    server: TestServer,
    secrets: Vec<String>,
}

impl Watched {
    /// Sends a body (with a token), notes the secrets of the answer, and looks for those that are known in an error.
    async fn send(&mut self, method: Method, target: &str, token: &str, body: &str) -> Answer {
        let request = self.server.request(method, client_path(target)).body(body.to_owned());
        let request = if token.is_empty() { request } else { request.token(token) };
        let answer = request.send_anyhow().await;
        for field in ["access_token", "refresh_token", "login_token"] {
            self.secrets.extend(answer.json[field].as_str().map(str::to_owned));
        }
        if answer.status >= 400 {
            self.hides(&String::from_utf8_lossy(&answer.body), target);
            self.hides(&format!("{:?}", answer.headers), target);
        }
        answer
    }

    async fn post(&mut self, target: &str, token: &str, body: Value) -> Answer {
        self.send(Method::POST, target, token, &body.to_string()).await
    }

    /// A secret that a client sends.
    fn secret(&mut self, secret: &str) -> String {
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    #[track_caller]
    fn hides(&self, text: &str, place: &str) {
        for secret in &self.secrets {
            assert!(!text.contains(secret), "{place} tells the secret {secret}: {text}");
        }
    }
}

/// A user who registers, logs in, out and about, and gets many things wrong. Takes all that there is of secrets.
async fn live(watched: &mut Watched) {
    let right = watched.secret(&password("alice"));
    let auth = json!({"type": "m.login.dummy"});
    let body = json!({"username": "alice", "password": right, "refresh_token": true, "auth": auth});
    let first = watched.post("/v3/register", "", body.clone()).await.ok();
    watched.post("/v3/register", "", body).await.refused(400, "M_USER_IN_USE");
    let short = watched.secret("s3cr3t");
    let body = json!({"username": "bob", "password": short, "auth": auth});
    watched.post("/v3/register", "", body).await.refused(400, "M_WEAK_PASSWORD");
    let token = first["access_token"].as_str().unwrap();

    let login = |password: &str| {
        json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"},
            "password": password, "refresh_token": true})
    };
    let wrong = watched.secret("not the pa55word");
    watched.post("/v3/login", "", login(&wrong)).await.refused(403, "M_FORBIDDEN");
    let second = watched.post("/v3/login", "", login(&right)).await.ok();
    // Bodies that go wrong in the middle of a secret, or around it.
    for broken in [
        format!(r#"{{"type": "m.login.password", "user": "alice", "password": "{wrong}"#),
        format!(r#"{{"type": "m.login.password", "user": "alice", "password": ["{wrong}"]}}"#),
        format!(r#"{{"type": "m.login.password", "user": "alice", "password": {{"{wrong}": 1}}}}"#),
        format!(r#"{{"type": "m.login.{wrong}", "password": "x"}}"#),
        format!(r#""{wrong}""#),
        wrong.clone(),
    ] {
        let answer = watched.send(Method::POST, "/v3/login", "", &broken).await;
        assert!((400..500).contains(&answer.status), "{broken}");
    }
    // Tokens that are none, in the header and in the query.
    let bogus = watched.secret("syt_bogus_token");
    for method in [Method::GET, Method::POST, Method::DELETE] {
        watched.send(method.clone(), "/v3/account/whoami", &bogus, "{}").await;
        watched.send(method, &format!("/v3/account/whoami?access_token={bogus}"), "", "{}").await;
    }
    watched.send(Method::GET, &format!("/v3/sync?access_token={token}"), "", "").await.ok();
    watched
        .send(Method::GET, &format!("/v3/nowhere?access_token={token}"), "", "")
        .await
        .refused(404, "M_UNRECOGNIZED");
    watched.send(Method::GET, "/v3/account/whoami", &format!("{token} {token}"), "").await;

    for refresh_token in [bogus, first["refresh_token"].as_str().unwrap().to_owned()] {
        watched.post("/v3/refresh", "", json!({"refresh_token": refresh_token})).await;
    }
    watched.post("/v3/refresh", "", json!({"refresh_token": [second["refresh_token"]]})).await;
    let token = second["access_token"].as_str().unwrap();
    let made = watched.post("/v1/login/get_token", token, json!({"auth": proof("alice")})).await.ok();
    let body = json!({"type": "m.login.token", "token": made["login_token"]});
    watched.post("/v3/login", "", body.clone()).await.ok();
    watched.post("/v3/login", "", body).await.refused(403, "M_FORBIDDEN");

    let room = watched.post("/v3/createRoom", token, json!({})).await.ok();
    let room = room["room_id"].as_str().unwrap();
    let said = format!("/v3/rooms/{room}/send/m.room.message/1");
    watched.send(Method::PUT, &said, token, r#"{"body": "hello"}"#).await.ok();
    let new = watched.secret("a brand new pa55word");
    let auth =
        json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": wrong});
    let change = |auth: Value| json!({"new_password": new, "auth": auth});
    watched.post("/v3/account/password", token, change(auth)).await.refused(401, "M_FORBIDDEN");
    watched.post("/v3/account/password", token, change(proof("alice"))).await.ok();
    // A disk that fails is reported with all that led to it.
    watched.server.fail_after(0, Fault::Refused);
    let answer = watched.post("/v3/login", "", login(&new)).await;
    assert!(answer.status >= 500, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn neither_passwords_nor_tokens_are_logged_or_told() {
    // As long as there is but one subscriber, a place that logs is asked for by whichever thread comes there first, and
    // forgotten if that thread (another test's) has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let mut watched = Watched { server: TestServer::start(), secrets: Vec::new() };
    live(&mut watched).await;
    drop(guard);

    let text = log.text();
    for told in ["INFO", "ERROR", "the disk fails", "/_matrix/client/v3/login", "@alice:localhost", "M_FORBIDDEN"] {
        assert!(text.contains(told), "the log does not even tell of {told}: {text}");
    }
    assert!(watched.secrets.len() >= 13, "{:?}", watched.secrets);
    watched.hides(&text, "the log");
    for answered in ["hello", "Bearer"] {
        assert!(!text.contains(answered), "what users say is nobody's business: {answered}");
    }
}
