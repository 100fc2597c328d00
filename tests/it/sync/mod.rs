//! `/sync`, as a client sees it.

mod filters;
mod members;
mod rooms;
mod unread;
mod waiting;

use serde_json::{Value, json};

use crate::harness::{TestServer, TestUser};

/// A sync with these parameters, without waiting.
pub async fn sync(server: &TestServer, user: &TestUser, query: &str) -> Value {
    let answer = server.get(&format!("/v3/sync?{query}")).by(user).send().await;
    parsed(&answer.body);
    answer.ok()
}

/// What is new since another answer.
pub async fn since(server: &TestServer, user: &TestUser, before: &Value) -> Value {
    sync(server, user, &format!("since={}", token(before))).await
}

/// What comes since another answer, within half a minute.
pub async fn wait(server: &TestServer, user: &TestUser, before: &Value) -> Value {
    sync(server, user, &format!("timeout=30000&since={}", token(before))).await
}

pub fn token(answer: &Value) -> &str {
    answer["next_batch"].as_str().unwrap()
}

/// Every answer must be one of ruma's type, too.
fn parsed(body: &[u8]) {
    use ruma::api::{IncomingResponseExt as _, client::sync::sync_events::v3::Response};
    let response = http::Response::new(body);
    Response::try_from_http_response(response)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)));
}

pub async fn create_room(server: &TestServer, user: &TestUser, options: Value) -> String {
    let answer = server.post("/v3/createRoom").by(user).json(&options).send().await.ok();
    answer["room_id"].as_str().unwrap().to_owned()
}

pub async fn public_room(server: &TestServer, user: &TestUser) -> String {
    create_room(server, user, json!({"preset": "public_chat"})).await
}

pub async fn join(server: &TestServer, user: &TestUser, room: &str) {
    server.post(&format!("/v3/join/{room}")).by(user).json(&json!({})).send().await.ok();
}

pub async fn leave(server: &TestServer, user: &TestUser, room: &str) {
    server.post(&format!("/v3/rooms/{room}/leave")).by(user).json(&json!({})).send().await.ok();
}

pub async fn invite(server: &TestServer, by: &TestUser, room: &str, whom: &TestUser) {
    let body = json!({"user_id": whom.user_id});
    server.post(&format!("/v3/rooms/{room}/invite")).by(by).json(&body).send().await.ok();
}

/// Sends a text; the id of the event.
pub async fn say(server: &TestServer, user: &TestUser, room: &str, text: &str) -> String {
    send(server, user, room, text, json!({"msgtype": "m.text", "body": text})).await
}

pub async fn send(server: &TestServer, user: &TestUser, room: &str, txn: &str, content: Value) -> String {
    let target = format!("/v3/rooms/{room}/send/m.room.message/{}", txn.replace(' ', "_"));
    let answer = server.put(&target).by(user).json(&content).send().await.ok();
    answer["event_id"].as_str().unwrap().to_owned()
}

pub async fn set_state(server: &TestServer, user: &TestUser, room: &str, kind: &str, content: Value) -> String {
    let answer = server.put(&format!("/v3/rooms/{room}/state/{kind}/")).by(user).json(&content).send().await.ok();
    answer["event_id"].as_str().unwrap().to_owned()
}

/// The texts of a timeline.
pub fn texts(room: &Value) -> Vec<&str> {
    let events = room["timeline"]["events"].as_array().unwrap();
    events.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// Types and keys of a list of state events, sorted.
pub fn keys(events: &Value) -> Vec<(String, String)> {
    let mut keys: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["type"].as_str().unwrap().to_owned(), event["state_key"].as_str().unwrap().to_owned()))
        .collect();
    keys.sort();
    keys
}

/// A filter as a query parameter.
pub fn filter(filter: &Value) -> String {
    let encoded: String = filter.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("filter={encoded}")
}
