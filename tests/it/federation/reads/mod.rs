//! What other servers read from us.

mod access;
mod directory;
mod history;
mod state;
mod visibility;

use std::collections::BTreeMap;

use http::Method;
use myelin::{
    event::{Pdu, Rules, Template, Verified, auth, build, json, version},
    graph::{Head, Reader, Receipt, RoomNo, Root, StateKey, Verdict},
    store::{ReadError, View},
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, serde::Base64, signatures::PublicKeyMap};
use serde_json::{Value, json};

use crate::harness::{Answer, Network, Peer, START, TestServer, TestUser};

const DAY: u64 = 24 * 60 * 60 * 1_000;
const ROOT: &str = "/_matrix/federation/v1";

/// Our server, one user of it in a room, and a peer.
pub(super) struct Scene {
    pub(super) server: TestServer,
    pub(super) alice: TestUser,
    pub(super) room: OwnedRoomId,
    pub(super) peer: Peer,
    pub(super) network: Network,
}

/// What the peer puts into an event that it sends.
pub(super) struct Draft {
    pub(super) sender: OwnedUserId,
    pub(super) kind: &'static str,
    pub(super) state_key: Option<String>,
    pub(super) content: Value,
    /// By default the forward extremities.
    pub(super) prev: Option<Vec<OwnedEventId>>,
}

impl Scene {
    pub(super) async fn new(history_visibility: &str) -> Self {
        let network = Network::default();
        let server = TestServer::in_network(&network, "a.b", "[registration]\nmode = \"open\"\n");
        let peer = Peer::new("p.q", 1, "k");
        peer.publish(&network, START + DAY);
        let alice = server.register_user("alice").await;
        let setting = json!({"history_visibility": history_visibility});
        let body = json!({
            "preset": "public_chat",
            "initial_state": [{"type": "m.room.history_visibility", "state_key": "", "content": setting}],
        });
        let created = server.post("/v3/createRoom").by(&alice).json(&body).send().await.ok();
        let room = RoomId::parse(created["room_id"].as_str().unwrap()).unwrap();
        Self { server, alice, room, peer, network }
    }

    /// Another server.
    pub(super) fn other_peer(&self, name: &str) -> Peer {
        let peer = Peer::new(name, 2, "k");
        peer.publish(&self.network, START + DAY);
        peer
    }

    pub(super) fn read<T>(&self, read: impl Fn(&Reader, &View<'_>, RoomNo, Head) -> Result<T, ReadError>) -> T {
        let reader = self.server.app().rooms.reader();
        let read = |view: &View<'_>| {
            let (no, head) = reader.room(view, &self.room)?.unwrap();
            read(reader, view, no, head)
        };
        self.server.app().store.read_blocking::<_, ReadError>(read).unwrap()
    }

