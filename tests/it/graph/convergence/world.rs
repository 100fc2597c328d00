//! Random rooms: events of several servers, good and bad, with what the specification's text says of each of them.

use std::collections::{BTreeMap, BTreeSet};

use myelin::{
    base::random::Random,
    event::{Pdu, Rules, Template, Verified, auth, build, version},
    graph::{Receipt, RoomNo, Verdict},
    store::engine::memory::Memory,
};
use ruma::{
    OwnedEventId, RoomVersionId, room_version_rules::StateResolutionVersion, serde::Base64, signatures::PublicKeyMap,
};
use serde_json::{Value, json};

use super::literal::{Events, State, Text};
use crate::graph::rig::{ALICE, Rig, content, key_of, room, user};

const DAVE: &str = "@dave:here";
const BOB: &str = "@bob:there";
const ERIN: &str = "@erin:there";
const CAROL: &str = "@carol:elsewhere";
const USERS: [&str; 5] = [ALICE, BOB, CAROL, DAVE, ERIN];
const SERVERS: [(&str, u8); 3] = [("here", 1), ("there", 2), ("elsewhere", 3)];

/// How far back the previous events of a new one lie.
const REACH: usize = 7;

/// Choices that a seed makes.
pub struct Dice(Random);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Random::seeded(seed))
    }

    /// A number below `count`.
    pub fn below(&self, count: usize) -> usize {
        usize::try_from(self.0.u64() % u64::try_from(count).unwrap()).unwrap()
    }

    /// True once in `of` times.
    pub fn once_in(&self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A room of one version with its first events, as each engine has it from the start.
pub struct Base {
    pub memory: Memory,
    pub no: RoomNo,
    version: RoomVersionId,
    events: Vec<Pdu>,
}

impl Base {
    pub async fn new(version: &RoomVersionId) -> Self {
        let memory = Memory::new();
        let rig = Rig::over(memory.clone());
        let no = rig.try_create(version, room(ALICE, "public", version)).await.unwrap();
        let rules = version::rules(version).unwrap();
        let events = rig.arrived(no).into_iter();
        let events = events.map(|event| Pdu::from_stored(event.event_id.clone(), event.pdu.clone(), rules).unwrap());
        let base = Self { memory, no, version: version.clone(), events: events.collect() };
        // Who takes part from the start.
        let mut world = World::new(&base, 0);
        for (sender, kind, key, value) in [
            (ALICE, "m.room.power_levels", "", world.levels(&[(BOB, 50), (DAVE, 50)])),
            (BOB, "m.room.member", BOB, json!({"membership": "join"})),
            (CAROL, "m.room.member", CAROL, json!({"membership": "join"})),
            (DAVE, "m.room.member", DAVE, json!({"membership": "join"})),
        ] {
            let prev = vec![world.order.last().unwrap().clone()];
            let sketch = Sketch { sender, kind, state_key: Some(key.to_owned()), value, redacts: None };
            let id = world.add(sketch, prev).unwrap();
            let verdict = rig.graph.receive(no, world.receipt(&id)).await.unwrap();
            assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
        }
        Self { events: world.order.iter().map(|id| world.events[id].clone()).collect(), ..base }
    }
}

/// What somebody sends.
struct Sketch {
    sender: &'static str,
    kind: &'static str,
    state_key: Option<String>,
    value: Value,
    redacts: Option<OwnedEventId>,
}

/// An event, and what the text says of it.
pub struct Judged {
    receipt: Option<Receipt>,
    pub is_rejected: bool,
    /// The state before it.
    pub before: State,
    after: State,
}

pub struct World {
    pub rules: &'static Rules,
    pub events: Events,
    pub judged: BTreeMap<OwnedEventId, Judged>,
    /// In which they were made.
    pub order: Vec<OwnedEventId>,
    /// How many of them each engine has from the start.
    pub known: usize,
    pub dice: Dice,
    keys: PublicKeyMap,
    /// Forks that had to be resolved.
    pub forks: usize,
}

fn entry(kind: &str, state_key: &str) -> (String, String) {
    (kind.to_owned(), state_key.to_owned())
}

impl World {
    pub fn new(base: &Base, seed: u64) -> Self {
        let rules = version::rules(&base.version).unwrap();
        let key = |(server, seed): (&str, u8)| {
            let key = key_of(server, seed);
            (server.to_owned(), BTreeMap::from([(key.key_id().to_owned(), Base64::new(key.public_key().to_vec()))]))
        };
        let keys = SERVERS.into_iter().map(key).collect();
        let (events, judged, order) = (Events::new(), BTreeMap::new(), Vec::new());
        let mut world = Self { rules, events, judged, order, known: 0, dice: Dice::new(seed), keys, forks: 0 };
        let mut state = State::new();
        for pdu in &base.events {
            let before = state.clone();
            state.insert(entry(pdu.kind(), pdu.state_key().unwrap()), pdu.event_id().to_owned());
            world.keep(pdu.clone(), Judged { receipt: None, is_rejected: false, before, after: state.clone() });
        }
        world.known = world.order.len();
        world
    }

    /// A room in which about this many events were sent, all of them before the last.
    pub fn grown(base: &Base, seed: u64, events: usize) -> Self {
        let mut world = Self::new(base, seed);
        let enough = world.known + events;
        for _ in 0..events * 3 {
            if world.order.len() >= enough {
                break;
            }
            let (sketch, prev) = (world.sketch(), world.some_previous());
            world.add(sketch, prev);
        }
        world.close();
        world
    }

    pub fn last(&self) -> &OwnedEventId {
        self.order.last().unwrap()
    }

    pub fn receipt(&self, id: &OwnedEventId) -> Receipt {
        self.judged[id].receipt.clone().unwrap()
    }

    /// The state after an event.
    pub fn after(&self, id: &OwnedEventId) -> &State {
        &self.judged[id].after
    }

    fn keep(&mut self, pdu: Pdu, judged: Judged) -> OwnedEventId {
        let id = pdu.event_id().to_owned();
        self.events.insert(id.clone(), if judged.is_rejected { pdu.rejected() } else { pdu });
        self.judged.insert(id.clone(), judged);
        self.order.push(id.clone());
        id
    }

    /// Events by Alice, whom nothing ever takes out, that have all others before them.
    fn close(&mut self) {
        loop {
            let mut leaves = self.leaves();
            let is_last = leaves.len() <= 10;
            leaves.truncate(10);
            self.add(message(ALICE), leaves).unwrap();
            if is_last {
                return;
            }
        }
    }

    /// Events that no accepted one has before it, not even behind rejected ones.
    fn leaves(&self) -> Vec<OwnedEventId> {
        let mut behind: BTreeSet<OwnedEventId> = BTreeSet::new();
        for id in self.order.iter().rev() {
            if !self.judged[id].is_rejected || behind.contains(id) {
                behind.extend(self.events[id].prev_events().iter().cloned());
            }
        }
        self.order.iter().filter(|id| !self.judged[*id].is_rejected && !behind.contains(*id)).cloned().collect()
    }

    fn some_previous(&self) -> Vec<OwnedEventId> {
        let first = self.order.len().saturating_sub(REACH).max(self.known - 1);
        let recent = &self.order[first..];
        let count = 1 + self.dice.below(3).saturating_sub(self.dice.below(2));
        let chosen: BTreeSet<&OwnedEventId> = (0..count).map(|_| &recent[self.dice.below(recent.len())]).collect();
        chosen.into_iter().cloned().collect()
    }

    fn levels(&self, others: &[(&str, i64)]) -> Value {
        let mut users = json!({});
        if !self.rules.authorization.explicitly_privilege_room_creators {
            users[ALICE] = json!(100);
        }
        for (user, level) in others {
            users[*user] = json!(level);
        }
        json!({"users": users, "state_default": 25, "redact": 50, "events": {"m.room.power_levels": 50}})
    }

    fn sketch(&self) -> Sketch {
        let dice = &self.dice;
        let (sender, target) = (USERS[dice.below(5)], USERS[1 + dice.below(4)]);
        let of = |kind, state_key: &str, value| Sketch {
            sender,
            kind,
            state_key: Some(state_key.to_owned()),
            value,
            redacts: None,
        };
        let number = dice.below(100);
        match dice.below(16) {
            0 | 1 => of("m.room.topic", "", json!({"topic": number})),
            2 => of("m.room.name", "", json!({"name": number})),
            3 | 4 => {
                let level = [0, 25, 50, 75][dice.below(4)];
                let others = [(BOB, 50), (DAVE, 50), (CAROL, 25)];
                let mut others: Vec<_> = others.into_iter().filter(|(user, _)| *user != target).collect();
                others.push((target, level));
                of("m.room.power_levels", "", self.levels(&others))
            }
            5 | 6 => of("m.room.member", sender, json!({"membership": "join", "displayname": number.to_string()})),
            7 if sender != ALICE => of("m.room.member", sender, json!({"membership": "leave"})),
            8 => of("m.room.member", target, json!({"membership": "leave"})),
            9 | 10 => of("m.room.member", target, json!({"membership": "ban"})),
            11 => of("m.room.member", target, json!({"membership": "invite"})),
            12 => of("m.room.join_rules", "", json!({"join_rule": if dice.once_in(2) { "public" } else { "invite" }})),
            13 => of("org.example.own", sender, json!({"number": number})),
            14 => {
                // A redaction of power levels takes `invite` away before version 11, so that what is judged by them depends
                // on when it came: servers go apart there, by the specification.
                let targets =
                    self.order[self.known..].iter().filter(|id| self.events[*id].kind() != "m.room.power_levels");
                let targets: Vec<_> = targets.collect();
                match targets.get(dice.below(targets.len().max(1))) {
                    Some(target) => redaction(sender, (*target).clone()),
                    None => message(sender),
                }
            }
            _ => message(sender),
        }
    }

    /// Adds an event. Of those that break a rule only some are kept.
    fn add(&mut self, sketch: Sketch, prev: Vec<OwnedEventId>) -> Option<OwnedEventId> {
        let states: Vec<&State> = prev.iter().map(|id| self.after(id)).collect();
        let before = self.resolved(&states);
        self.forks += usize::from(states.windows(2).any(|pair| pair[0] != pair[1]));
        // Now and then somebody cites what was true once.
        let is_stale = self.order.len() > self.known && self.dice.once_in(8) && sketch.sender != ALICE;
        let cited = if is_stale { self.after(&self.order[self.dice.below(self.order.len())]) } else { &before };
        let receipt = Receipt::from(self.build(&sketch, &prev, cited));
        let pdu = receipt.event.pdu().clone();
        let is_rejected = !self.allowed_by_auth_events(&pdu) || !self.allowed_in(&pdu, &before);
        if is_rejected && !self.dice.once_in(3) {
            return None;
        }
        let mut after = before.clone();
        if let Some(state_key) = pdu.state_key().filter(|_| !is_rejected) {
            after.insert(entry(pdu.kind(), state_key), pdu.event_id().to_owned());
        }
        Some(self.keep(pdu, Judged { receipt: Some(receipt), is_rejected, before, after }))
    }

    fn build(&self, sketch: &Sketch, prev: &[OwnedEventId], cited: &State) -> Verified {
        let sender = user(sketch.sender);
        let value = content(sketch.value.clone());
        let raw = serde_json::value::to_raw_value(&value).unwrap();
        let selected = auth::selection(sketch.kind, &sender, sketch.state_key.as_deref(), &raw, self.rules).unwrap();
        let server = sender.server_name();
        let number = self.order.len();
        let event_id = version::has_event_ids(self.rules)
            .then(|| OwnedEventId::try_from(format!("${number}-{}:{server}", self.dice.0.u64())).unwrap());
        let depth = prev.iter().map(|id| self.events[id].depth()).max().unwrap_or_default() + 1;
        let template = Template {
            room_id: Some(self.events[&self.order[0]].room_id().to_owned()),
            event_id,
            kind: sketch.kind.to_owned(),
            state_key: sketch.state_key.clone(),
            content: value,
            redacts: sketch.redacts.clone(),
            origin_server_ts: u64::try_from(self.dice.below(4)).unwrap(),
            prev_events: prev.iter().map(|id| self.cite(id)).collect(),
            auth_events: selected.iter().filter_map(|entry| cited.get(entry)).map(|id| self.cite(id)).collect(),
            depth: depth + u64::try_from(self.dice.below(3)).unwrap(),
            sender: sender.clone(),
        };
        let (_, seed) = SERVERS.into_iter().find(|(name, _)| *name == server.as_str()).unwrap();
        let pdu = build::build(template, self.rules, &key_of(server.as_str(), seed)).unwrap();
        Verified::check(&pdu, self.rules, &self.keys).unwrap()
    }

    fn cite(&self, id: &OwnedEventId) -> build::Citation {
        id.clone().into()
    }

    fn allowed_in(&self, pdu: &Pdu, state: &State) -> bool {
        let find = |kind: &str, key: &str| state.get(&entry(kind, key)).map(|id| self.events[id].clone());
        auth::check(pdu, self.rules, find).is_ok()
    }

    fn allowed_by_auth_events(&self, pdu: &Pdu) -> bool {
        if auth::check_citations(pdu, self.rules, |id| self.events.get(id).cloned()).is_err() {
            return false;
        }
        let mut cited = pdu.auth_events().to_vec();
        cited.push(self.order[0].clone());
        let state =
            cited.into_iter().map(|id| (entry(self.events[&id].kind(), self.events[&id].state_key().unwrap()), id));
        self.allowed_in(pdu, &state.collect())
    }

    /// The one state of several, by the text.
    pub fn resolved(&self, states: &[&State]) -> State {
        if states.windows(2).all(|pair| pair[0] == pair[1]) {
            return states[0].clone();
        }
        let (is_1, is_2_1) = match &self.rules.state_res {
            StateResolutionVersion::V2(tweaks) => (false, tweaks.consider_conflicted_state_subgraph),
            _ => (true, false),
        };
        let create = &self.order[0];
        let text = Text { events: &self.events, rules: self.rules, create, is_2_1, follows_all: false };
        if is_1 { text.resolve_1(states) } else { text.resolve(states) }
    }

    /// All that was sent after the first events.
    pub fn sent(&self) -> &[OwnedEventId] {
        &self.order[self.known..]
    }
}

fn message(sender: &'static str) -> Sketch {
    Sketch { sender, kind: "m.room.message", state_key: None, value: json!({"body": "said"}), redacts: None }
}

fn redaction(sender: &'static str, target: OwnedEventId) -> Sketch {
    Sketch { sender, kind: "m.room.redaction", state_key: None, value: json!({}), redacts: Some(target) }
}
