//! Random rooms.
//!
//! Three ways in which the text and `ruma-state-res` (as Synapse, which it follows) are not the same, and which of these is
//! here:
//!
//! - The text wants in step 1 all events *in the auth chain* of a power event that are in the full conflicted set. The
//!   servers follow chains only through events of the set. Ours does as they do: the point of all this is that servers agree.
//!   [`named`](super::named) has a room in which the two pick other events.
//! - The create event is a power event for the servers, not in the text. It is the same in every state of a room, so this
//!   decides nothing, and ours is the text's.
//! - The servers leave out an event of the *state* that was rejected, too; the text speaks of auth events only. Ours is the
//!   text's; no rejected event is ever part of a state here.
//!
//! `ruma-state-res` drops missing events silently. Here they are an error.

use std::{cell::Cell, collections::HashMap};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use ruma::{
    EventId, OwnedEventId, RoomVersionId,
    events::StateEventType,
    room_version_rules::StateResolutionVersion,
    state_res::{self, StateMap, utils::event_id_set::EventIdSet},
};
use serde_json::json;

use super::{
    literal::{Ids, State, Text},
    world::{ALICE, BOB, CAROL, DAVE, Sketch, World, member, sketch},
};

/// One event that somebody tries to send.
#[derive(Clone, Debug)]
struct Try {
    /// After which of the events so far.
    prev: Vec<prop::sample::Index>,
    sender: usize,
    target: usize,
    action: u8,
    level: i64,
    ts: i64,
}

fn any_try() -> impl Strategy<Value = Try> {
    let level = prop::sample::select(vec![0, 25, 50, 75, 100]);
    (prop::collection::vec(any::<prop::sample::Index>(), 1..3), 0_usize..4, 0_usize..4, 0_u8..14, level, 0_i64..4)
        .prop_map(|(prev, sender, target, action, level, ts)| Try { prev, sender, target, action, level, ts })
}

const USERS: [&str; 4] = [ALICE, BOB, CAROL, DAVE];

impl Try {
    fn sketch(&self, world: &World) -> Sketch {
        let (sender, target) = (USERS[self.sender], USERS[self.target]);
        let drawn = match self.action {
            0 | 1 => sketch(sender, "m.room.topic", "", json!({"topic": self.ts})),
            2 => sketch(sender, "m.room.name", "", json!({"name": self.ts})),
            3..=5 => {
                let mut users = json!({ALICE: 100, BOB: 50, CAROL: 50});
                users[target] = json!(self.level);
                Sketch { sender, ..world.levels(users) }
            }
            6 if self.level == 25 => {
                let content = json!({"membership": "join", "join_authorised_via_users_server": target});
                sketch(sender, "m.room.member", sender, content)
            }
            6 => member(sender, sender, "join"),
            7 => member(sender, sender, "leave"),
            8 => member(sender, target, "leave"),
            9 | 10 => member(sender, target, "ban"),
            11 => member(sender, target, "invite"),
            12 => {
                let rule = match self.level {
                    0 => "invite",
                    25 | 50 => "restricted",
                    _ => "public",
                };
                sketch(sender, "m.room.join_rules", "", json!({"join_rule": rule}))
            }
            _ => sketch(sender, "org.example.own", sender, json!({"level": self.level})),
        };
        drawn.at(self.ts)
    }
}

/// A room in which all of this was tried: what the rules allow is in it. Each event follows one or two of the last twelve.
fn grow(version: &RoomVersionId, salt: u64, tries: &[Try]) -> World {
    let mut world = World::usual(version, salt);
    let first = world.ids.len() - 1;
    for try_ in tries {
        let open = &world.ids[first.max(world.ids.len().saturating_sub(12))..];
        let mut prev: Vec<OwnedEventId> = try_.prev.iter().map(|index| index.get(open).clone()).collect();
        prev.sort();
        prev.dedup();
        let sketch = try_.sketch(&world);
        world.add(&prev, sketch);
    }
    world
}

pub(super) fn text(world: &World, follows_all: bool) -> Text<'_> {
    let is_2_1 = match &world.rules.state_res {
        StateResolutionVersion::V2(tweaks) => tweaks.consider_conflicted_state_subgraph,
        _ => false,
    };
    Text { events: &world.events, rules: world.rules, create: world.create(), is_2_1, follows_all }
}

pub(super) fn by_text(world: &World, states: &[&State]) -> State {
    match &world.rules.state_res {
        StateResolutionVersion::V2(_) => text(world, false).resolve(states),
        _ => text(world, false).resolve_1(states),
    }
}

