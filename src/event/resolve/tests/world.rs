//! Small rooms: events with the states before and after them, all in memory.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use ruma::{OwnedEventId, RoomVersionId, canonical_json::CanonicalJsonObject};
use serde_json::{Value, json};

use super::{
    super::{AuthGraph, Conflict, Decision, Entry, ResolveError, Room, Seq, conflicted::full_conflicted_set, resolve},
    literal::{Events, Ids, State},
};
use crate::event::{Pdu, Rules, auth, version};

pub(super) const ALICE: &str = "@alice:a.org";
pub(super) const BOB: &str = "@bob:b.org";
pub(super) const CAROL: &str = "@carol:a.org";
pub(super) const DAVE: &str = "@dave:d.org";

pub(super) fn entry(kind: &str, state_key: &str) -> Entry {
    (kind.to_owned(), state_key.to_owned())
}

/// An event to be made.
#[derive(Clone)]
pub(super) struct Sketch {
    pub(super) kind: &'static str,
    pub(super) state_key: String,
    pub(super) sender: &'static str,
    pub(super) content: Value,
    pub(super) ts: i64,
}

pub(super) fn sketch(sender: &'static str, kind: &'static str, state_key: &str, content: Value) -> Sketch {
    Sketch { kind, state_key: state_key.to_owned(), sender, content, ts: 0 }
}

pub(super) fn member(sender: &'static str, target: &str, membership: &str) -> Sketch {
    sketch(sender, "m.room.member", target, json!({ "membership": membership }))
}

impl Sketch {
    pub(super) fn at(self, ts: i64) -> Self {
        Self { ts, ..self }
    }
}

/// A room, and what is asked of it.
pub(super) struct World {
    pub(super) rules: &'static Rules,
    pub(super) events: Events,
    /// The id of each number, from 1 on.
    pub(super) ids: Vec<OwnedEventId>,
    pub(super) seqs: BTreeMap<OwnedEventId, Seq>,
    /// The state after each event.
    pub(super) after: BTreeMap<OwnedEventId, State>,
    /// Makes the order of the ids another one.
    salt: u64,
    has_ids: bool,
}

impl World {
    /// A room with nothing but its create event, by Alice.
    pub(super) fn new(version: &RoomVersionId, salt: u64) -> Self {
        let rules = version::rules(version).unwrap();
        let mut world = Self {
            rules,
            events: Events::default(),
            ids: Vec::new(),
            seqs: BTreeMap::new(),
            after: BTreeMap::new(),
            salt,
            has_ids: version::has_event_ids(rules),
        };
        let content = json!({"creator": ALICE, "room_version": version.as_str()});
        world.place(sketch(ALICE, "m.room.create", "", content), &[], State::new(), false);
        world
    }

    /// A room in which Alice made Bob moderator and Carol is, too, open to all.
    pub(super) fn usual(version: &RoomVersionId, salt: u64) -> Self {
        let mut world = Self::new(version, salt);
        world.then(member(ALICE, ALICE, "join"));
        let levels = world.levels(json!({ALICE: 100, BOB: 50}));
        world.then(levels);
        world.then(sketch(ALICE, "m.room.join_rules", "", json!({"join_rule": "public"})));
        world.then(member(BOB, BOB, "join"));
        world.then(member(CAROL, CAROL, "join"));
        world
    }

    /// Power levels by Alice for these users; as the creator of a room of version 12 she has none.
    pub(super) fn levels(&self, users: Value) -> Sketch {
        let mut users = users;
        if self.rules.authorization.explicitly_privilege_room_creators {
            users.as_object_mut().unwrap().remove(ALICE);
        }
        sketch(ALICE, "m.room.power_levels", "", json!({"users": users, "events": {"m.room.power_levels": 50}}))
    }

    pub(super) fn create(&self) -> &OwnedEventId {
        &self.ids[0]
    }

    pub(super) fn last(&self) -> OwnedEventId {
        self.ids.last().unwrap().clone()
    }

    /// Adds an event that must be allowed, after the last one.
    pub(super) fn then(&mut self, sketch: Sketch) -> OwnedEventId {
        let last = self.last();
        self.after(&last, sketch)
    }

