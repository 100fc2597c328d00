//! Rooms with a policy server.

use std::time::Duration;

use myelin::{
    event::{Rules, SigningKey, json},
    graph::Membership,
};
use ruma::RoomId;
use serde_json::{Value, json};

use super::{Stage, rest};
use crate::{
    federation::rooms::{act, join, membership, pdu, server, state, sync},
    harness::{Answer, TestServer},
};

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
        let is_spam = |field: &str| text["content"][field].as_str().is_some_and(|said| said.contains("spam"));
        if is_spam("body") || is_spam("reason") {
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

/// How often the policy server was asked since the last time.
fn asked(stage: &Stage) -> usize {
    stage.asked().iter().filter(|line| line.ends_with("POST /_matrix/policy/v1/sign")).count()
}

/// Whether the policy server has signed a room's current state of this type and key.
fn is_signed(server: &TestServer, room: &RoomId, kind: &str, key: &str) -> bool {
    let event_id = &state(server, room)[&(kind.to_owned(), key.to_owned())];
    let event: Value = serde_json::from_slice(pdu(server, event_id).json()).unwrap();
    event["signatures"]["p.q"]["ed25519:policy_server"].is_string()
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_left_alone_for_a_minute() {
    let stage = policed().await;
    stage.answers(|_| Some((503, json!({}))));
    for text in ["one", "two", "three"] {
        say(&stage, text).await.refused(403, "M_FORBIDDEN");
    }
    assert_eq!(asked(&stage), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    say(&stage, "four").await.refused(403, "M_FORBIDDEN");
    assert_eq!(asked(&stage), 1);
    // A refusal is an answer.
    tokio::time::advance(Duration::from_secs(61)).await;
    stage.answers(|_| Some((400, json!({"errcode": "M_FORBIDDEN", "error": "no"}))));
    for text in ["five", "six"] {
        say(&stage, text).await.refused(403, "M_FORBIDDEN");
    }
    assert_eq!(asked(&stage), 2);
}

#[tokio::test(start_paused = true)]
async fn memberships_across_servers_are_signed_or_refused() {
    let stage = policed().await;
    let (scene, here) = (&stage.scene, &stage.scene.server);
    let there = server(&scene.network, "c.d");
    let (carol, dave) = (there.register_user("carol").await, there.register_user("dave").await);
    let room = &scene.room;
    let target = |reason: &str| json!({"user_id": carol.user_id, "reason": reason});
    scene.network.sent();
    let refused = act(here, &scene.alice, room, "invite", target("spam")).await;
    refused.refused(403, "M_FORBIDDEN");
    assert_eq!(refused.json["error"], "We know spam when we see it");
    assert!(sync(&there, &carol).await["rooms"]["invite"].get(room.as_str()).is_none(), "it went nowhere");
    act(here, &scene.alice, room, "invite", target("hello")).await.ok();
    assert!(sync(&there, &carol).await["rooms"]["invite"].get(room.as_str()).is_some());
    assert_eq!(asked(&stage), 2);

    let declined = act(&there, &carol, room, "leave", json!({"reason": "spam"})).await;
    declined.ok();
    assert_eq!(membership(here, room, &carol.user_id), Some(Membership::Invite), "nobody here heard of it");
    join(&there, &dave, room.as_str(), &["a.b"]).await.ok();
    assert_eq!(asked(&stage), 2);
    for server in [here, &there] {
        assert!(is_signed(server, room, "m.room.member", &dave.user_id));
    }
}

#[tokio::test(start_paused = true)]
async fn what_joins_extremities_or_ends_a_room_is_signed() {
    let stage = policed().await;
    let trunk = stage.says("trunk", None);
    stage.send("1", &[&trunk]).await;
    let forks: Vec<_> = (0..20).map(|at| stage.says(&at.to_string(), Some(&[&trunk]))).collect();
    stage.send("2", &forks.iter().collect::<Vec<_>>()).await;
    rest().await;
    assert!(stage.scene.tips().len() <= 10, "{}", stage.scene.tips().len());
    assert!(asked(&stage) > 21, "what joins them, too");
    let upgrade = json!({"new_version": "11"});
    act(&stage.scene.server, &stage.scene.alice, &stage.scene.room, "upgrade", upgrade).await.ok();
    assert!(is_signed(&stage.scene.server, &stage.scene.room, "m.room.tombstone", ""));
}

/// Nobody could have signed the first events of a room.
#[tokio::test(start_paused = true)]
async fn no_room_begins_under_a_policy_server() {
    let stage = Stage::new().await;
    let content = json!({"via": "a.b", "public_keys": policy()["public_keys"]});
    let body = json!({"name": "A name", "initial_state": [{"type": "m.room.policy", "content": content}]});
    let refused = stage.scene.server.post("/v3/createRoom").by(&stage.scene.alice).json(&body).send().await;
    refused.refused(400, "M_INVALID_ROOM_STATE");
}
