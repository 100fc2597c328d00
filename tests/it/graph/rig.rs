//! A graph over the memory engine, and short words for what the tests do with it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use myelin::{
    base::{clock::Clock, metrics::Metrics, random::Random, shutdown::Shutdown, tasks::Tasks},
    event::SigningKey,
    graph::{
        CreateError, Event, Graph, Membership, Placed, Proposal, RoomNo, Root, SendError, Settings, StateKey,
        log::Touch,
    },
    store::{Driver, Engine, OpenOptions, ReadError, Store, View, engine::memory::Memory},
};
use parking_lot::Mutex;
use ruma::{
    OwnedEventId, OwnedUserId, RoomVersionId, ServerName, UserId,
    canonical_json::{CanonicalJsonObject, try_from_json_map},
};
use serde_json::{Value, json};

/// A graph and what it told.
pub struct Rig {
    pub store: Store,
    pub graph: Graph,
    pub commits: Arc<AtomicUsize>,
    pub touches: Arc<Mutex<Vec<Touch>>>,
    /// All rows must agree when it is dropped.
    pub is_checked: bool,
}

pub const ALICE: &str = "@alice:here";
pub const BOB: &str = "@bob:here";
pub const CAROL: &str = "@carol:here";

/// All versions.
pub fn versions() -> impl Iterator<Item = RoomVersionId> {
    myelin::event::version::SUPPORTED.into_iter()
}

pub fn user(id: &str) -> OwnedUserId {
    UserId::parse(id).unwrap()
}

pub fn content(value: Value) -> CanonicalJsonObject {
    let Value::Object(map) = value else { panic!("content is an object") };
    try_from_json_map(map).unwrap()
}

pub fn key_of(server: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32], "1", &ServerName::parse(server).unwrap()).unwrap()
}

pub fn message(sender: &str, body: &str) -> Proposal {
    Proposal::message(user(sender), "m.room.message", content(json!({"body": body, "msgtype": "m.text"})))
}

pub fn state(sender: &str, kind: &str, state_key: &str, value: Value) -> Proposal {
    Proposal::state(user(sender), kind, state_key, content(value))
}

pub fn member(sender: &str, target: &str, membership: &str) -> Proposal {
    state(sender, "m.room.member", target, json!({"membership": membership}))
}

/// What a client's createRoom makes of the preset.
pub fn room(creator: &str, join_rule: &str, version: &RoomVersionId) -> Vec<Proposal> {
    let is_12 = *version == RoomVersionId::V12;
    let mut levels = json!({"users": {creator: 100}, "redact": 50, "kick": 50, "ban": 50, "invite": 0});
    if is_12 {
        levels["users"] = json!({});
    }
    let create = match version {
        RoomVersionId::V11 | RoomVersionId::V12 => json!({}),
        _ => json!({"creator": creator}),
    };
    vec![
        state(creator, "m.room.create", "", create),
        member(creator, creator, "join"),
        state(creator, "m.room.power_levels", "", levels),
        state(creator, "m.room.join_rules", "", json!({"join_rule": join_rule})),
        state(creator, "m.room.history_visibility", "", json!({"history_visibility": "shared"})),
    ]
}

impl Rig {
    pub fn new() -> Self {
        Self::over(Memory::new())
    }

    pub fn over(engine: impl Engine) -> Self {
        Self::with(Store::open(engine))
    }

    /// Over an engine that a thread of its own writes to, as one with a disk is.
    pub fn threaded(engine: impl Engine) -> Self {
        let options = OpenOptions { driver: Driver::Thread, ..OpenOptions::default() };
        Self::with(Store::open_with(engine, options).unwrap())
    }

    /// Another graph over the same store, as a second process would be.
    pub fn beside(&self) -> Self {
        Self::with(self.store.clone())
    }