    pub(super) fn rules(&self) -> &'static Rules {
        version::rules(&self.read(|_, _, _, head| Ok(head)).room_version).unwrap()
    }

    /// Alice says something.
    pub(super) async fn says(&self, text: &str) -> OwnedEventId {
        let path = format!("/v3/rooms/{}/send/m.room.message/{}", self.room, text.replace(' ', "_"));
        let body = json!({"msgtype": "m.text", "body": text});
        event_id(&self.server.put(&path).by(&self.alice).json(&body).send().await.ok())
    }

    /// Alice sets state.
    pub(super) async fn sets(&self, kind: &str, state_key: &str, content: Value) -> OwnedEventId {
        let path = format!("/v3/rooms/{}/state/{kind}/{state_key}", self.room);
        event_id(&self.server.put(&path).by(&self.alice).json(&content).send().await.ok())
    }

    /// A user of the peer.
    pub(super) fn user(&self, name: &str) -> OwnedUserId {
        UserId::parse(format!("@{name}:{}", self.peer.name)).unwrap()
    }

    fn ids(&self, root: Root, keys: &[StateKey]) -> Vec<OwnedEventId> {
        let events = self.read(|reader, view, no, _| reader.state_events(view, no, root, keys));
        events.into_iter().flatten().map(|event| event.event_id.clone()).collect()
    }

    /// The forward extremities.
    pub(super) fn tips(&self) -> Vec<OwnedEventId> {
        self.read(|reader, view, no, head| {
            let wanted: Vec<_> = head.extremities.iter().map(|seq| (no, *seq)).collect();
            Ok(reader.events(view, &wanted)?.into_iter().flatten().map(|event| event.event_id.clone()).collect())
        })
    }

    /// The state before an event.
    fn before(&self, id: &OwnedEventId) -> Root {
        self.read(|reader, view, _, _| Ok(reader.event_by_id(view, id)?.unwrap().meta.root_before))
    }

    /// An event of the peer, as it is signed and received: authorised by this state.
    pub(super) fn signed(&self, draft: Draft, root: Root) -> (Pdu, Receipt) {
        self.signed_at(100, draft, root)
    }

    /// The same, at a depth.
    pub(super) fn signed_at(&self, depth: u64, draft: Draft, root: Root) -> (Pdu, Receipt) {
        let pdu = self.built_at(depth, draft, root);
        let key = self.peer.key();
        let public = BTreeMap::from([(key.key_id().to_owned(), Base64::new(key.public_key().to_vec()))]);
        let keys: PublicKeyMap = BTreeMap::from([(self.peer.name.to_string(), public)]);
        let receipt = Verified::check(&pdu, self.rules(), &keys).unwrap().into();
        (pdu, receipt)
    }

    /// An event that the peer has signed, whoever else ought to.
    pub(super) fn built_at(&self, depth: u64, draft: Draft, root: Root) -> Pdu {
        let rules = self.rules();
        let content = json::parse(draft.content.to_string().as_bytes()).unwrap();
        let raw = serde_json::value::to_raw_value(&content).unwrap();
        let state_key = draft.state_key.as_deref();
        let selected = auth::selection(draft.kind, &draft.sender, state_key, &raw, rules);
        // What can't be authorised at all cites what a message would.
        let selected =
            selected.or_else(|_| auth::selection("m.room.message", &draft.sender, None, &raw, rules)).unwrap();
        let keys: Vec<_> = selected.into_iter().map(|(kind, state_key)| StateKey::new(kind, state_key)).collect();
        let template = Template {
            room_id: Some(self.room.clone()),
            event_id: None,
            sender: draft.sender,
            kind: draft.kind.to_owned(),
            state_key: draft.state_key,
            content,
            redacts: None,
            origin_server_ts: START + 5,
            prev_events: draft.prev.unwrap_or_else(|| self.tips()).into_iter().map(Into::into).collect(),
            auth_events: self.ids(root, &keys).into_iter().map(Into::into).collect(),
            depth,
        };
        build::build(template, rules, &self.peer.key()).unwrap()
    }

    async fn receive(&self, draft: Draft) -> (OwnedEventId, Verdict) {
        let root = self.read(|_, _, _, head| Ok(head.root));
        self.receive_by(draft, root).await
    }

    /// The same, authorised by an older state.
    async fn receive_by(&self, draft: Draft, root: Root) -> (OwnedEventId, Verdict) {
        let (pdu, receipt) = self.signed(draft, root);
        let no = self.read(|_, _, no, _| Ok(no));
        (pdu.event_id().to_owned(), self.server.app().graph.receive(no, receipt).await.unwrap())
    }

    /// Takes an event of the peer in without a place in the graph.
    async fn receive_outlier(&self, draft: Draft) -> OwnedEventId {
        let (no, root) = self.read(|_, _, no, head| Ok((no, head.root)));
        let (pdu, receipt) = self.signed(draft, root);
        self.server.app().graph.receive_outlier(no, receipt).await.unwrap();
        pdu.event_id().to_owned()
    }

    pub(super) async fn accepted(&self, draft: Draft) -> OwnedEventId {
        let (id, verdict) = self.receive(draft).await;
        assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
        id
    }

    /// A user of the peer changes their own membership.
    pub(super) async fn member(&self, name: &str, membership: &str) -> OwnedEventId {
        let sender = self.user(name);
        let state_key = Some(sender.to_string());
        let content = json!({"membership": membership});
        self.accepted(Draft { sender, kind: "m.room.member", state_key, content, prev: None }).await
    }

    /// What the peer gets.
    async fn get(&self, target: &str) -> Answer {
        self.peer.get(&self.server, &format!("{ROOT}{target}")).await
    }

    /// What the peer gets for a body.
    async fn post(&self, target: &str, body: &Value) -> Answer {
        let target = format!("{ROOT}{target}");
        let header = self.peer.header("a.b", "POST", &target, &body.to_string());
        let request = self.server.request(Method::POST, target).header("authorization", &header);
        request.json(body).send().await
    }

    /// The target of every endpoint that names the room, but for the one that has a body.
    fn targets(&self, event_id: &str) -> [String; 5] {
        let room = encoded(self.room.as_str());
        let event_id = encoded(event_id);
        [
            format!("/state/{room}?event_id={event_id}"),
            format!("/state_ids/{room}?event_id={event_id}"),
            format!("/event_auth/{room}/{event_id}"),
            format!("/backfill/{room}?v={event_id}&limit=10"),
            format!("/timestamp_to_event/{room}?ts=0&dir=f"),
        ]
    }

    /// `/get_missing_events`.
    async fn missing(&self, body: &Value) -> Answer {
        self.post(&format!("/get_missing_events/{}", encoded(self.room.as_str())), body).await
    }

    /// `/backfill` from one event.
    async fn backfill(&self, from: &OwnedEventId, limit: usize) -> Vec<Value> {
        let target = format!("/backfill/{}?v={}&limit={limit}", encoded(self.room.as_str()), encoded(from.as_str()));
        self.get(&target).await.ok()["pdus"].as_array().unwrap().clone()
    }

    /// The one event of `/event`.
    async fn event(&self, id: &OwnedEventId) -> Value {
        let answer = self.get(&format!("/event/{}", encoded(id.as_str()))).await.ok();
        assert_eq!((&answer["origin"], &answer["pdus"][1]), (&json!("a.b"), &Value::Null));
        answer["pdus"][0].clone()
    }
}

/// The id of an event as it was sent: the hash of what it says, which is the same redacted or not.
fn id_of(scene: &Scene, pdu: &Value) -> OwnedEventId {
    let pdu = Pdu::parse(pdu.to_string().as_bytes(), scene.rules()).unwrap();
    pdu.event_id().to_owned()
}

fn ids_of(scene: &Scene, pdus: &[Value]) -> Vec<OwnedEventId> {
    pdus.iter().map(|pdu| id_of(scene, pdu)).collect()
}

fn event_id(answer: &Value) -> OwnedEventId {
    answer["event_id"].as_str().unwrap().try_into().unwrap()
}

pub(super) fn encoded(text: &str) -> String {
    text.replace('$', "%24").replace('!', "%21").replace(':', "%3A").replace('#', "%23")
}