    /// Adds an event that must be allowed, after another one.
    pub(super) fn after(&mut self, prev: &OwnedEventId, sketch: Sketch) -> OwnedEventId {
        let kind = (sketch.kind, sketch.sender);
        self.add(std::slice::from_ref(prev), sketch).unwrap_or_else(|| panic!("{kind:?} is not allowed"))
    }

    /// Adds an event, if the state before it allows it.
    pub(super) fn add(&mut self, prev: &[OwnedEventId], sketch: Sketch) -> Option<OwnedEventId> {
        let states: Vec<&State> = prev.iter().map(|id| &self.after[id]).collect();
        let before = self.resolved(&states);
        let draft = self.draw(&sketch, prev, &before, "$draft:a.org".try_into().unwrap());
        let find = |kind: &str, key: &str| before.get(&entry(kind, key)).map(|id| self.events[id].clone());
        auth::check(&draft, self.rules, find).ok()?;
        self.place(sketch, prev, before, false)
    }

    /// Adds an event whatever the rules say, with this state before it.
    pub(super) fn place(
        &mut self,
        sketch: Sketch,
        prev: &[OwnedEventId],
        before: State,
        is_rejected: bool,
    ) -> Option<OwnedEventId> {
        let number = self.ids.len() + 1;
        let hash = blake3::hash(format!("{} {number}", self.salt).as_bytes()).to_hex();
        let id = if self.has_ids { format!("${}:a.org", &hash[..8]) } else { format!("${}", &hash[..43]) };
        let id = OwnedEventId::try_from(id).unwrap();
        let pdu = self.draw(&sketch, prev, &before, id.clone());
        let mut after = before;
        if !is_rejected {
            after.insert(entry(sketch.kind, &sketch.state_key), id.clone());
        }
        self.events.insert(id.clone(), if is_rejected { pdu.rejected() } else { pdu });
        self.ids.push(id.clone());
        self.seqs.insert(id.clone(), Seq::try_from(number).unwrap());
        self.after.insert(id.clone(), after);
        Some(id)
    }

    /// An event without hash and signature: nothing here looks at them.
    fn draw(&self, sketch: &Sketch, prev: &[OwnedEventId], before: &State, id: OwnedEventId) -> Pdu {
        let cite = |id: &OwnedEventId| if self.has_ids { json!([id, {}]) } else { json!(id) };
        let content = serde_json::value::to_raw_value(&sketch.content).unwrap();
        let sender = sketch.sender.try_into().unwrap();
        let selection = auth::selection(sketch.kind, sender, Some(&sketch.state_key), &content, self.rules).unwrap();
        let auth: Vec<&OwnedEventId> = selection.iter().filter_map(|entry| before.get(entry)).collect();
        let depth = prev.iter().map(|id| self.events[id].depth()).max().map_or(1, |depth| depth + 1);
        let mut event = json!({
            "auth_events": auth.into_iter().map(cite).collect::<Vec<_>>(),
            "content": sketch.content,
            "depth": depth,
            "hashes": {},
            "origin_server_ts": sketch.ts,
            "prev_events": prev.iter().map(cite).collect::<Vec<_>>(),
            "sender": sketch.sender,
            "signatures": {},
            "state_key": sketch.state_key,
            "type": sketch.kind,
        });
        let fields = event.as_object_mut().unwrap();
        if self.has_ids {
            fields.insert("event_id".to_owned(), json!(id));
        }
        let implies_room = version::room_id_is_create_id(self.rules);
        match self.ids.first() {
            Some(create) if implies_room => {
                _ = fields.insert("room_id".to_owned(), json!(create.as_str().replace('$', "!")));
            }
            None if implies_room => {}
            _ => _ = fields.insert("room_id".to_owned(), json!("!room:a.org")),
        }
        let object: CanonicalJsonObject = serde_json::from_value(event).unwrap();
        Pdu::from_stored(id, serde_json::to_vec(&object).unwrap().into(), self.rules).unwrap()
    }