    fn with(store: Store) -> Self {
        let tasks = Tasks::new(tokio::runtime::Handle::current(), Shutdown::new(), Metrics::new());
        let settings = Settings {
            server_name: ServerName::parse("here").unwrap(),
            key: Arc::new(key_of("here", 1)),
            cache_bytes: 8 << 20,
            keep_redacted: 1_000,
        };
        let clock = Clock::starting_at(1_700_000_000_000);
        let graph = Graph::new(&store, &tasks, &clock, &Random::system(), settings);
        let (commits, touches) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, told) = (Arc::clone(&commits), Arc::clone(&touches));
        store.on_published(move |published| {
            counter.fetch_add(1, Ordering::Relaxed);
            let touches = published.touches.iter().filter_map(|touch| touch.downcast_ref::<Touch>().cloned());
            told.lock().extend(touches);
        });
        Self { store, graph, commits, touches, is_checked: true }
    }

    /// All rows agree.
    pub fn check(&self) {
        let mut problems = Vec::new();
        self.read(|view| myelin::graph::fsck::check(view, &mut |problem| problems.push(problem)));
        assert_eq!(problems, Vec::<String>::new());
    }

    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    pub async fn create(&self, version: &RoomVersionId, join_rule: &str) -> RoomNo {
        self.try_create(version, room(ALICE, join_rule, version)).await.unwrap()
    }

    pub async fn try_create(&self, version: &RoomVersionId, events: Vec<Proposal>) -> Result<RoomNo, CreateError> {
        Ok(self.graph.create(version.clone(), events).await?.room)
    }

    pub async fn send(&self, room: RoomNo, proposal: Proposal) -> Result<Placed, SendError> {
        self.graph.send_one(room, proposal).await
    }

    pub fn read<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, ReadError>) -> T {
        self.store.read_blocking(read).unwrap()
    }

    pub fn root(&self, room: RoomNo) -> Root {
        self.read(|view| self.graph.reader().root(view, room))
    }

    pub fn state_content(&self, room: RoomNo, kind: &str, state_key: &str) -> Option<Value> {
        let root = self.root(room);
        let event = self.read(|view| self.graph.reader().state_event(view, room, root, kind, state_key))?;
        Some(serde_json::from_slice(event.content()).unwrap())
    }

    pub fn membership(&self, room: RoomNo, id: &str) -> Option<Membership> {
        self.read(|view| self.graph.reader().member(view, room, &user(id))).map(|member| member.membership)
    }

    pub fn event(&self, id: &OwnedEventId) -> Event {
        self.read(|view| self.graph.reader().event_by_id(view, id)).unwrap()
    }

    /// Events in the order of arrival.
    pub fn arrived(&self, room: RoomNo) -> Vec<Event> {
        let reader = self.graph.reader();
        self.read(|view| {
            let horizon = view.horizon();
            let page = reader.log_forward(view, room, myelin::store::Position::ZERO, horizon, usize::MAX)?;
            let wanted: Vec<_> = page.rows.iter().map(|(_, row)| (room, row.seq)).collect();
            Ok(reader.events(view, &wanted)?.into_iter().map(Option::unwrap).collect())
        })
    }

    /// The whole current state, by the tree.
    pub fn state(&self, room: RoomNo, root: Root) -> Vec<(StateKey, OwnedEventId)> {
        let reader = self.graph.reader();
        self.read(|view| {
            let entries = reader.state(view, room, root)?;
            let wanted: Vec<_> = entries.iter().map(|(_, seq)| (room, *seq)).collect();
            let mut found: Vec<_> = reader
                .events(view, &wanted)?
                .into_iter()
                .map(Option::unwrap)
                .map(|event| (StateKey::new(&*event.kind, event.state_key.as_deref().unwrap()), event.event_id.clone()))
                .collect();
            found.sort();
            Ok(found)
        })
    }
}

impl Drop for Rig {
    /// No test leaves a graph whose rows do not agree.
    fn drop(&mut self) {
        if self.is_checked && !std::thread::panicking() {
            self.check();
        }
    }
}
