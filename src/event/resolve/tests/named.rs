//! Rooms whose resolution is known: what is said of the algorithm where it is explained, and what it got wrong before.

use std::{convert::Infallible, sync::Arc};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ruma::{OwnedEventId, RoomVersionId};
use serde_json::json;

use super::{
    super::{AuthGraph, Conflict, Entry, ResolveError, Room, Seq, resolve},
    literal::State,
    random::{by_ruma, by_text, text},
    world::{ALICE, Asked, BOB, CAROL, DAVE, Sketch, World, entry, member, sketch},
};
use crate::event::Pdu;

const V2: [RoomVersionId; 3] = [RoomVersionId::V2, RoomVersionId::V11, RoomVersionId::V12];

/// Resolves the states after these events; all that can say must agree.
fn resolved(world: &World, ids: &[&OwnedEventId]) -> State {
    let states: Vec<&State> = ids.iter().map(|id| &world.after[*id]).collect();
    agreed(world, &states)
}

fn agreed(world: &World, states: &[&State]) -> State {
    let ours = world.resolved(states);
    assert_eq!(ours, by_text(world, states), "the text");
    if let Some(theirs) = by_ruma(world, states) {
        assert_eq!(ours, theirs, "ruma");
    }
    ours
}

fn topic(text: &str) -> serde_json::Value {
    json!({ "topic": text })
}

#[test]
fn a_ban_is_stronger_than_power_levels_of_the_banned() {
    for version in &V2 {
        let mut world = World::usual(version, 1);
        let start = world.last();
        let levels = world.after[&start][&entry("m.room.power_levels", "")].clone();
        let ban = world.after(&start, member(ALICE, BOB, "ban").at(9));
        let by_bob = world.levels(json!({ALICE: 100, BOB: 50, DAVE: 50}));
        let by_bob = Sketch { sender: BOB, ..by_bob }.at(1);
        let changed = world.after(&start, by_bob);
        let state = resolved(&world, &[&ban, &changed]);
        assert_eq!(state[&entry("m.room.member", BOB)], ban, "{version}");
        assert_eq!(state[&entry("m.room.power_levels", "")], levels, "{version}");
    }
}

#[test]
fn topics_race_along_the_mainline_and_not_by_their_clocks() {
    for version in &V2 {
        let mut world = World::usual(version, 2);
        let start = world.last();
        let early = world.after(&start, sketch(BOB, "m.room.topic", "", topic("of Bob")).at(1_000));
        let levels = world.levels(json!({ALICE: 100, BOB: 50, DAVE: 1}));
        world.after(&start, levels);
        let late = world.then(sketch(ALICE, "m.room.topic", "", topic("of Alice")).at(1));
        let state = resolved(&world, &[&early, &late]);
        assert_eq!(state[&entry("m.room.topic", "")], late, "{version}: it is based on later power levels");
    }
}

#[test]
fn equal_clocks_are_told_apart_by_ids() {
    for salt in 0..6 {
        let mut world = World::usual(&RoomVersionId::V11, salt);
        let start = world.last();
        let one = world.after(&start, sketch(BOB, "m.room.topic", "", topic("one")));
        let two = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("two")));
        let state = resolved(&world, &[&one, &two]);
        assert_eq!(state[&entry("m.room.topic", "")], one.max(two));
    }
}

/// Where ruma takes the time for 0.
#[test]
fn times_before_1970_come_first() {
    let mut world = World::usual(&RoomVersionId::V11, 3);
    let start = world.last();
    let state = |world: &World, ids: [&OwnedEventId; 2]| {
        let states = ids.map(|id| &world.after[id]);
        assert_eq!(world.resolved(&states), by_text(world, &states));
        world.resolved(&states)[&entry("m.room.topic", "")].clone()
    };
    for salt in 0..4 {
        let one = world.after(&start, sketch(BOB, "m.room.topic", "", topic("one")).at(-1 - salt));
        let two = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("two")));
        assert_eq!(state(&world, [&one, &two]), two);
    }
}

#[test]
fn a_topic_of_somebody_who_is_banned_meanwhile_is_reset() {
    for version in &V2 {
        let mut world = World::usual(version, 4);
        let before = world.then(sketch(ALICE, "m.room.topic", "", topic("before")).at(1));
        world.then(sketch(BOB, "m.room.topic", "", topic("of Bob")).at(2));
        let ban = world.then(member(ALICE, BOB, "ban").at(3));
        let state = resolved(&world, &[&ban, &before]);
        assert_eq!(state[&entry("m.room.topic", "")], before, "{version}");
        assert_eq!(state[&entry("m.room.member", BOB)], ban, "{version}");
    }
}

