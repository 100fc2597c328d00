//! A server of the room that signs correctly and lies in every other way.

use std::time::Duration;

use myelin::event::Pdu;
use serde_json::json;

use super::{
    Stage, as_json, as_jsons,
    missing::{event_of, ids},
    rest, transaction,
};
use crate::harness::{START, reply};

/// Threat: an origin that never answers. It holds up what it sent itself, and nothing else.
#[tokio::test(start_paused = true)]
async fn who_never_answers_holds_up_only_itself() {
    let stage = Stage::new().await;
    let keys = stage.scene.peer.document(START + super::DAY, |_| ());
    stage.scene.network.answer("p.q", move |request| {
        let keys = request.target.starts_with("/_matrix/key/").then(|| reply(200, &keys));
        async move {
            match keys {
                Some(keys) => keys,
                None => std::future::pending().await,
            }
        }
    });
    let chain = stage.chain(3);
    stage.put("1", &transaction(&as_jsons(&chain[2..]), &[])).await.ok();
    let good: Vec<Pdu> = (0..3).map(|at| stage.says(&format!("good {at}"), None)).collect();
    stage.put("2", &transaction(&as_jsons(&good), &[])).await.ok();
    rest().await;
    for event in &good {
        assert!(stage.is_seen(event).await);
    }
    let said = stage.scene.says("and we go on").await;
    assert!(stage.synced().await.contains(&said));
    // What it cites comes after all.
    stage.put("3", &transaction(&as_jsons(&chain[..2]), &[])).await.ok();
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert!(stage.is_seen(&chain[2]).await);
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
}

/// Threat: events of another room, unsigned ones and junk where missing events were asked for.
#[tokio::test(start_paused = true)]
async fn missing_events_are_of_the_room_and_signed() {
    let stage = Stage::new().await;
    let chain = stage.chain(4);
    let mut elsewhere = as_json(&chain[0]);
    elsewhere["room_id"] = json!("!other:p.q");
    let mut unsigned = as_json(&chain[1]);
    unsigned["signatures"] = json!({});
    let good = as_json(&chain[2]);
    let events = json!([elsewhere, unsigned, null, 5, {"room_id": stage.scene.room}, good]);
    stage.answers(move |request| {
        let is_asked = request.target.contains("get_missing_events");
        is_asked.then(|| (200, json!({"events": events})))
    });
    stage.send("1", &[&chain[3]]).await;
    for event in &chain {
        assert!(!stage.is_seen(event).await);
    }
    let next = stage.says("next", None);
    stage.send("2", &[&next]).await;
    assert!(stage.is_seen(&next).await, "the next good one is taken");
}

/// Threat: a state that is none, or one of long ago. It brings nothing, or stands beside ours.
#[tokio::test(start_paused = true)]
async fn no_state_that_is_claimed_replaces_ours() {
    let stage = Stage::new().await;
    let before = stage.state_ids();
    let message = stage.scene.says("no state").await;
    let topic = stage.scene.sets("m.room.topic", "", json!({"topic": "ours"})).await;
    for (number, claimed) in [
        ("1", before.iter().cloned().chain([message.clone()]).collect::<Vec<_>>()),
        ("2", Vec::new()),
        ("3", before.clone()),
    ] {
        let tip = stage.scene.tips();
        let chain = stage.chain(6);
        let (events, all) = (as_jsons(&chain), ids(&chain));
        stage.answers(move |request| match request.target.split(['/', '?']).nth(4)? {
            "get_missing_events" => Some((200, json!({"events": events[4..5]}))),
            "event" => event_of(request, &events, &all),
            "state_ids" => Some((200, json!({"pdu_ids": claimed, "auth_chain_ids": []}))),
            _ => None,
        });
        stage.send(number, &[&chain[5]]).await;
        assert_eq!(stage.is_seen(&chain[5]).await, number == "3", "{number}");
        assert!(tip.iter().all(|tip| stage.scene.tips().contains(tip)), "{number}: what is ours stays an extremity");
        assert_eq!(stage.topic(), Some(topic.clone()), "{number}");
    }
}
