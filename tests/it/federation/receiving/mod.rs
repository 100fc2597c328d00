//! What other servers send: transactions, and what their events need.

mod backfill;
mod branches;
mod edus;
mod hostile;
mod missing;
mod odd;
pub(super) mod policy;
mod transactions;
mod whole;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use myelin::{
    event::{Pdu, json},
    federation::transport::Outbound,
};
use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::reads::{Draft, Scene};
use crate::harness::{Answer, START, reply};

const DAY: u64 = 24 * 60 * 60 * 1_000;

/// What a peer answers to a request, in JSON: status and body. `None`: it knows nothing of it.
type Respond = Arc<dyn Fn(&Outbound) -> Option<(u16, Value)> + Send + Sync>;

/// A scene in which `@bob:p.q` is in the room, and the peer answers what the test says.
struct Stage {
    scene: Scene,
    respond: Arc<Mutex<Respond>>,
}

impl Stage {
    async fn new() -> Self {
        let scene = Scene::new("shared").await;
        scene.member("bob", "join").await;
        let respond: Arc<Mutex<Respond>> = Arc::new(Mutex::new(Arc::new(|_| None)));
        let stage = Self { scene, respond };
        stage.listen();
        stage
    }

    fn listen(&self) {
        let (keys, respond) = (self.scene.peer.document(START + 7 * DAY, |_| ()), Arc::clone(&self.respond));
        self.scene.network.script(self.scene.peer.name.as_str(), move |request| {
            if request.target.starts_with("/_matrix/key/") {
                return reply(200, &keys);
            }
            let respond = Arc::clone(&respond.lock().unwrap());
            let (status, body) = respond(request).unwrap_or((404, json!({"errcode": "M_NOT_FOUND", "error": "no"})));
            reply(status, &body)
        });
    }

    /// From now on the peer answers so.
    fn answers(&self, respond: impl Fn(&Outbound) -> Option<(u16, Value)> + Send + Sync + 'static) {
        *self.respond.lock().unwrap() = Arc::new(respond);
    }

    /// Something that Bob says, behind these events (by default, the newest that we have).
    fn says(&self, text: &str, prev: Option<&[&Pdu]>) -> Pdu {
        self.event("m.room.message", None, json!({"msgtype": "m.text", "body": text}), prev)
    }

    /// An event of Bob, authorised by our current state.
    fn event(&self, kind: &'static str, state_key: Option<&str>, content: Value, prev: Option<&[&Pdu]>) -> Pdu {
        let newest = self.scene.read(|_, _, _, head| Ok(head.max_depth));
        let depth = prev.map_or(newest, |prev| prev.iter().map(|pdu| pdu.depth()).max().unwrap_or_default()) + 1;
        let prev = prev.map(|prev| prev.iter().map(|pdu| pdu.event_id().to_owned()).collect());
        let state_key = state_key.map(str::to_owned);
        let draft = Draft { sender: self.scene.user("bob"), kind, state_key, content, prev };
        let root = self.scene.read(|_, _, _, head| Ok(head.root));
        self.scene.signed_at(depth, draft, root).0
    }

    /// A chain of things that Bob says, each behind the one before.
    fn chain(&self, length: usize) -> Vec<Pdu> {
        let mut chain = vec![self.says("0", None)];
        while chain.len() < length {
            chain.push(
                self.says(&chain.len().to_string(), chain.last().map(|last| [last]).as_ref().map(|last| &last[..])),
            );
        }
        chain
    }

    /// The peer sends a transaction.
    async fn put(&self, txn_id: &str, body: &Value) -> Answer {
        let target = format!("/_matrix/federation/v1/send/{txn_id}");
        let header = self.header(&target, body);
        let request = self.scene.server.request(Method::PUT, target).header("authorization", &header);
        request.json(body).send().await
    }

    /// The header of a `PUT`, also of a body with numbers that canonical JSON cannot say.
    fn header(&self, target: &str, body: &Value) -> String {
        let signed = json!({"content": body, "destination": "a.b", "method": "PUT", "origin": "p.q", "uri": target});
        let text = json::to_text(&json::LaxObject::parse(signed.to_string().as_bytes()).unwrap());
        let key = self.scene.peer.key();
        let (key_id, signature) = (key.key_id().to_owned(), key.sign_text(text.as_bytes()));
        format!(r#"X-Matrix origin="p.q",destination="a.b",key="{key_id}",sig="{signature}""#)
    }

    /// The same with good events, and time to judge them.
    async fn send(&self, txn_id: &str, pdus: &[&Pdu]) -> Value {
        let pdus: Vec<Value> = pdus.iter().map(|pdu| as_json(pdu)).collect();
        let answer = self.put(txn_id, &transaction(&pdus, &[])).await.ok();
        rest().await;
        answer
    }

    /// Whether clients see an event.
    async fn is_seen(&self, event: &Pdu) -> bool {
        let room = super::reads::encoded(self.scene.room.as_str());
        let event_id = super::reads::encoded(event.event_id().as_str());
        let path = format!("/v3/rooms/{room}/event/{event_id}");
        self.scene.server.get(&path).by(&self.scene.alice).send().await.status == 200
    }

    /// The newest events of the room as Alice's sync tells them, oldest first.
    async fn synced(&self) -> Vec<OwnedEventId> {
        let answer = self.scene.server.get("/v3/sync?filter={\"room\":{\"timeline\":{\"limit\":50}}}");
        let answer = answer.by(&self.scene.alice).send().await.ok();
        let events = &answer["rooms"]["join"][self.scene.room.as_str()]["timeline"]["events"];
        events.as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().try_into().unwrap()).collect()
    }

    /// What was asked of the peer since the last time, without the room's name, and without what it is sent and its keys.
    fn asked(&self) -> Vec<String> {
        let room = super::reads::encoded(self.scene.room.as_str());
        let sent = self
            .scene
            .network
            .sent()
            .into_iter()
            .filter(|line| !line.contains("/_matrix/key/") && !line.contains("/v1/send/"));
        sent.map(|line| {
            line.replace("/_matrix/federation/v1/", "").replace(&room, "ROOM").replace(self.scene.room.as_str(), "ROOM")
        })
        .collect()
    }
}

/// A transaction of the peer.
fn transaction(pdus: &[Value], edus: &[Value]) -> Value {
    json!({"origin": "p.q", "origin_server_ts": START, "pdus": pdus, "edus": edus})
}

fn as_json(pdu: &Pdu) -> Value {
    serde_json::from_slice(pdu.json()).unwrap()
}

fn as_jsons(pdus: &[Pdu]) -> Vec<Value> {
    pdus.iter().map(as_json).collect()
}

/// Lets all that can be done be done: the clock is paused, and moves only when nobody has anything to do.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
