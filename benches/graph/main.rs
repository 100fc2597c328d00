//! What a fork costs: two states of a large room that differ in a few entries, resolved when one more event arrives on the
//! other branch.
//!
//! `cargo bench --bench graph -- --entries=50000 --auth=1000000`. Writes its room into a temporary folder first, which takes
//! about a minute and a half for a million state events. The figures that count are in `docs/performance.md`.
//!
//! `--fill=FOLDER --name=SERVER --members=N --state=N` writes a large room into a server's data folder instead ([`fill`]).

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark stops when its own data is wrong, and takes real time"
)]

mod fill;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use myelin::{
    base::{clock::Clock, metrics::Metrics, random::Random, shutdown::Shutdown, tasks::Tasks},
    event::{SigningKey, Template, Verified, auth, build, version},
    graph::{Graph, Proposal, Receipt, RoomNo, Settings, StateKey, Verdict},
    store::{Driver, OpenOptions, Store},
};
use ruma::{
    OwnedEventId, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId,
    canonical_json::{CanonicalJsonObject, try_from_json_map},
    serde::Base64,
    signatures::PublicKeyMap,
};
use serde_json::{Value, json};

const VERSION: RoomVersionId = RoomVersionId::V11;
const ALICE: &str = "@alice:here";
const EVE: &str = "@eve:there";
/// The type of the state that fills the room.
const KIND: &str = "org.example.entry";
/// Entries that a branch changes.
const CHANGES: usize = 10;
/// Events of a commit.
const AT_ONCE: usize = 50;

fn user(id: &str) -> OwnedUserId {
    UserId::parse(id).expect("a user id")
}

fn content(value: Value) -> CanonicalJsonObject {
    let Value::Object(map) = value else { panic!("content is an object") };
    try_from_json_map(map).expect("canonical JSON")
}

fn key(server: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32], "1", &ServerName::parse(server).expect("a server name")).expect("a key")
}

fn state(sender: &str, kind: &str, state_key: &str, value: Value) -> Proposal {
    Proposal::state(user(sender), kind, state_key, content(value))
}

#[cfg(feature = "rocksdb")]
fn open(folder: &Path) -> Store {
    use myelin::store::engine::rocks::{Rocks, RocksOptions};
    let engine = Rocks::open(folder, RocksOptions { cache: 256 << 20, fsync: false }).expect("an engine");
    let options = OpenOptions { driver: Driver::Thread, ..OpenOptions::default() };
    Store::open_with(engine, options).expect("a store")
}

#[cfg(not(feature = "rocksdb"))]
fn open(_: &Path) -> Store {
    let options = OpenOptions { driver: Driver::Thread, ..OpenOptions::default() };
    Store::open_with(myelin::store::engine::memory::Memory::new(), options).expect("a store")
}

fn graph(store: &Store) -> Graph {
    let tasks = Tasks::new(tokio::runtime::Handle::current(), Shutdown::new(), Metrics::new());
    let settings = Settings {
        server_name: ServerName::parse("here").expect("a server name"),
        key: Arc::new(key("here", 1)),
        cache_bytes: 128 << 20,
        keep_redacted: 1_000,
    };
    Graph::new(store, &tasks, &Clock::system(), &Random::system(), settings)
}

/// A room with `entries` entries of state, in whose life `auth` state events were sent.
async fn room(graph: &Graph, entries: usize, auth: usize) -> RoomNo {
    let levels = json!({"users": {ALICE: 100, EVE: 50}});
    let begin = vec![
        state(ALICE, "m.room.create", "", json!({})),
        state(ALICE, "m.room.member", ALICE, json!({"membership": "join"})),
        state(ALICE, "m.room.power_levels", "", levels),
        state(ALICE, "m.room.join_rules", "", json!({"join_rule": "public"})),
    ];
    let room = graph.create(VERSION, begin).await.expect("a room").room;
    let started = Instant::now();
    for first in (0..auth).step_by(AT_ONCE) {
        let some = (first..first + AT_ONCE)
            .map(|at| state(ALICE, KIND, &format!("entry {}", at % entries), json!({"at": at})))
            .collect();
        graph.send(room, some).await.expect("sent");
        if first % 100_000 == 0 {
            eprintln!("{first} of {auth} state events after {} s", started.elapsed().as_secs());
        }
    }
    room
}

/// The other server, on its branch.
struct Branch<'a> {
    graph: &'a Graph,
    store: &'a Store,
    room: RoomNo,
    room_id: &'a RoomId,
    key: SigningKey,
    last: OwnedEventId,
}