#[test]
fn nobody_evades_a_new_join_rule() {
    for version in &V2 {
        let mut world = World::usual(version, 5);
        let start = world.last();
        let closed = world.after(&start, sketch(ALICE, "m.room.join_rules", "", json!({"join_rule": "invite"})).at(9));
        let join = world.after(&start, member(DAVE, DAVE, "join").at(1));
        let state = resolved(&world, &[&closed, &join]);
        assert_eq!(state[&entry("m.room.join_rules", "")], closed, "{version}");
        assert!(!state.contains_key(&entry("m.room.member", DAVE)), "{version}: Dave's entry is decided to be empty");
        let decisions = world.decisions(&[&world.after[&closed], &world.after[&join]]).unwrap();
        assert!(decisions.iter().any(|decision| decision.entry.1 == DAVE && decision.seq.is_none()));
    }
}

#[test]
fn power_levels_that_follow_each_other_stay_in_order() {
    for version in &V2 {
        let mut world = World::usual(version, 6);
        let start = world.last();
        let levels = |world: &World, sender, users| Sketch { sender, ..world.levels(users) };
        let by_bob = levels(&world, BOB, json!({ALICE: 100, BOB: 50, CAROL: 50}));
        world.after(&start, by_bob.at(5));
        let by_carol = levels(&world, CAROL, json!({ALICE: 100, BOB: 50, CAROL: 0}));
        let last = world.then(by_carol.at(1));
        let state = resolved(&world, &[&last, &start]);
        assert_eq!(state[&entry("m.room.power_levels", "")], last, "{version}");
    }
}

/// Room version 12, "state resets" (MSC4297): before it, conflicting events were judged by the newest of what all agree
/// upon. Bob has left, in both states; so whatever topic of his stood there was lost.
#[test]
fn what_somebody_did_who_left_later_is_kept_from_version_12_on() {
    for (version, is_kept) in [(RoomVersionId::V11, false), (RoomVersionId::V12, true)] {
        let mut world = World::usual(&version, 7);
        let old = world.then(sketch(BOB, "m.room.topic", "", topic("old")).at(1));
        let with_old = world.after[&old].clone();
        let new = world.then(sketch(BOB, "m.room.topic", "", topic("new")).at(2));
        let leave = world.then(member(BOB, BOB, "leave").at(3));
        let right = world.after[&leave].clone();
        // What a server says that has missed an event.
        let mut stale = with_old;
        stale.insert(entry("m.room.member", BOB), leave);
        let state = agreed(&world, &[&right, &stale]);
        let expected = is_kept.then_some(&new);
        assert_eq!(state.get(&entry("m.room.topic", "")), expected, "{version}");
    }
}

/// The same: a state comes back with power levels of long ago. The ones between explain the newest, but are in the auth
/// chains of both states, so that before version 12 nobody looks at them.
#[test]
fn power_levels_of_long_ago_do_not_come_back_from_version_12_on() {
    for (version, is_kept) in [(RoomVersionId::V11, false), (RoomVersionId::V12, true)] {
        let mut world = World::usual(&version, 8);
        let levels = |world: &World, users| world.levels(users);
        let mods_levels = entry("m.room.power_levels", "");
        let oldest = world.after[&world.last()][&mods_levels].clone();
        let promotion = levels(&world, json!({ALICE: 100, BOB: 50, CAROL: 50}));
        world.then(promotion.at(1));
        let by_carol = levels(&world, json!({ALICE: 100, BOB: 50, CAROL: 50, DAVE: 1}));
        let newest = world.then(Sketch { sender: CAROL, ..by_carol }.at(2));
        // All agree upon something that rests upon the newest.
        let name = world.then(sketch(ALICE, "m.room.name", "", json!({"name": "x"})).at(3));
        let right = world.after[&name].clone();
        let mut stale = right.clone();
        stale.insert(mods_levels.clone(), oldest.clone());
        let state = agreed(&world, &[&right, &stale]);
        assert_eq!(state[&mods_levels], if is_kept { newest } else { oldest }, "{version}");
    }
}

