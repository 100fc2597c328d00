//! A server with a room in which users of other servers are, and those servers: they answer what a test wants, and note
//! what they are sent.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Method;
use myelin::{
    event::{Template, Verified, auth, build, version},
    federation::{
        sender::Numbers,
        transport::{Outbound, Reply, TransportError},
    },
    graph::{Proposal, Receipt, RoomNo, StateKey, Verdict},
};
use ruma::{
    OwnedEventId, RoomId, UserId,
    canonical_json::{CanonicalJsonObject, try_from_json_map},
    serde::Base64,
    signatures::PublicKeyMap,
};
use serde_json::{Value, json};

use crate::harness::{Network, Peer, TestServer, TestUser, reply};

/// What a receiver does with a transaction.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Takes it.
    Take,
    /// Takes it after a while.
    After(Duration),
    /// Never answers.
    Never,
    /// Answers this.
    Status(u16),
    /// Answers 200 and no JSON.
    Garbage,
    /// Refuses, by 400, what holds an event with this text.
    Refuse(&'static str),
    /// Takes it, and never answers.
    Silent,
    /// Answers this status and text.
    Raw(u16, String),
    /// Something before it refuses what is longer than so many bytes.
    AtMost(usize),
    /// Is asked too much: wait so many ms.
    Busy(u64),
    /// The way to it panics, a thousand times.
    Panic,
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub id: String,
    pub body: Value,
    /// The most bytes of an answer that are read.
    pub most_bytes: usize,
}

impl Transaction {
    pub fn events(&self) -> Vec<Value> {
        self.body["pdus"].as_array().unwrap().clone()
    }
}

/// Another server, as far as it is sent to.
#[derive(Clone)]
pub struct Receiver(Arc<Mutex<Inner>>);

struct Inner {
    mode: Mode,
    tried: usize,
    attempts: Vec<Transaction>,
    taken: Vec<Transaction>,
}

impl Receiver {
    /// What it does from now on.
    pub fn set(&self, mode: Mode) {
        self.0.lock().unwrap().mode = mode;
    }

    /// How many transactions were sent to it since the last call.
    pub fn tried(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().tried)
    }

    /// What was sent to it, taken or not.
    pub fn attempts(&self) -> Vec<Transaction> {
        self.0.lock().unwrap().attempts.clone()
    }

    /// What it has taken.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.0.lock().unwrap().taken.clone()
    }

    /// The events that it has taken.
    pub fn events(&self) -> Vec<Value> {
        self.transactions().iter().flat_map(Transaction::events).collect()
    }

    /// Their ids, in version 11.
    pub fn event_ids(&self) -> Vec<String> {
        self.events().iter().map(id_of).collect()
    }

    /// The ephemeral messages that it has taken since the last call of this.
    pub fn news(&self) -> Vec<Value> {
        let mut inner = self.0.lock().unwrap();
        inner.taken.iter_mut().flat_map(|one| one.body["edus"].take().as_array().cloned().unwrap_or_default()).collect()
    }

    async fn answer(&self, request: Outbound) -> Result<Reply, TransportError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let id = request.target.rsplit('/').next().unwrap().to_owned();
        let transaction = Transaction { id, body, most_bytes: request.most_bytes };
        let (mode, tried) = {
            let mut inner = self.0.lock().unwrap();
            inner.tried += 1;
            inner.attempts.push(transaction.clone());
            (inner.mode.clone(), inner.attempts.len())
        };
        match mode {
            Mode::Never => std::future::pending().await,
            Mode::Silent => {
                self.0.lock().unwrap().taken.push(transaction);
                return std::future::pending().await;
            }
            Mode::Raw(status, text) => {
                let mut answer = reply(status, &json!({})).unwrap();
                answer.body = text.into();
                return Ok(answer);
            }
            Mode::AtMost(most) if request.body.len() > most => {
                let mut answer = reply(413, &json!({})).unwrap();
                answer.body = "<html>Request Entity Too Large</html>".into();
                return Ok(answer);
            }
            Mode::Busy(wait) => {
                let refusal = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "later", "retry_after_ms": wait});
                return reply(429, &refusal);
            }
            Mode::Panic if tried < 1_000 => panic!("on purpose"),
            Mode::Status(status) => return reply(status, &json!({"errcode": "M_UNKNOWN", "error": "no"})),
            Mode::Garbage => {
                let mut answer = reply(200, &json!({})).unwrap();
                answer.body = "<html>".into();
                return Ok(answer);
            }
            Mode::Refuse(text) if transaction.body.to_string().contains(text) => {
                return reply(400, &json!({"errcode": "M_BAD_JSON", "error": "no"}));
            }
            Mode::After(pause) => tokio::time::sleep(pause).await,
            Mode::Take | Mode::Refuse(_) | Mode::AtMost(_) | Mode::Panic => {}
        }
        self.0.lock().unwrap().taken.push(transaction);
        reply(200, &json!({"pdus": {}}))
    }
}

