//! The users and rooms that the workloads need. Users are registered once and reused by the workloads that follow.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    Failure,
    client::{Connection, Target, segment, text},
};

/// Users of the server under test.
pub(crate) struct Population {
    target: Target,
    shared_secret: Option<String>,
    /// Who is free: each comes back when its workload is done.
    idle: Mutex<Vec<User>>,
    counter: AtomicU64,
}

/// A registered user and a connection of theirs.
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) connection: Connection,
}

impl Population {
    pub(crate) fn new(target: Target, shared_secret: Option<String>) -> Self {
        Self { target, shared_secret, idle: Mutex::new(Vec::new()), counter: AtomicU64::new(0) }
    }

    /// A connection of nobody.
    pub(crate) async fn stranger(&self) -> Result<Connection, Failure> {
        self.target.connect().await
    }

    /// So many users, registered now as far as there are not enough idle ones.
    pub(crate) async fn users(&self, count: usize) -> Result<Vec<User>, Failure> {
        let mut users = self.idle.lock().await;
        let from = users.len().saturating_sub(count);
        let mut taken = users.split_off(from);
        drop(users);
        while taken.len() < count {
            taken.push(self.register().await?);
        }
        Ok(taken)
    }

    /// One user.
    pub(crate) async fn user(&self) -> Result<User, Failure> {
        self.users(1).await?.pop().ok_or_else(|| "no user".into())
    }

    /// A user who is in no room.
    pub(crate) async fn newcomer(&self) -> Result<User, Failure> {
        self.register().await
    }

    /// Gives users back for the next workload.
    pub(crate) async fn done(&self, users: impl IntoIterator<Item = User>) {
        self.idle.lock().await.extend(users);
    }

    /// A number that nobody else of this run has.
    pub(crate) fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    async fn register(&self) -> Result<User, Failure> {
        let mut connection = self.target.connect().await?;
        let name = format!("load-{}-{}", std::process::id(), self.unique());
        let reply = match &self.shared_secret {
            Some(secret) => register_by_secret(&mut connection, &name, secret).await?,
            None => register_openly(&mut connection, &name).await?,
        };
        connection.authenticate(&text(&reply, "access_token")?);
        Ok(User { id: text(&reply, "user_id")?, connection })
    }
}

async fn register_openly(connection: &mut Connection, name: &str) -> Result<Value, Failure> {
    const PATH: &str = "/_matrix/client/v3/register";
    let mut request = json!({ "username": name, "password": "a password for the load" });
    let (status, challenge) = connection.ask(Method::POST, PATH, Bytes::from(request.to_string())).await?;
    if status != StatusCode::UNAUTHORIZED {
        let told = String::from_utf8_lossy(&challenge).into_owned();
        return Err(format!("registration is not open: {status}: {told}").into());
    }
    let challenge: Value = serde_json::from_slice(&challenge)?;
    if let Some(fields) = request.as_object_mut() {
        let session = text(&challenge, "session")?;
        fields.insert("auth".to_owned(), json!({ "type": "m.login.dummy", "session": session }));
    }
    connection.post(PATH, &request).await
}

async fn register_by_secret(connection: &mut Connection, name: &str, secret: &str) -> Result<Value, Failure> {
    const PATH: &str = "/_synapse/admin/v1/register";
    const PASSWORD: &str = "a password for the load";
    let nonce = text(&connection.get(PATH).await?, "nonce")?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let signed = hmac::sign(&key, format!("{nonce}\0{name}\0{PASSWORD}\0notadmin").as_bytes());
    let mac: String = signed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = json!({ "nonce": nonce, "username": name, "password": PASSWORD, "admin": false, "mac": mac });
    connection.post(PATH, &request).await
}

impl User {
    /// Makes a room; returns its id.
    pub(crate) async fn create_room(&mut self, options: &Value) -> Result<String, Failure> {
        text(&self.connection.post("/_matrix/client/v3/createRoom", options).await?, "room_id")
    }

    /// Joins a public room.
    pub(crate) async fn join(&mut self, room_id: &str) -> Result<(), Failure> {
        let path = format!("/_matrix/client/v3/join/{}", segment(room_id));
        self.connection.post(&path, &json!({})).await.map(drop)
    }

    /// Leaves a room.
    pub(crate) async fn leave(&mut self, room_id: &str) -> Result<(), Failure> {
        let path = format!("/_matrix/client/v3/rooms/{}/leave", segment(room_id));
        self.connection.post(&path, &json!({})).await.map(drop)
    }

    /// Sends a text; the transaction id must be new for this user.
    pub(crate) async fn say(&mut self, room_id: &str, transaction: &str) -> Result<String, Failure> {
        let room = segment(room_id);
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}");
        let body = json!({ "msgtype": "m.text", "body": format!("A message of the length that people write in a chat: {transaction}") });
        text(&self.connection.put(&path, &body).await?, "event_id")
    }

    /// Sets a state event.
    pub(crate) async fn set_state(
        &mut self,
        room_id: &str,
        kind: &str,
        key: &str,
        body: &Value,
    ) -> Result<(), Failure> {
        let path = format!("/_matrix/client/v3/rooms/{}/state/{kind}/{}", segment(room_id), segment(key));
        self.connection.put(&path, body).await.map(drop)
    }

    /// Syncs: returns the reply's `next_batch` and the bytes of its body.
    pub(crate) async fn sync(&mut self, since: Option<&str>, timeout_ms: u32) -> Result<(String, Bytes), Failure> {
        let path = match since {
            Some(since) => format!("/_matrix/client/v3/sync?timeout={timeout_ms}&since={}", segment(since)),
            None => format!("/_matrix/client/v3/sync?timeout={timeout_ms}"),
        };
        let body = self.connection.expect(Method::GET, &path, Bytes::new()).await?;
        #[derive(serde::Deserialize)]
        struct Reply {
            next_batch: String,
        }
        let reply: Reply = serde_json::from_slice(&body)?;
        Ok((reply.next_batch, body))
    }
}