/// What ruma says; `None` for version 1, which it does not have.
pub(super) fn by_ruma(world: &World, states: &[&State]) -> Option<State> {
    let tweaks = world.rules.state_res.v2_rules()?;
    let text = text(world, false);
    let maps: Vec<StateMap<OwnedEventId>> = states
        .iter()
        .map(|state| {
            let typed = |((kind, key), id): (&(String, String), &OwnedEventId)| {
                ((StateEventType::from(kind.as_str()), key.clone()), id.clone())
            };
            state.iter().map(typed).collect::<HashMap<_, _>>()
        })
        .collect();
    let set = |ids: Ids| ids.into_iter().collect::<EventIdSet<OwnedEventId>>();
    let chains = states.iter().map(|state| set(text.full_auth_chain(state))).collect();
    let fetch = |id: &EventId| world.events.get(id).cloned();
    let subgraph = |conflicted: &StateMap<Vec<OwnedEventId>>| {
        let conflicted = conflicted.values().flatten().cloned().collect();
        Some(set(text.conflicted_subgraph(&conflicted)))
    };
    let result = state_res::resolve(&world.rules.authorization, tweaks, &maps, chains, fetch, subgraph).unwrap();
    Some(result.into_iter().map(|((kind, key), id)| ((kind.to_string(), key), id)).collect())
}

/// What was seen over all rooms, so that a test can tell that it tested something.
#[derive(Default)]
struct Seen {
    conflicts: Cell<usize>,
    differences: Cell<usize>,
    subgraphs: Cell<usize>,
    removed: Cell<usize>,
    /// Where what ruma says of rejected events is something else.
    rejections: Cell<usize>,
}

fn count(cell: &Cell<usize>, more: usize) {
    cell.set(cell.get() + more);
}

fn compare(world: &World, picks: &[prop::sample::Index], seen: &Seen) -> Result<(), TestCaseError> {
    let tips = &world.ids[5..];
    let ids: Vec<&OwnedEventId> = picks.iter().map(|index| index.get(tips)).collect();
    let states: Vec<&State> = ids.iter().map(|id| &world.after[*id]).collect();
    let ours = world.resolved(&states);
    prop_assert_eq!(&ours, &by_text(world, &states), "ours, and the text");
    if let Some(theirs) = by_ruma(world, &states) {
        prop_assert_eq!(&ours, &theirs, "ours, and ruma's");
        let text = text(world, false);
        prop_assert_eq!(world.full_conflicted_set(&states), text.full_conflicted_set(&states));
        let (_, conflicted) = text.split(&states);
        count(&seen.differences, text.auth_difference(&states).difference(&conflicted).count());
        count(&seen.subgraphs, text.conflicted_subgraph(&conflicted).difference(&conflicted).count());
    }
    let reversed: Vec<&State> = states.iter().rev().copied().collect();
    prop_assert_eq!(&ours, &world.resolved(&reversed), "the order of the states");
    prop_assert_eq!(states[0], &world.resolved(&[states[0], states[0]]), "a state with itself");
    let conflicts = world.conflicts(&states);
    count(&seen.conflicts, conflicts.len());
    count(&seen.removed, conflicts.iter().filter(|conflict| !ours.contains_key(&conflict.entry)).count());
    Ok(())
}

/// The same with some events rejected. Ruma counts these otherwise, see above.
fn compare_rejected(
    world: &mut World,
    picks: &[prop::sample::Index],
    marks: &[prop::sample::Index],
    seen: &Seen,
) -> Result<(), TestCaseError> {
    for mark in marks {
        let id = mark.get(&world.ids[1..]).clone();
        let event = world.events[&id].clone();
        world.events.insert(id, event.rejected());
    }
    let states: Vec<&State> = picks.iter().map(|index| &world.after[index.get(&world.ids[5..])]).collect();
    let ours = world.resolved(&states);
    prop_assert_eq!(&ours, &by_text(world, &states), "ours, and the text, with rejected events");
    let differs = by_ruma(world, &states).is_some_and(|theirs| theirs != ours);
    count(&seen.rejections, usize::from(differs));
    Ok(())
}

fn run(version: &RoomVersionId, cases: u32) -> Seen {
    let seen = Seen::default();
    let indexes = |count| prop::collection::vec(any::<prop::sample::Index>(), count);
    let rooms = (any::<u64>(), prop::collection::vec(any_try(), 10..60));
    let input = (rooms, indexes(2..5), indexes(1..8));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&input, |((salt, tries), picks, marks)| {
        let mut world = grow(version, salt, &tries);
        compare(&world, &picks, &seen)?;
        compare_rejected(&mut world, &picks, &marks, &seen)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    seen
}

#[test]
fn version_1_is_the_text() {
    let seen = run(&RoomVersionId::V1, 150);
    assert!(seen.conflicts.get() > 300, "{}", seen.conflicts.get());
}

#[test]
fn version_2_is_the_text_and_ruma() {
    for version in [RoomVersionId::V2, RoomVersionId::V6, RoomVersionId::V11] {
        let seen = run(&version, 100);
        let found = (seen.conflicts.get(), seen.differences.get(), seen.removed.get());
        assert!(found.0 > 200 && found.1 > 20 && found.2 > 0, "{version}: {found:?}");
    }
}

#[test]
fn version_2_1_is_the_text_and_ruma() {
    let seen = run(&RoomVersionId::V12, 200);
    let found = (seen.conflicts.get(), seen.differences.get(), seen.subgraphs.get());
    assert!(found.0 > 400 && found.1 > 20 && found.2 > 20, "{found:?}");
    assert!(seen.rejections.get() > 0, "rejected events decide something");
}