fn id_of(event: &Value) -> String {
    let rules = version::rules(&ruma::RoomVersionId::V11).unwrap();
    myelin::event::Pdu::parse(event.to_string().as_bytes(), rules).unwrap().event_id().to_string()
}

/// A server, a room of version 11 with a user of each other server, and these.
pub struct House {
    pub server: TestServer,
    pub alice: TestUser,
    pub room_id: String,
    pub room: RoomNo,
    pub network: Network,
    receivers: BTreeMap<String, Receiver>,
}

impl House {
    pub async fn with(names: &[&str]) -> Self {
        Self::configured("", names).await
    }

    pub async fn configured(toml: &str, names: &[&str]) -> Self {
        let network = Network::default();
        let server = TestServer::in_network(&network, "here.org", &configuration(toml));
        let alice = server.register_user("alice").await;
        let room_id = create_room(&server, &alice).await;
        let room = server.app().graph.room_no(&RoomId::parse(&room_id).unwrap()).await.unwrap().unwrap();
        let mut house = Self { server, alice, room_id, room, network, receivers: BTreeMap::new() };
        for name in names {
            house.open(name);
            house.join(name).await;
        }
        super::settle().await;
        house
    }

    /// From now on this is about another room, in which `@user:NAME` of these are.
    pub async fn another_room(&mut self, names: &[&str]) {
        self.room_id = create_room(&self.server, &self.alice).await;
        let graph = &self.server.app().graph;
        self.room = graph.room_no(&RoomId::parse(&self.room_id).unwrap()).await.unwrap().unwrap();
        for name in names {
            self.join(name).await;
        }
        super::settle().await;
    }

    /// Lets a server take what it is sent.
    pub fn open(&mut self, name: &str) -> Receiver {
        let receiver = Receiver(Arc::new(Mutex::new(Inner {
            mode: Mode::Take,
            tried: 0,
            attempts: Vec::new(),
            taken: Vec::new(),
        })));
        let answering = receiver.clone();
        self.network.answer(name, move |request| {
            let answering = answering.clone();
            async move { answering.answer(request).await }
        });
        self.receivers.insert(name.to_owned(), receiver.clone());
        receiver
    }

    pub fn receiver(&self, name: &str) -> &Receiver {
        &self.receivers[name]
    }

    pub fn receivers(&self) -> impl Iterator<Item = &Receiver> {
        self.receivers.values()
    }

    pub fn numbers(&self) -> Numbers {
        self.server.app().sender.numbers()
    }

    /// The event as it is stored.
    pub fn stored(&self, id: &str) -> Value {
        let (reader, id) = (self.server.app().graph.reader().clone(), OwnedEventId::try_from(id).unwrap());
        let event = self.server.app().store.read_blocking(|view| reader.event_by_id(view, &id)).unwrap().unwrap();
        serde_json::from_slice(&event.pdu).unwrap()
    }

    pub async fn say(&self, text: &str) -> String {
        let path = format!("/v3/rooms/{}/send/m.room.message/{}", self.room_id, text.replace(' ', "-"));
        let body = json!({"body": text, "msgtype": "m.text"});
        let answer = self.server.put(&path).by(&self.alice).json(&body).send().await.ok();
        answer["event_id"].as_str().unwrap().to_owned()
    }

    pub async fn say_all(&self, numbers: RangeInclusive<u32>) -> Vec<String> {
        let mut ids = Vec::new();
        for number in numbers {
            ids.push(self.say(&format!("message {number}")).await);
        }
        ids
    }

    /// Alice says in the room's state what somebody is, whatever their server knows of it.
    pub async fn sets_member(&self, user: &str, membership: &str) {
        let content = CanonicalJsonObject::from([("membership".to_owned(), membership.to_owned().into())]);
        let alice = UserId::parse(&self.alice.user_id).unwrap();
        let proposal = Proposal::state(alice, "m.room.member", user, content);
        self.server.app().graph.send_one(self.room, proposal).await.unwrap();
    }

