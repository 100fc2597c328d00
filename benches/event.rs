//! What events cost: canonical JSON, hashes, signatures, redaction, auth rules, reading what is stored, state resolution.
//!
//! `cargo bench --bench event`. The figures that count are in `docs/performance.md`.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark stops when its own data is wrong")]
#![allow(missing_docs, reason = "criterion's macros write functions")]

use std::{collections::BTreeMap, convert::Infallible, hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use myelin::event::{
    Pdu, Rules, SigningKey, Template, Verified, auth,
    build::{self, Citation},
    json,
    power::{Action, PowerLevels},
    resolve::{AuthGraph, Conflict, Entry, Room, Seq, resolve},
    version,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId, ServerName, UserId, canonical_json::CanonicalJsonObject};

const VERSION: RoomVersionId = RoomVersionId::V11;

fn rules() -> &'static Rules {
    version::rules(&VERSION).expect("version 11 is supported")
}

fn key() -> SigningKey {
    let server_name = <&ServerName>::try_from("example.org").expect("a server name");
    SigningKey::from_seed(&[7; 32], "a_key", server_name).expect("a key")
}

fn object(json: &str) -> CanonicalJsonObject {
    json::parse(json.as_bytes()).expect("canonical JSON")
}

fn id(text: &str) -> OwnedEventId {
    OwnedEventId::try_from(text).expect("an event id")
}

/// An event as a client sends one every second: a text of 100 bytes, one previous and three auth events.
fn template(kind: &str, state_key: Option<&str>, content: &str) -> Template {
    let cited = |letter: &str| Citation::from(id(&format!("${}", letter.repeat(43))));
    Template {
        room_id: Some(OwnedRoomId::try_from("!room:example.org").expect("a room id")),
        event_id: None,
        sender: "@alice:example.org".try_into().expect("a user id"),
        kind: kind.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: object(content),
        redacts: None,
        origin_server_ts: 1_700_000_000_000,
        prev_events: vec![cited("p")],
        auth_events: vec![cited("a"), cited("b"), cited("c")],
        depth: 1_234,
    }
}

