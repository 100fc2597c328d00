//! Requests that tests of rooms make again and again.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::api::Api;

static TXN: AtomicU32 = AtomicU32::new(0);

/// A transaction id that was not used before.
pub fn txn() -> String {
    format!("t{}", TXN.fetch_add(1, Ordering::Relaxed))
}

/// Escapes a segment of a path.
pub fn segment(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A path of a room.
pub fn path(room_id: &str, rest: &str) -> String {
    format!("/v3/rooms/{}/{rest}", segment(room_id))
}

impl Api {
    /// Creates a room.
    pub async fn create_room(&self, token: &str, request: Value) -> String {
        self.post("/v3/createRoom", token, request).await.ok()["room_id"].as_str().unwrap().to_owned()
    }

    /// A public room.
    pub async fn public_room(&self, token: &str) -> String {
        self.create_room(token, json!({"preset": "public_chat"})).await
    }

    /// Joins a room.
    pub async fn join(&self, token: &str, room_id: &str) {
        let answer = self.post(&path(room_id, "join"), token, json!({})).await.ok();
        assert_eq!(answer["room_id"], *room_id);
    }

    /// Leaves a room.
    pub async fn leave(&self, token: &str, room_id: &str) {
        self.post(&path(room_id, "leave"), token, json!({})).await.ok();
    }

    /// Sends any event without a state key, and returns its id.
    pub async fn send_event(&self, token: &str, room_id: &str, kind: &str, content: Value) -> String {
        let target = path(room_id, &format!("send/{}/{}", segment(kind), txn()));
        event_id(&self.put(&target, token, content).await.ok())
    }

    /// Sends a text, and returns its event's id.
    pub async fn say(&self, token: &str, room_id: &str, body: &str) -> String {
        self.send_event(token, room_id, "m.room.message", json!({"msgtype": "m.text", "body": body})).await
    }

    /// Sets state, and returns its event's id.
    pub async fn set_state(&self, token: &str, room_id: &str, kind: &str, content: Value) -> String {
        event_id(&self.put(&path(room_id, &format!("state/{kind}")), token, content).await.ok())
    }

    /// The content of state with an empty key.
    pub async fn state(&self, token: &str, room_id: &str, kind: &str) -> Value {
        self.get(&path(room_id, &format!("state/{kind}")), token).await.ok()
    }

    /// An event, as the user gets it.
    pub async fn event(&self, token: &str, room_id: &str, event_id: &str) -> Value {
        self.get(&path(room_id, &format!("event/{}", segment(event_id))), token).await.ok()
    }

    /// Pages through a room in a direction (`b` or `f`) to its end; all events, in that order.
    pub async fn history(&self, token: &str, room_id: &str, direction: char, query: &str) -> Vec<Value> {
        let (mut from, mut events) = (String::new(), Vec::new());
        loop {
            let target = path(room_id, &format!("messages?dir={direction}&{query}{from}"));
            let page = self.get(&target, token).await.ok();
            events.extend(page["chunk"].as_array().unwrap().iter().cloned());
            match page["end"].as_str() {
                Some(end) => from = format!("&from={end}"),
                None => return events,
            }
        }
    }
}

/// The id in the answer to a request that sent an event.
pub fn event_id(answer: &Value) -> String {
    answer["event_id"].as_str().unwrap().to_owned()
}

/// The bodies of the messages among events, in their order.
pub fn bodies(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// The types of events, in their order.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}