    /// Alice changes somebody's membership.
    pub async fn change(&self, what: &str, user: &str) {
        let path = format!("/v3/rooms/{}/{what}", self.room_id);
        self.server.post(&path).by(&self.alice).json(&json!({"user_id": user})).send().await.ok();
    }

    /// `@user:NAME` joins.
    pub async fn join(&self, name: &str) {
        self.receive(name, "m.room.member", Some(&format!("@user:{name}")), json!({"membership": "join"}), false).await;
    }

    /// An event of `@user:NAME` comes in.
    pub async fn receive(
        &self,
        name: &str,
        kind: &str,
        state_key: Option<&str>,
        content: Value,
        relay: bool,
    ) -> String {
        let rules = version::rules(&ruma::RoomVersionId::V11).unwrap();
        let sender = UserId::parse(format!("@user:{name}")).unwrap();
        let Value::Object(map) = content else { panic!("content is an object") };
        let content = try_from_json_map(map).unwrap();
        let raw = serde_json::value::to_raw_value(&content).unwrap();
        let selected = auth::selection(kind, &sender, state_key, &raw, rules).unwrap();
        let keys: Vec<_> = selected.into_iter().map(|(kind, key)| StateKey::new(kind, key)).collect();
        let (graph, room) = (&self.server.app().graph, self.room);
        let (auth_events, prev_events) = self
            .server
            .app()
            .store
            .read_blocking::<_, myelin::store::ReadError>(|view| {
                let reader = graph.reader();
                let head = reader.head(view, room)?.unwrap();
                let state = reader.state_events(view, room, head.root, &keys)?;
                let tips: Vec<_> = head.extremities.iter().map(|seq| (room, *seq)).collect();
                let id = |event: myelin::graph::Event| event.event_id.clone().into();
                let tips = reader.events(view, &tips)?.into_iter().flatten().map(id).collect();
                Ok((state.into_iter().flatten().map(id).collect(), tips))
            })
            .unwrap();
        let template = Template {
            room_id: Some(RoomId::parse(&self.room_id).unwrap()),
            event_id: None,
            sender,
            kind: kind.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            redacts: None,
            origin_server_ts: 5,
            prev_events,
            auth_events,
            depth: 100,
        };
        let key = Peer::new(name, 7, "1").key();
        let pdu = build::build(template, rules, &key).unwrap();
        let public = BTreeMap::from([(key.key_id().to_owned(), Base64::new(key.public_key().to_vec()))]);
        let known: PublicKeyMap = BTreeMap::from([(name.to_owned(), public)]);
        let receipt = Receipt { relay, ..Verified::check(&pdu, rules, &known).unwrap().into() };
        let verdict = graph.receive(room, receipt).await.unwrap();
        assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
        pdu.event_id().to_string()
    }

    /// `@user:NAME` leaves.
    pub async fn leave(&self, name: &str) {
        self.receive(name, "m.room.member", Some(&format!("@user:{name}")), json!({"membership": "leave"}), false)
            .await;
    }

    /// The server goes on in a new process.
    pub async fn restarted(self) -> Self {
        Self { server: self.server.restart().await, ..self }
    }

    /// The same, with another configuration.
    pub async fn reconfigured(self, toml: &str) -> Self {
        let server = self.server.reconfigured(&configuration(toml)).await;
        Self { server, ..self }
    }

    /// The same after a crash.
    pub fn crashed(self) -> Self {
        Self { server: self.server.crash(), ..self }
    }

    /// A server signs a request to this one.
    pub async fn is_asked_by(&self, name: &str) {
        let peer = Peer::new(name, 7, "1");
        let document = peer.document(crate::harness::START + 86_400_000_000, |_| ());
        let receiver = self.receivers[name].clone();
        self.network.answer(name, move |request| {
            let (receiver, document) = (receiver.clone(), document.clone());
            async move {
                if request.method == Method::GET { reply(200, &document) } else { receiver.answer(request).await }
            }
        });
        peer.get(&self.server, "/_matrix/federation/v1/query/profile?user_id=%40alice%3Ahere.org").await.ok();
    }
}

fn configuration(toml: &str) -> String {
    format!("[registration]\nmode = \"open\"\n{toml}")
}

async fn create_room(server: &TestServer, creator: &TestUser) -> String {
    let body = json!({"preset": "public_chat", "room_version": "11"});
    let answer = server.post("/v3/createRoom").by(creator).json(&body).send().await.ok();
    answer["room_id"].as_str().unwrap().to_owned()
}
