//! Rooms with a policy server.

use myelin::event::{Rules, SigningKey, json};
use serde_json::{Value, json};

use super::{Stage, rest};
use crate::harness::Answer;

const SEED: [u8; 32] = [9; 32];

fn key() -> SigningKey {
    SigningKey::from_seed(&SEED, "policy_server", ruma::server_name!("p.q")).unwrap()
}

/// What says that the peer is a room's policy server.
pub(in crate::federation) fn policy() -> Value {
    let public = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(key().public_key()).encode();
    json!({"via": "p.q", "public_keys": {"ed25519": public}})
}

/// What the policy server answers of an event that it recommends.
pub(in crate::federation) fn signature(event: &[u8], rules: &Rules) -> Value {
    let mut event = json::parse(event).unwrap();
    key().sign_event(&mut event, rules).unwrap();
    let signed: Value = serde_json::to_value(&event).unwrap();
    json!({"p.q": {"ed25519:policy_server": signed["signatures"]["p.q"]["ed25519:policy_server"]}})
}

/// A room whose policy server is the peer: it recommends all that is no spam.
async fn policed() -> Stage {
    let stage = Stage::new().await;
    let rules = stage.scene.rules();
    stage.answers(move |request| {
        if request.target != "/_matrix/policy/v1/sign" {
            return None;
        }
        let text: Value = serde_json::from_slice(&request.body).unwrap();
        if text["content"]["body"].as_str().is_some_and(|body| body.contains("spam")) {
            return Some((400, json!({"errcode": "M_FORBIDDEN", "error": "We know spam when we see it"})));
        }
        Some((200, signature(&request.body, rules)))
    });
    stage.scene.sets("m.room.policy", "", policy()).await;
    stage.asked();
    stage
}

async fn say(stage: &Stage, text: &str) -> Answer {
    let path = format!("/v3/rooms/{}/send/m.room.message/{text}", stage.scene.room);
    let body = json!({"msgtype": "m.text", "body": text});
    stage.scene.server.put(&path).by(&stage.scene.alice).json(&body).send().await
}

#[tokio::test(start_paused = true)]
async fn our_events_are_signed_or_refused() {
    let stage = policed().await;
    let said = say(&stage, "hello").await.ok();
    assert_eq!(say(&stage, "hello").await.ok(), said, "the same transaction");
    assert_eq!(stage.asked(), ["p.q POST /_matrix/policy/v1/sign"]);
    assert!(stage.synced().await.iter().any(|id| id.as_str() == said["event_id"]));
    let refused = say(&stage, "spam").await;
    refused.refused(403, "M_FORBIDDEN");
    assert_eq!(refused.json["error"], "We know spam when we see it");
    stage.scene.sets("m.room.topic", "", json!({"topic": "as well"})).await;
    assert_eq!(stage.asked().len(), 2);
    // Nobody answers: nothing is sent.
    stage.answers(|_| None);
    say(&stage, "anybody").await.refused(403, "M_FORBIDDEN");
    // The policy itself can always be changed.
    stage.scene.sets("m.room.policy", "", json!({})).await;
    say(&stage, "free").await.ok();
}

#[tokio::test(start_paused = true)]
async fn what_others_did_not_have_signed_is_asked_about() {
    let stage = policed().await;
    let good = stage.says("hello", None);
    let bad = stage.says("spam", Some(&[&good]));
    let after = stage.says("on we go", Some(&[&bad]));
    stage.send("1", &[&good, &bad, &after]).await;
    rest().await;
    assert!(stage.is_seen(&good).await && !stage.is_seen(&bad).await && stage.is_seen(&after).await);
    assert_eq!(stage.asked(), ["p.q POST /_matrix/policy/v1/sign"; 3]);
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
}
