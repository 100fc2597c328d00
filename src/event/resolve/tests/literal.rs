//! The specification's text, sentence by sentence, over sets and maps of event ids: slow, and as plain as it can be.
//!
//! Shared with the tests of the graph (`tests/it/graph/convergence`): what it speaks of comes from `super::subject`.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ruma::OwnedEventId;

use super::subject::{Entry, Level, Pdu, PowerLevels, Rules, auth};

pub(super) type State = BTreeMap<Entry, OwnedEventId>;
pub(super) type Events = BTreeMap<OwnedEventId, Pdu>;
pub(super) type Ids = BTreeSet<OwnedEventId>;

/// The room, as the text sees it.
pub(super) struct Text<'a> {
    pub(super) events: &'a Events,
    pub(super) rules: &'a Rules,
    /// The create event, which the id of a room of version 12 names.
    pub(super) create: &'a OwnedEventId,
    /// Version 2.1.
    pub(super) is_2_1: bool,
    /// "The events in the auth chain of P which also belong to the full conflicted set": followed through any events,
    /// and not only through those of the set.
    pub(super) follows_all: bool,
}

fn key_of(event: &Pdu) -> Entry {
    (event.kind().to_owned(), event.state_key().unwrap().to_owned())
}

fn is_levels(event: &Pdu) -> bool {
    event.kind() == "m.room.power_levels" && event.state_key() == Some("")
}