fn message() -> Template {
    let body = "a message of usual length ".repeat(4);
    template("m.room.message", None, &format!(r#"{{"body":"{body}","m.mentions":{{}},"msgtype":"m.text"}}"#))
}

fn built(template: Template) -> Pdu {
    build::build(template, rules(), &key()).expect("an event")
}

/// The state that judges a message: create, levels of `users` users, the sender's membership.
fn state(users: usize) -> Vec<Pdu> {
    let levels: Vec<String> = (0..users).map(|at| format!(r#""@user{at}:example.org":50"#)).collect();
    let events =
        r#""m.room.name":50,"m.room.power_levels":100,"m.room.history_visibility":100,"m.room.encryption":100"#;
    let levels = format!(r#"{{"users":{{"@alice:example.org":100,{}}},"events":{{{events}}}}}"#, levels.join(","));
    vec![
        built(template("m.room.create", Some(""), r#"{"room_version":"11"}"#)),
        built(template("m.room.power_levels", Some(""), &levels)),
        built(template("m.room.member", Some("@alice:example.org"), r#"{"membership":"join"}"#)),
    ]
}

fn writing(c: &mut Criterion) {
    let (rules, key) = (rules(), key());
    let pdu = built(message());
    let object = pdu.to_object().expect("an object");
    c.bench_function("canonical JSON, write", |b| b.iter(|| json::to_bytes(black_box(&object))));
    c.bench_function("reference hash", |b| b.iter(|| black_box(&pdu).reference_hash(rules)));
    c.bench_function("Ed25519, sign 700 bytes", |b| b.iter(|| key.sign_bytes(black_box(&[9; 700]))));
    let template = message();
    c.bench_function("build (hash, sign, id)", |b| b.iter(|| build::build(black_box(&template).clone(), rules, &key)));
    c.bench_function("clone of the template", |b| b.iter(|| black_box(&template).clone()));
}

fn reading(c: &mut Criterion) {
    let (rules, key) = (rules(), key());
    let pdu = built(message());
    let (event_id, bytes) = (pdu.event_id().to_owned(), pdu.json().clone());
    c.bench_function("canonical JSON, parse", |b| b.iter(|| json::parse(black_box(&bytes))));
    c.bench_function("parse stored", |b| b.iter(|| Pdu::from_stored(event_id.clone(), bytes.clone(), rules)));
    c.bench_function("parse received (format, id)", |b| b.iter(|| Pdu::parse(black_box(&bytes), rules)));
    let public = ruma::serde::Base64::new(key.public_key().to_vec());
    let keys = [(key.server_name().to_owned(), [(key.key_id().to_owned(), public)].into())].into();
    c.bench_function("verify (signature, hash)", |b| b.iter(|| Verified::check(black_box(&pdu), rules, &keys)));
    c.bench_function("redact", |b| b.iter(|| black_box(&pdu).redacted(rules)));
}

fn judging(c: &mut Criterion) {
    let rules = rules();
    let message = built(message());
    for users in [3, 1_000] {
        let state = state(users);
        let find = |kind: &str, key: &str| state.iter().find(|event| event.is_state(kind, key)).cloned();
        let name = format!("auth check, {users} users in the levels");
        c.bench_function(&name, |b| b.iter(|| auth::check(black_box(&message), rules, find).expect("allowed")));
        let alice = <&UserId>::try_from("@alice:example.org").expect("a user id");
        let name = format!("read levels, {users} users");
        c.bench_function(&name, |b| {
            b.iter(|| {
                let levels = PowerLevels::new(&state[0], Some(&state[1]), rules);
                levels.of(alice) >= levels.to(Action::Redact)
            });
        });
    }
    let content = message.content();
    c.bench_function("auth events selection", |b| {
        b.iter(|| auth::selection(message.kind(), message.sender(), None, black_box(content), rules));
    });
}

/// A room of Alice and many others, of whom 20 are somebody else in one of two states.
struct Crowd {
    events: BTreeMap<Seq, Pdu>,
    state: BTreeMap<Entry, Seq>,
    graph: Arc<AuthGraph>,
    agreed: Vec<Seq>,
}

impl Crowd {
    const ALICE: Seq = 2;
    const LEVELS: Seq = 3;
    const RULES: Seq = 4;
    const CONFLICTS: Seq = 20;

    /// The room, in which this many have joined, and its conflicts.
    fn of(members: Seq) -> (Self, Vec<Conflict>) {
        let mut crowd = Self {
            events: BTreeMap::new(),
            state: BTreeMap::new(),
            graph: Arc::default(),
            agreed: vec![1, Self::ALICE, Self::LEVELS, Self::RULES],
        };
        let mut graph = AuthGraph::with_capacity(members as usize + 24);
        crowd.add(1, template("m.room.create", Some(""), r#"{"room_version":"11"}"#));
        let alice = "@alice:example.org";
        crowd.add(Self::ALICE, template("m.room.member", Some(alice), r#"{"membership":"join"}"#));
        crowd.add(Self::LEVELS, template("m.room.power_levels", Some(""), r#"{"users":{"@alice:example.org":100}}"#));
        crowd.add(Self::RULES, template("m.room.join_rules", Some(""), r#"{"join_rule":"public"}"#));
        let cited: [&[Seq]; 4] = [&[], &[1], &[1, 2], &[1, 2, 3]];
        for (seq, cited) in (1..).zip(cited) {
            graph.push(seq, cited.iter().copied()).expect("in order");
        }
        let (first, renamed) = (Self::RULES + 1, Self::RULES + 1 + members);
        for seq in first..renamed {
            graph.push(seq, [1, Self::LEVELS, Self::RULES]).expect("in order");
        }
        crowd.agreed.extend(first + Self::CONFLICTS..renamed);
        let mut conflicts = Vec::new();
        for at in 0..Self::CONFLICTS {
            graph.push(renamed + at, [1, Self::LEVELS, Self::RULES, first + at]).expect("in order");
            let user = format!("@user{at}:example.org");
            for (seq, content) in
                [(first + at, r#"{"membership":"join"}"#), (renamed + at, r#"{"displayname":"U","membership":"join"}"#)]
            {
                let sender = user.as_str().try_into().expect("a user id");
                let template = template("m.room.member", Some(&user), content);
                let template = Template { sender, origin_server_ts: u64::from(seq), ..template };
                crowd.events.insert(seq, built(template));
            }
            let entry = ("m.room.member".to_owned(), user);
            conflicts.push(Conflict { entry, seqs: vec![Some(first + at), Some(renamed + at)] });
        }
        crowd.graph = Arc::new(graph);
        (crowd, conflicts)
    }

    fn add(&mut self, seq: Seq, template: Template) {
        let pdu = built(template);
        self.state.insert((pdu.kind().to_owned(), pdu.state_key().unwrap_or_default().to_owned()), seq);
        self.events.insert(seq, pdu);
    }
}

impl Room for Crowd {
    type Error = Infallible;

    fn events(&self, seqs: &[Seq]) -> Result<Vec<Pdu>, Infallible> {
        Ok(seqs.iter().map(|seq| self.events[seq].clone()).collect())
    }

    fn agreed(&self, entries: &[Entry]) -> Result<Vec<Option<Seq>>, Infallible> {
        Ok(entries.iter().map(|entry| self.state.get(entry).copied()).collect())
    }

    fn all_agreed(&self) -> Result<Vec<Seq>, Infallible> {
        Ok(self.agreed.clone())
    }

    fn auth_graph(&self) -> Result<Arc<AuthGraph>, Infallible> {
        Ok(Arc::clone(&self.graph))
    }
}

fn resolving(c: &mut Criterion) {
    for members in [1_000, 1_000_000] {
        let (crowd, conflicts) = Crowd::of(members);
        let decided = resolve(&crowd, rules(), &conflicts).expect("resolved");
        assert!(decided.len() == conflicts.len() && decided.iter().all(|decision| decision.seq > Some(members)));
        let name = format!("resolve 20 conflicts, {members} state events");
        c.bench_function(&name, |b| b.iter(|| resolve(&crowd, rules(), black_box(&conflicts))));
    }
}

criterion_group!(benches, writing, reading, judging, resolving);
criterion_main!(benches);
