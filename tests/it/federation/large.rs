//! What clients see of a room in which thousands of members come at once.

use futures_util::future::join_all;
use myelin::{
    event::Verified,
    graph::{Receipt, Verdict},
    store::View,
};
use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::rooms::{create, encoded, room, server, state, sync, sync_since};
use crate::{
    graph::{
        there::EVE,
        wide::{lost, moves, signed, someone},
    },
    harness::Network,
};

#[tokio::test(start_paused = true)]
async fn a_sync_tells_of_all_who_came_behind_a_hole() {
    const CAME: usize = 2_100;
    let network = Network::default();
    let a = server(&network, "a.b");
    let alice = a.register_user("alice").await;
    let levels = json!({"users": {alice.user_id.as_str(): 100, EVE: 100}});
    let body = json!({"preset": "public_chat", "room_version": "11", "power_level_content_override": levels});
    let room_id = create(&a, &alice, body).await;
    let (no, head) = room(&a, &room_id).unwrap();
    let (graph, here) = (&a.app().graph, state(&a, &room_id));
    let at = |kind: &str| here[&(kind.to_owned(), String::new())].clone();
    let auth = [at("m.room.create"), at("m.room.power_levels"), at("m.room.join_rules")];
    let tip = a.app().store.read_blocking(|view: &View<'_>| graph.reader().events(view, &[(no, head.extremities[0])]));
    let tip = tip.unwrap()[0].as_ref().unwrap().event_id.clone();
    let eve = signed(&room_id, (EVE, "m.room.member", EVE), json!({"membership": "join"}), (&[tip], &auth));
    let eve_id = eve.pdu().event_id().to_owned();
    assert!(matches!(graph.receive(no, eve.into()).await, Ok(Verdict::Accepted(_))));
    let came: Vec<Verified> = (0..CAME).map(|at| moves(&room_id, &someone(at), "join", &auth)).collect();
    for some in came.chunks(500) {
        let kept = some.iter().map(|event| graph.receive_outlier(no, event.clone().into()));
        assert!(join_all(kept).await.iter().all(|verdict| matches!(verdict, Ok(Verdict::Accepted(_)))));
    }
    let before = sync(&a, &alice).await;

    let ids = came.iter().map(|event| event.pdu().event_id().to_owned());
    let claimed: Vec<OwnedEventId> = state(&a, &room_id).into_values().chain(ids).collect();
    let by = [auth[0].clone(), auth[1].clone(), eve_id];
    let topic = signed(&room_id, (EVE, "m.room.topic", ""), json!({"topic": "many"}), (&[lost()], &by));
    let receipt = Receipt { state_before: Some(claimed), ..topic.into() };
    assert!(matches!(graph.receive(no, receipt).await, Ok(Verdict::Accepted(_))));

    let after = sync_since(&a, &alice, &before).await;
    let there = &after["rooms"]["join"][room_id.as_str()];
    assert_eq!(there["summary"]["m.joined_member_count"], CAME + 2);
    let events = |part: &str| there[part]["events"].as_array().cloned().unwrap_or_default();
    let told: Vec<Value> = [events("state"), events("timeline")].concat();
    let is_of = |event: &&Value, kind: &str| event["type"] == kind;
    assert_eq!(told.iter().filter(|event| is_of(event, "m.room.member")).count(), CAME);
    assert_eq!(told.iter().filter(|event| is_of(event, "m.room.topic")).count(), 1);
    let target = format!("/v3/rooms/{}/joined_members", encoded(room_id.as_str()));
    let members = a.get(&target).by(&alice).send().await.ok();
    assert_eq!(members["joined"].as_object().unwrap().len(), CAME + 2);
    // Nothing is left to be told.
    assert_eq!(sync_since(&a, &alice, &after).await["rooms"], Value::Null);
}