/// Step 1 by the text: *the events in the auth chain of P which also belong to the full conflicted set*. Bob's old join is
/// in the auth chain of Alice's kick only by way of power levels on which all agree; the servers do not follow that way.
/// What is picked differs then, and hardly ever what comes out of it (in 1 of 10,000 random rooms).
#[test]
fn chains_are_followed_as_servers_do() {
    let mut world = World::usual(&RoomVersionId::V11, 9);
    let join = world.after[&world.last()][&entry("m.room.member", BOB)].clone();
    let levels = world.levels(json!({ALICE: 100, BOB: 50, DAVE: 1}));
    let levels = world.then(Sketch { sender: BOB, ..levels }.at(1));
    let renamed = sketch(BOB, "m.room.member", BOB, json!({"membership": "join", "displayname": "B"}));
    let renamed = world.after(&levels, renamed.at(2));
    let kick = world.after(&levels, member(ALICE, CAROL, "leave").at(3));
    let full = [&join, &renamed, &kick].into_iter().cloned().collect();
    assert!(text(&world, true).picked(&full).contains(&join));
    assert!(!text(&world, false).picked(&full).contains(&join));
    let state = resolved(&world, &[&renamed, &kick]);
    assert_eq!(state[&entry("m.room.member", BOB)], renamed);
    assert!(!text(&world, true).resolve(&[&world.after[&renamed], &world.after[&kick]]).is_empty());
}

/// The join itself is not allowed any more, so that only the auth events of what Dave sent say that he is in the room.
#[test]
fn a_rejected_auth_event_does_not_stand_in_for_the_state() {
    for is_rejected in [false, true] {
        let mut world = World::usual(&RoomVersionId::V11, 10);
        let levels = json!({"users": {ALICE: 100}, "state_default": 0});
        world.then(sketch(ALICE, "m.room.power_levels", "", levels));
        let closed = world.then(sketch(ALICE, "m.room.join_rules", "", json!({"join_rule": "invite"})));
        let without = world.after[&closed].clone();
        let join = world.place(member(DAVE, DAVE, "join"), &[closed], without.clone(), is_rejected).unwrap();
        let mut with_join = without.clone();
        with_join.insert(entry("m.room.member", DAVE), join.clone());
        let own = world.place(sketch(DAVE, "org.example.own", DAVE, json!({})), &[join], with_join, false).unwrap();
        let mut with = without.clone();
        with.insert(entry("org.example.own", DAVE), own.clone());
        let state = agreed(&world, &[&with, &without]);
        assert_eq!(state.get(&entry("org.example.own", DAVE)), (!is_rejected).then_some(&own));
        assert!(!state.contains_key(&entry("m.room.member", DAVE)));
    }
}

/// > Events that have been rejected due to failing auth based on the state at the event (…) are handled as usual by the
/// > algorithm, unless otherwise specified.
///
/// Ruma and Synapse never take such an event into account once it is in the state.
#[test]
fn a_rejected_event_may_come_into_the_state() {
    let mut world = World::usual(&RoomVersionId::V11, 15);
    let start = world.last();
    let before = world.after[&start].clone();
    let own_topic = sketch(BOB, "m.room.topic", "", topic("of Bob"));
    let rejected = world.place(own_topic, &[start], before.clone(), true).unwrap();
    let mut with = before.clone();
    with.insert(entry("m.room.topic", ""), rejected.clone());
    let state = agreed(&world, &[&with, &before]);
    assert_eq!(state[&entry("m.room.topic", "")], rejected);
}

#[test]
fn more_states_than_bits_are_resolved() {
    for version in [RoomVersionId::V1, RoomVersionId::V11, RoomVersionId::V12] {
        let mut world = World::usual(&version, 11);
        let start = world.last();
        // Many at the start; the later ones all know some power levels that those do not.
        let mut tips: Vec<OwnedEventId> = Vec::new();
        for at in 0..150_i32 {
            let levels = world.levels(json!({ALICE: 100, BOB: 50, DAVE: at % 7}));
            let prev = if at <= 70 { start.clone() } else { world.last() };
            tips.push(world.after(&prev, levels.at(i64::from(at % 10))));
        }
        let tips: Vec<&OwnedEventId> = tips.iter().collect();
        for tips in [&tips[..], &tips[..64], &tips[60..], &tips[1..140]] {
            assert!(resolved(&world, tips).contains_key(&entry("m.room.power_levels", "")), "{version}");
            let states: Vec<&State> = tips.iter().map(|id| &world.after[*id]).collect();
            if version != RoomVersionId::V1 {
                let by_text = text(&world, false).full_conflicted_set(&states);
                assert_eq!(world.full_conflicted_set(&states), by_text, "{version}");
            }
        }
    }
}