impl Text<'_> {
    fn event(&self, id: &OwnedEventId) -> &Pdu {
        &self.events[id]
    }

    /// > A *power event* is a state event with type `m.room.power_levels` or `m.room.join_rules`, or a state event with type
    /// > `m.room.member` where the `membership` is `leave` or `ban` and the `sender` does not match the `state_key`.
    fn is_power_event(&self, id: &OwnedEventId) -> bool {
        let event = self.event(id);
        let membership: Option<String> = event.content_field("membership");
        let removes = matches!(membership.as_deref(), Some("leave" | "ban"));
        matches!(event.kind(), "m.room.power_levels" | "m.room.join_rules")
            || (event.kind() == "m.room.member" && removes && event.state_key() != Some(event.sender().as_str()))
    }

    /// > If a given key *K* is present in every *Si* with the same value *V* in each state map, then the pair (*K*, *V*)
    /// > belongs to the *unconflicted state map*. Otherwise, *V* belongs to the *conflicted state set*.
    pub(super) fn split(&self, states: &[&State]) -> (State, Ids) {
        let (mut unconflicted, mut conflicted) = (State::new(), Ids::new());
        for (key, value) in states.iter().flat_map(|state| state.iter()) {
            if states.iter().all(|state| state.get(key) == Some(value)) {
                unconflicted.insert(key.clone(), value.clone());
            } else {
                conflicted.insert(value.clone());
            }
        }
        (unconflicted, conflicted)
    }

    /// > The *auth chain* of an event *E* is the set containing all of *E*'s auth events, all of *their* auth events, and so
    /// > on recursively.
    pub(super) fn auth_chain(&self, id: &OwnedEventId) -> Ids {
        let mut chain = Ids::new();
        let mut open = self.event(id).auth_events().to_vec();
        while let Some(id) = open.pop() {
            if chain.insert(id.clone()) {
                open.extend(self.event(&id).auth_events().to_vec());
            }
        }
        chain
    }

    /// > the full auth chain for each state *Si*, that is the union of the auth chains for each event in *Si*
    pub(super) fn full_auth_chain(&self, state: &State) -> Ids {
        state.values().flat_map(|id| self.auth_chain(id)).collect()
    }

    /// > If *Ci* is the full auth chain of *Si*, then the auth difference is ∪ *Ci* − ∩ *Ci*.
    pub(super) fn auth_difference(&self, states: &[&State]) -> Ids {
        let chains: Vec<Ids> = states.iter().map(|state| self.full_auth_chain(state)).collect();
        let union: Ids = chains.iter().flatten().cloned().collect();
        union.into_iter().filter(|id| !chains.iter().all(|chain| chain.contains(id))).collect()
    }

    /// > Starting from an event in the *conflicted state set* and following `auth_events` edges may lead to another event in
    /// > the conflicted state set. The union of all such paths between any pair of events in the conflicted state set
    /// > (including endpoints) forms a subgraph of the original `auth_event` graph.
    pub(super) fn conflicted_subgraph(&self, conflicted: &Ids) -> Ids {
        let mut subgraph = Ids::new();
        for start in conflicted {
            self.add_paths(conflicted, &mut vec![start.clone()], &mut subgraph);
        }
        subgraph
    }

    fn add_paths(&self, conflicted: &Ids, path: &mut Vec<OwnedEventId>, subgraph: &mut Ids) {
        for cited in self.event(path.last().unwrap()).auth_events().to_vec() {
            path.push(cited.clone());
            if conflicted.contains(&cited) {
                subgraph.extend(path.iter().cloned());
            }
            self.add_paths(conflicted, path, subgraph);
            path.pop();
        }
    }

    /// > The *full conflicted set* is the union of the conflicted state set \[, the conflicted state subgraph,\] and the auth
    /// > difference.
    pub(super) fn full_conflicted_set(&self, states: &[&State]) -> Ids {
        let (_, conflicted) = self.split(states);
        let mut full = self.auth_difference(states);
        if self.is_2_1 {
            full.extend(self.conflicted_subgraph(&conflicted));
        }
        full.extend(conflicted);
        full
    }

    /// > *x*'s sender has *greater* power level than *y*'s sender, when looking at their respective `auth_event`s
    fn level_of_sender(&self, id: &OwnedEventId) -> Level {
        let event = self.event(id);
        let mut cited = event.auth_events().to_vec();
        if self.is_2_1 {
            cited.push(self.create.clone());
        }
        let find = |kind: &str| cited.iter().map(|id| self.event(id)).find(|event| event.is_state(kind, ""));
        find("m.room.create").map_or(Level::Finite(0), |create| {
            PowerLevels::new(create, find("m.room.power_levels"), self.rules).of(event.sender())
        })
    }

    fn compare_power(&self, x: &OwnedEventId, y: &OwnedEventId) -> Ordering {
        let by_level = self.level_of_sender(y).cmp(&self.level_of_sender(x));
        by_level.then_with(|| self.compare_time(x, y))
    }

    fn compare_time(&self, x: &OwnedEventId, y: &OwnedEventId) -> Ordering {
        let by_time = self.event(x).claimed_server_ts().cmp(&self.event(y).claimed_server_ts());
        by_time.then_with(|| x.as_str().cmp(y.as_str()))
    }

    /// > sorting the events using Kahn's algorithm for topological sorting, and at each step selecting, among all the
    /// > candidate vertices, the smallest vertex using the above comparison relation.
    fn reverse_topological_power_ordering(&self, mut open: Ids) -> Vec<OwnedEventId> {
        let mut ordered = Vec::new();
        while !open.is_empty() {
            let is_candidate = |id: &&OwnedEventId| !self.event(id).auth_events().iter().any(|id| open.contains(id));
            let next = open.iter().filter(is_candidate).min_by(|x, y| self.compare_power(x, y)).unwrap().clone();
            open.remove(&next);
            ordered.push(next);
        }
        ordered
    }

    /// > the `m.room.power_levels` event in the `auth_events`
    fn cited_levels(&self, id: &OwnedEventId) -> Option<OwnedEventId> {
        self.event(id).auth_events().iter().find(|id| is_levels(self.event(id))).cloned()
    }

    /// > Find the smallest index *j* ≥ 1 for which *ej* belongs to the mainline of *P*. If such a *j* exists, then *ej* =
    /// > *Pi* for some unique index *i* ≥ 0. Otherwise set *i* = ∞.
    fn mainline_position(&self, mainline: &[OwnedEventId], id: &OwnedEventId) -> usize {
        let mut next = self.cited_levels(id);
        while let Some(id) = next {
            if let Some(index) = mainline.iter().position(|one| *one == id) {
                return index;
            }
            next = self.cited_levels(&id);
        }
        usize::MAX
    }

    fn mainline_ordering(&self, levels: Option<&OwnedEventId>, events: Ids) -> Vec<OwnedEventId> {
        let mut mainline = Vec::new();
        let mut next = levels.cloned();
        while let Some(id) = next {
            next = self.cited_levels(&id);
            mainline.push(id);
        }
        let mut events: Vec<OwnedEventId> = events.into_iter().collect();
        events.sort_by(|x, y| {
            let (of_x, of_y) = (self.mainline_position(&mainline, x), self.mainline_position(&mainline, y));
            of_y.cmp(&of_x).then_with(|| self.compare_time(x, y))
        });
        events
    }

    /// > If a `(event_type, state_key)` key that is required for checking the authorisation rules is not present in the
    /// > state, then the appropriate state event from the event's `auth_events` is used if the auth event is not rejected.
    fn iterative_auth_checks(&self, mut state: State, events: &[OwnedEventId]) -> State {
        for id in events {
            let event = self.event(id);
            let find = |kind: &str, key: &str| {
                let in_state = state.get(&(kind.to_owned(), key.to_owned())).map(|id| self.event(id));
                let usable = |event: &&Pdu| event.is_state(kind, key) && !event.is_rejected();
                let cited = || event.auth_events().iter().map(|id| self.event(id)).find(usable);
                let implied = || Some(self.event(self.create)).filter(|create| self.is_2_1 && usable(create));
                in_state.or_else(cited).or_else(implied).cloned()
            };
            if auth::check(event, self.rules, find).is_ok() {
                state.insert(key_of(event), id.clone());
            }
        }
        state
    }

    /// The events of step 1.
    pub(super) fn picked(&self, full: &Ids) -> Ids {
        let mut picked = Ids::new();
        let mut open: Vec<OwnedEventId> = full.iter().filter(|id| self.is_power_event(id)).cloned().collect();
        while let Some(id) = open.pop() {
            if !picked.insert(id.clone()) {
                continue;
            }
            if self.follows_all {
                picked.extend(self.auth_chain(&id).intersection(full).cloned());
            } else {
                open.extend(self.event(&id).auth_events().iter().filter(|id| full.contains(*id)).cloned());
            }
        }
        picked
    }

    /// > The *resolution* of a set of states is obtained as follows
    pub(super) fn resolve(&self, states: &[&State]) -> State {
        let (unconflicted, _) = self.split(states);
        let full = self.full_conflicted_set(states);
        let picked = self.picked(&full);
        let rest: Ids = full.difference(&picked).cloned().collect();
        let start = if self.is_2_1 { State::new() } else { unconflicted.clone() };
        let partial = self.iterative_auth_checks(start, &self.reverse_topological_power_ordering(picked));
        let levels = partial.get(&("m.room.power_levels".to_owned(), String::new())).cloned();
        let mut result = self.iterative_auth_checks(partial, &self.mainline_ordering(levels.as_ref(), rest));
        result.extend(unconflicted);
        result
    }

    /// Version 1. Where its text says nothing, see the documentation of `v1`.
    pub(super) fn resolve_1(&self, states: &[&State]) -> State {
        let mut values: BTreeMap<Entry, Ids> = BTreeMap::new();
        for (key, id) in states.iter().flat_map(|state| state.iter()) {
            values.entry(key.clone()).or_default().insert(id.clone());
        }
        let conflicts = values.iter().filter(|(_, ids)| ids.len() > 1);
        let mut result: State = values
            .iter()
            .filter(|(_, ids)| ids.len() == 1)
            .map(|(key, ids)| (key.clone(), ids.first().unwrap().clone()))
            .collect();
        // > Sort the list by ascending `depth` then descending `sha1(event_id)`.
        let sorted = |ids: &Ids| {
            let mut list: Vec<OwnedEventId> = ids.iter().cloned().collect();
            list.sort_by_key(|id| {
                let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, id.as_bytes()).as_ref().to_vec();
                (self.event(id).depth(), Reverse(sha1))
            });
            list
        };
        let allows = |state: &State, id: &OwnedEventId| {
            let find =
                |kind: &str, key: &str| state.get(&(kind.to_owned(), key.to_owned())).map(|id| self.event(id).clone());
            auth::check(self.event(id), self.rules, find).is_ok()
        };
        for kind in ["m.room.power_levels", "m.room.join_rules", "m.room.member"] {
            let before = result.clone();
            for (key, ids) in conflicts.clone().filter(|(key, _)| key.0 == kind) {
                let mut state = before.clone();
                let list = sorted(ids);
                // > Add the first event in the list to *R*. For each subsequent event in the list, check that the event
                // > would be allowed by the authorisation rules for a room in state *R*. (…) If it would not be allowed,
                // > stop.
                state.insert(key.clone(), list[0].clone());
                for id in &list[1..] {
                    if !allows(&state, id) {
                        break;
                    }
                    state.insert(key.clone(), id.clone());
                }
                result.insert(key.clone(), state[key].clone());
            }
        }
        let before = result.clone();
        for (key, ids) in conflicts.filter(|(key, _)| !before.contains_key(*key)) {
            // > just pick the event with the highest depth and lowest `sha1(event_id)` that passes authentication in *R*
            let list = sorted(ids);
            let choice = list.iter().rev().find(|id| allows(&before, id)).unwrap_or(&list[0]);
            result.insert(key.clone(), choice.clone());
        }
        result
    }
}
