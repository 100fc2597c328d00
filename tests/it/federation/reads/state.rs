//! `/state`, `/state_ids` and `/event_auth`.

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::{Scene, encoded, id_of};

fn set(scene: &Scene, pdus: &Value) -> BTreeSet<OwnedEventId> {
    let all = pdus.as_array().unwrap();
    let ids: BTreeSet<_> = all.iter().map(|pdu| id_of(scene, pdu)).collect();
    assert_eq!(ids.len(), all.len(), "each once");
    ids
}

fn named(ids: &Value) -> BTreeSet<OwnedEventId> {
    let all = ids.as_array().unwrap();
    let set: BTreeSet<OwnedEventId> = all.iter().map(|id| id.as_str().unwrap().try_into().unwrap()).collect();
    assert_eq!(set.len(), all.len(), "each once");
    set
}

/// What authorises these, read off the events themselves.
fn chain(known: &BTreeMap<OwnedEventId, Value>, of: &BTreeSet<OwnedEventId>) -> BTreeSet<OwnedEventId> {
    let mut found = BTreeSet::new();
    let mut left: Vec<_> = of.iter().cloned().collect();
    while let Some(id) = left.pop() {
        for cited in known[&id]["auth_events"].as_array().unwrap() {
            let cited: OwnedEventId = cited.as_str().unwrap().try_into().unwrap();
            if found.insert(cited.clone()) {
                left.push(cited);
            }
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn the_state_is_that_before_the_event_with_what_authorises_it() {
    // Whatever the history visibility: the name was set before anybody of the peer came.
    let scene = Scene::new("joined").await;
    let old = scene.sets("m.room.name", "", json!({"name": "old"})).await;
    scene.sets("m.room.power_levels", "", json!({"users": {}})).await;
    let new = scene.sets("m.room.name", "", json!({"name": "new"})).await;
    scene.member("eve", "join").await;
    let said = scene.says("hello").await;
    let room = encoded(scene.room.as_str());
    let mut all = BTreeMap::new();
    let whole = scene.get(&format!("/state/{room}?event_id={}", encoded(said.as_str()))).await.ok();
    for pdu in ["pdus", "auth_chain"].into_iter().flat_map(|name| whole[name].as_array().unwrap()) {
        all.insert(id_of(&scene, pdu), pdu.clone());
    }
    for (at, has, lacks) in [(&said, &new, &old), (&new, &old, &new)] {
        let query = format!("{room}?event_id={}", encoded(at.as_str()));
        let state = scene.get(&format!("/state/{query}")).await.ok();
        let ids = scene.get(&format!("/state_ids/{query}")).await.ok();
        let (pdus, auth) = (set(&scene, &state["pdus"]), set(&scene, &state["auth_chain"]));
        assert!(pdus.contains(has) && !pdus.contains(lacks), "{at}");
        assert_eq!((named(&ids["pdu_ids"]), named(&ids["auth_chain_ids"])), (pdus.clone(), auth.clone()));
        for pdu in state["pdus"].as_array().unwrap().iter().chain(state["auth_chain"].as_array().unwrap()) {
            all.insert(id_of(&scene, pdu), pdu.clone());
        }
        assert_eq!(auth, chain(&all, &pdus));
    }
    assert_eq!(all[&new]["content"], json!({"name": "new"}));
    scene.get(&format!("/state/{room}")).await.refused(400, "M_MISSING_PARAM");
}

#[tokio::test(start_paused = true)]
async fn what_authorises_an_event() {
    let scene = Scene::new("shared").await;
    let join = scene.member("eve", "join").await;
    let said = scene.says("hello").await;
    let room = encoded(scene.room.as_str());
    let mut known = BTreeMap::new();
    for pdu in scene.backfill(&said, 100).await {
        known.insert(id_of(&scene, &pdu), pdu);
    }
    for id in [join, said] {
        let answer = scene.get(&format!("/event_auth/{room}/{}", encoded(id.as_str()))).await.ok();
        let auth = set(&scene, &answer["auth_chain"]);
        assert_eq!(auth, chain(&known, &BTreeSet::from([id.clone()])), "{id}");
        assert!(!auth.is_empty() && !auth.contains(&id));
    }
}