/// Of two sweeps, the second one over states that all know what none of the first do.
#[test]
fn what_all_of_the_last_states_know_is_no_common_knowledge() {
    let mut world = World::usual(&RoomVersionId::V11, 16);
    let start = world.last();
    let one = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("one")));
    let levels = world.levels(json!({ALICE: 100, BOB: 50, DAVE: 1}));
    let passed = world.after(&start, levels.clone());
    world.then(levels);
    let two = world.then(sketch(ALICE, "m.room.topic", "", topic("two")));
    let [early, late] = [&world.after[&one], &world.after[&two]];
    let states: Vec<&State> = [early; 64].into_iter().chain([late; 64]).collect();
    assert!(world.full_conflicted_set(&states).contains(&passed));
    assert_eq!(world.full_conflicted_set(&states), world.full_conflicted_set(&[early, late]));
    assert_eq!(agreed(&world, &states), agreed(&world, &[early, late]));
}

#[test]
fn what_is_missing_is_an_error() {
    let mut world = World::usual(&RoomVersionId::V11, 12);
    let start = world.last();
    let one = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("one")));
    let two = world.after(&start, sketch(BOB, "m.room.topic", "", topic("two")));
    let states = [&world.after[&one], &world.after[&two]];
    let conflicts = world.conflicts(&states);
    for without in [world.seqs[&one], 1] {
        let mut asked = world.asked(&states);
        asked.without = Some(without);
        let result = resolve(&asked, world.rules, &conflicts);
        assert!(matches!(result, Err(ResolveError::NotInAuthGraph(_))), "{result:?}");
    }
    let uneven = [conflicts[0].clone(), Conflict { entry: entry("m.x", ""), seqs: vec![Some(1)] }];
    assert_eq!(resolve(&world.asked(&states), world.rules, &uneven), Err(ResolveError::Uneven));
    assert_eq!(resolve(&world.asked(&states), world.rules, &[]), Ok(Vec::new()));
}

/// A room whose store has lost an event.
struct Forgetful<'w>(Asked<'w>);

impl Room for Forgetful<'_> {
    type Error = Infallible;

    fn events(&self, seqs: &[Seq]) -> Result<Vec<Pdu>, Self::Error> {
        let mut found = self.0.events(seqs)?;
        found.pop();
        Ok(found)
    }
    fn agreed(&self, entries: &[Entry]) -> Result<Vec<Option<Seq>>, Self::Error> {
        self.0.agreed(entries)
    }
    fn all_agreed(&self) -> Result<Vec<Seq>, Self::Error> {
        self.0.all_agreed()
    }
    fn auth_graph(&self) -> Result<Arc<AuthGraph>, Self::Error> {
        self.0.auth_graph()
    }
}

#[test]
fn an_event_that_is_not_there_is_an_error() {
    for version in [RoomVersionId::V1, RoomVersionId::V11, RoomVersionId::V12] {
        let mut world = World::usual(&version, 13);
        let start = world.last();
        let one = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("one")));
        let two = world.after(&start, sketch(BOB, "m.room.topic", "", topic("two")));
        let states = [&world.after[&one], &world.after[&two]];
        let result = resolve(&Forgetful(world.asked(&states)), world.rules, &world.conflicts(&states));
        assert_eq!(result, Err(ResolveError::NoEvent(world.seqs[&two])), "{version}");
    }
}

/// Few waves, and the members of the room are not asked for one by one. That both topics are by one user leaves no auth
/// difference open.
#[test]
fn only_what_is_in_conflict_is_read() {
    for version in &V2 {
        for (second, asks_all) in [(ALICE, false), (BOB, true)] {
            let mut world = World::usual(version, 14);
            for _ in 0..20 {
                let levels = world.levels(json!({ALICE: 100, BOB: 50}));
                world.then(levels);
            }
            let start = world.last();
            let one = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("one")));
            let two = world.after(&start, sketch(second, "m.room.topic", "", topic("two")));
            let states = [&world.after[&one], &world.after[&two]];
            let asked = world.asked(&states);
            resolve(&asked, world.rules, &world.conflicts(&states)).unwrap();
            assert_eq!(asked.has_asked_all.get(), asks_all, "{version}");
            assert!(asked.waves.get() <= 5, "{version}: {} waves", asked.waves.get());
        }
    }
}

mod version_1 {
    use super::*;

    const V1: RoomVersionId = RoomVersionId::V1;