    /// Where the states differ, as the graph finds it.
    pub(super) fn conflicts(&self, states: &[&State]) -> Vec<Conflict> {
        let entries: BTreeSet<&Entry> = states.iter().flat_map(|state| state.keys()).collect();
        let conflict = |entry: &Entry| {
            let seqs: Vec<Option<Seq>> = states.iter().map(|state| state.get(entry).map(|id| self.seqs[id])).collect();
            (!seqs.windows(2).all(|pair| pair[0] == pair[1])).then(|| Conflict { entry: entry.clone(), seqs })
        };
        entries.into_iter().filter_map(conflict).collect()
    }

    pub(super) fn asked<'w>(&'w self, states: &'w [&'w State]) -> Asked<'w> {
        Asked { world: self, states, waves: Cell::new(0), has_asked_all: Cell::new(false), without: None }
    }

    /// The full conflicted set, ours.
    pub(super) fn full_conflicted_set(&self, states: &[&State]) -> Ids {
        let asked = self.asked(states);
        let with_subgraph =
            self.rules.state_res.v2_rules().is_some_and(|rules| rules.consider_conflicted_state_subgraph);
        let graph = asked.auth_graph().unwrap();
        let full = full_conflicted_set(&asked, &graph, &self.conflicts(states), with_subgraph).unwrap();
        full.into_iter().map(|seq| self.ids[seq as usize - 1].clone()).collect()
    }

    /// Ours, as decisions.
    pub(super) fn decisions(&self, states: &[&State]) -> Result<Vec<Decision>, ResolveError<Infallible>> {
        resolve(&self.asked(states), self.rules, &self.conflicts(states))
    }

    /// Ours, as a state.
    pub(super) fn resolved(&self, states: &[&State]) -> State {
        let mut state = states.first().map(|state| (*state).clone()).unwrap_or_default();
        for Decision { entry, seq } in self.decisions(states).unwrap() {
            match seq {
                Some(seq) => _ = state.insert(entry, self.ids[seq as usize - 1].clone()),
                None => _ = state.remove(&entry),
            }
        }
        state
    }
}

/// A room that answers for some states of it.
pub(super) struct Asked<'w> {
    pub(super) world: &'w World,
    states: &'w [&'w State],
    pub(super) waves: Cell<usize>,
    pub(super) has_asked_all: Cell<bool>,
    /// An event that the auth graph does not have.
    pub(super) without: Option<Seq>,
}

impl Room for Asked<'_> {
    type Error = Infallible;

    fn events(&self, seqs: &[Seq]) -> Result<Vec<Pdu>, Infallible> {
        self.waves.set(self.waves.get() + 1);
        Ok(seqs.iter().map(|seq| self.world.events[&self.world.ids[*seq as usize - 1]].clone()).collect())
    }

    fn agreed(&self, entries: &[Entry]) -> Result<Vec<Option<Seq>>, Infallible> {
        self.waves.set(self.waves.get() + 1);
        let conflicts = self.world.conflicts(self.states);
        let find = |wanted: &Entry| {
            assert!(conflicts.iter().all(|conflict| conflict.entry != *wanted), "{wanted:?} is in conflict");
            self.states[0].get(wanted).map(|id| self.world.seqs[id])
        };
        Ok(entries.iter().map(find).collect())
    }

    fn all_agreed(&self) -> Result<Vec<Seq>, Infallible> {
        assert!(!self.has_asked_all.replace(true), "it is asked for once");
        let is_agreed =
            |(entry, id): &(&Entry, &OwnedEventId)| self.states.iter().all(|state| state.get(*entry) == Some(*id));
        Ok(self.states[0].iter().filter(is_agreed).map(|(_, id)| self.world.seqs[id]).collect())
    }

    fn auth_graph(&self) -> Result<Arc<AuthGraph>, Infallible> {
        let mut graph = AuthGraph::new();
        for (id, seq) in self.world.ids.iter().zip(1..).filter(|(_, seq)| Some(*seq) != self.without) {
            let auth: Vec<Seq> = self.world.events[id].auth_events().iter().map(|id| self.world.seqs[id]).collect();
            if graph.push(seq, auth.iter().copied()).is_err() {
                assert!(self.without.is_some(), "auth events come first");
            }
        }
        Ok(Arc::new(graph))
    }
}