impl Branch<'_> {
    /// Sends state on the branch, and says how long judging it took.
    async fn receive(&mut self, kind: &str, state_key: &str, value: Value) -> Duration {
        let rules = version::rules(&VERSION).expect("known");
        let (sender, content) = (user(EVE), content(value));
        let raw = serde_json::value::to_raw_value(&content).expect("JSON");
        let selected = auth::selection(kind, &sender, Some(state_key), &raw, rules).expect("a selection");
        let keys: Vec<_> = selected.into_iter().map(|(kind, state_key)| StateKey::new(kind, state_key)).collect();
        let (reader, room) = (self.graph.reader(), self.room);
        let auth_events = self
            .store
            .read_blocking(|view| reader.state_events(view, room, reader.root(view, room)?, &keys))
            .expect("readable");
        let template = Template {
            room_id: Some(self.room_id.to_owned()),
            event_id: None,
            sender,
            kind: kind.to_owned(),
            state_key: Some(state_key.to_owned()),
            content,
            redacts: None,
            origin_server_ts: 1_700_000_000_000,
            prev_events: vec![self.last.clone().into()],
            auth_events: auth_events.into_iter().flatten().map(|event| event.event_id.clone().into()).collect(),
            depth: 100,
        };
        let pdu = build::build(template, rules, &self.key).expect("an event");
        let public = Base64::new(self.key.public_key().to_vec());
        let of_server = BTreeMap::from([(self.key.key_id().to_owned(), public)]);
        let keys = PublicKeyMap::from([("there".to_owned(), of_server)]);
        let receipt = Receipt::from(Verified::check(&pdu, rules, &keys).expect("signed"));
        let started = Instant::now();
        let verdict = self.graph.receive(self.room, receipt).await.expect("judged");
        let took = started.elapsed();
        let Verdict::Accepted(placed) = verdict else { panic!("{verdict:?}") };
        self.last = placed.event_id;
        took
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

async fn run(folder: &Path, entries: usize, auth: usize) {
    let store = open(folder);
    let kept = graph(&store);
    let room = room(&kept, entries, auth).await;
    let head = store.read_blocking(|view| kept.reader().head(view, room)).expect("readable").expect("a head");
    let room_id = head.room_id.clone();
    let tip = store.read_blocking(|view| kept.reader().events(view, &[(room, head.extremities[0])])).expect("readable");
    let fork = tip[0].as_ref().expect("there").event_id.clone();
    let branch = |graph, last| Branch { graph, store: &store, room, room_id: &room_id, key: key("there", 2), last };

    let mut theirs = branch(&kept, fork);
    let joined = theirs.receive("m.room.member", EVE, json!({"membership": "join"})).await;
    println!("one event on one branch, states of {entries} entries: {:.2} ms", milliseconds(joined));
    let fork = theirs.last.clone();
    for at in 0..CHANGES {
        let ours = state(ALICE, KIND, &format!("entry {at}"), json!({"by": "us"}));
        kept.send_one(room, ours).await.expect("sent");
    }
    let mut theirs = branch(&kept, fork);
    let mut took = Vec::new();
    for at in CHANGES..2 * CHANGES {
        took.push(theirs.receive(KIND, &format!("entry {at}"), json!({"by": "them"})).await);
    }
    let last = theirs.last.clone();
    println!("first resolution, auth graph of {auth} events read: {:.2} ms", milliseconds(took[0]));
    println!("warm, {} entries differ: {:.2} ms", CHANGES + took.len(), milliseconds(took[took.len() - 1]));
    // As after a restart: the graph remembers nothing of the room.
    let cold = graph(&store);
    let mut theirs = Branch { graph: &cold, store: &store, room, room_id: &room_id, key: key("there", 2), last };
    let took = theirs.receive(KIND, "entry 10", json!({"by": "them again"})).await;
    println!("cold, {} entries differ: {:.2} ms", 2 * CHANGES, milliseconds(took));
}

fn main() {
    let number = |name: &str, usual: usize| {
        let given = std::env::args().find_map(|arg| arg.strip_prefix(&format!("--{name}=")).map(str::to_owned));
        given.map_or(usual, |given| given.parse().expect("a number"))
    };
    let text = |name: &str| std::env::args().find_map(|arg| arg.strip_prefix(&format!("--{name}=")).map(str::to_owned));
    if let (Some(folder), Some(name)) = (text("fill"), text("name")) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (members, entries) = (number("members", 10_000), number("state", 20_000));
        return runtime.block_on(fill::fill(Path::new(&folder), &name, members, entries));
    }
    let (entries, auth) = (number("entries", 50_000), number("auth", 1_000_000));
    assert!(entries >= 2 * CHANGES && auth >= entries, "there must be enough to differ in");
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(folder.path(), entries, auth));
}