    #[test]
    fn the_deepest_topic_wins_if_it_is_allowed() {
        let mut world = World::usual(&V1, 20);
        let start = world.last();
        let shallow = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("shallow")).at(9));
        world.after(&start, sketch(ALICE, "m.x", "", json!({})));
        let deep = world.then(sketch(BOB, "m.room.topic", "", topic("deep")).at(1));
        assert_eq!(resolved(&world, &[&shallow, &deep])[&entry("m.room.topic", "")], deep);
        let ban = world.after(&deep, member(ALICE, BOB, "ban"));
        let mut banned = world.after[&shallow].clone();
        banned.insert(entry("m.room.member", BOB), ban.clone());
        let state = agreed(&world, &[&world.after[&ban], &banned]);
        assert_eq!(state[&entry("m.room.topic", "")], shallow, "Bob's is not allowed any more");
    }

    #[test]
    fn if_no_topic_is_allowed_the_first_stays() {
        let mut world = World::usual(&V1, 21);
        let start = world.last();
        let shallow = world.after(&start, sketch(BOB, "m.room.topic", "", topic("shallow")));
        world.after(&start, sketch(ALICE, "m.x", "", json!({})));
        let deep = world.then(sketch(BOB, "m.room.topic", "", topic("deep")));
        let ban = world.after(&deep, member(ALICE, BOB, "ban"));
        let mut banned = world.after[&shallow].clone();
        banned.insert(entry("m.room.member", BOB), ban.clone());
        let state = agreed(&world, &[&world.after[&ban], &banned]);
        assert_eq!(state[&entry("m.room.topic", "")], shallow);
    }

    #[test]
    fn of_one_depth_the_lowest_hash_wins() {
        let sha1 = |id: &OwnedEventId| digest(&SHA1_FOR_LEGACY_USE_ONLY, id.as_bytes()).as_ref().to_vec();
        for salt in 0..6 {
            let mut world = World::usual(&V1, salt);
            let start = world.last();
            let one = world.after(&start, sketch(BOB, "m.room.topic", "", topic("one")));
            let two = world.after(&start, sketch(ALICE, "m.room.topic", "", topic("two")));
            let lowest = if sha1(&one) < sha1(&two) { &one } else { &two };
            assert_eq!(resolved(&world, &[&one, &two])[&entry("m.room.topic", "")], *lowest);
        }
    }

    #[test]
    fn an_entry_that_some_states_lack_is_no_conflict() {
        let mut world = World::usual(&V1, 22);
        let start = world.last();
        let closed = world.after(&start, sketch(ALICE, "m.room.join_rules", "", json!({"join_rule": "invite"})));
        let join = world.after(&start, member(DAVE, DAVE, "join"));
        let state = resolved(&world, &[&closed, &join]);
        assert_eq!(
            state[&entry("m.room.member", DAVE)],
            join,
            "Dave evades the new rule: that is why there is version 2"
        );
    }

    #[test]
    fn power_levels_are_taken_from_the_lowest_depth_until_one_is_not_allowed() {
        let mut world = World::usual(&V1, 23);
        let start = world.last();
        let demoted = world.levels(json!({ALICE: 100, BOB: 0}));
        let demoted = world.after(&start, demoted);
        world.after(&start, sketch(ALICE, "m.x", "", json!({})));
        let by_bob = world.levels(json!({ALICE: 100, BOB: 50, DAVE: 50}));
        let by_bob = world.then(Sketch { sender: BOB, ..by_bob });
        let state = resolved(&world, &[&demoted, &by_bob]);
        assert_eq!(state[&entry("m.room.power_levels", "")], demoted, "by which Bob may not change them");
    }
}

/// Threat: a chain of power levels as long as an attacker likes. It is walked, not climbed down by the stack, and each of its
/// events a few times at the most.
#[test]
fn a_chain_of_thousands_of_power_levels_is_walked() {
    let version = RoomVersionId::V12;
    let mut world = World::usual(&version, 3);
    let start = world.last();
    let early = world.after(&start, sketch(BOB, "m.room.topic", "", topic("early")));
    world.after(&start, world.levels(json!({BOB: 50, DAVE: 0})));
    for round in 1..3_000 {
        let levels = world.levels(json!({BOB: 50, DAVE: round % 50}));
        world.then(levels);
    }
    let late = world.then(sketch(BOB, "m.room.topic", "", topic("late")).at(1));
    let states: Vec<&State> = [&early, &late].iter().map(|id| &world.after[*id]).collect();
    assert_eq!(world.resolved(&states)[&entry("m.room.topic", "")], late);
}
