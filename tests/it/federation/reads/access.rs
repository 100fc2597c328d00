//! Who may read a room at all.

use serde_json::json;

use super::{Draft, Scene, encoded};
use crate::harness::{Answer, Peer};

/// Every endpoint of a room, asked about one event of it.
async fn all(scene: &Scene, event_id: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for target in scene.targets(event_id) {
        answers.push(scene.get(&target).await);
    }
    answers.push(scene.missing(&json!({"latest_events": [event_id], "earliest_events": []})).await);
    answers
}

async fn refused_everywhere(scene: &Scene, event_id: &str, code: &str) {
    for answer in all(scene, event_id).await {
        answer.refused(403, code);
    }
    scene.get(&format!("/event/{}", encoded(event_id))).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn only_a_server_that_is_in_the_room_reads_it() {
    let scene = Scene::new("world_readable").await;
    let said = scene.says("hello").await;
    refused_everywhere(&scene, said.as_str(), "M_FORBIDDEN").await;

    scene.member("eve", "join").await;
    for answer in all(&scene, said.as_str()).await {
        answer.ok();
    }
    assert_eq!(scene.event(&said).await["content"]["body"], "hello");

    scene.member("eve", "leave").await;
    refused_everywhere(&scene, said.as_str(), "M_FORBIDDEN").await;
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_not_known_is_refused_like_one_that_is_not_theirs() {
    let mut scene = Scene::new("shared").await;
    let said = scene.says("hello").await;
    let messages = |answers: Vec<Answer>| answers.into_iter().map(|answer| (answer.status, answer.body));
    let theirs: Vec<_> = messages(all(&scene, said.as_str()).await).collect();
    scene.room = "!nowhere:a.b".try_into().unwrap();
    let nowhere: Vec<_> = messages(all(&scene, said.as_str()).await).collect();
    assert_eq!(theirs, nowhere);
}

#[tokio::test(start_paused = true)]
async fn an_access_control_list_keeps_a_server_out() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let said = scene.says("hello").await;
    scene.sets("m.room.server_acl", "", json!({"allow": ["*"], "deny": ["P.Q"]})).await;
    refused_everywhere(&scene, said.as_str(), "M_FORBIDDEN").await;
    scene.sets("m.room.server_acl", "", json!({"allow": ["p.?"]})).await;
    for answer in all(&scene, said.as_str()).await {
        answer.ok();
    }
    scene.sets("m.room.server_acl", "", json!({})).await;
    refused_everywhere(&scene, said.as_str(), "M_FORBIDDEN").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_reads_for_itself_only() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let said = scene.says("hello").await;
    let other: Peer = scene.other_peer("x.y");
    for target in scene.targets(said.as_str()) {
        let target = format!("/_matrix/federation/v1{target}");
        other.get(&scene.server, &target).await.refused(403, "M_FORBIDDEN");
        let unsigned = scene.server.request(http::Method::GET, target).send().await;
        unsigned.refused(401, "M_UNAUTHORIZED");
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_other_rooms_outliers_and_rejected_ones_are_not_of_the_room() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let body = json!({"preset": "public_chat"});
    let other = scene.server.post("/v3/createRoom").by(&scene.alice).json(&body).send().await.ok();
    let path = format!("/v3/rooms/{}/send/m.room.message/1", other["room_id"].as_str().unwrap());
    let secret = json!({"msgtype": "m.text", "body": "secret"});
    let secret = scene.server.put(&path).by(&scene.alice).json(&secret).send().await.ok();
    let secret = super::event_id(&secret);
    // Eve may not set the name.
    let sender = scene.user("eve");
    let content = json!({"name": "Eve's"});
    let draft = Draft { sender, kind: "m.room.name", state_key: Some(String::new()), content, prev: None };
    let (rejected, verdict) = scene.receive(draft).await;
    assert!(matches!(verdict, myelin::graph::Verdict::Rejected(_)), "{verdict:?}");
    let sender = scene.user("eve");
    let content = json!({"msgtype": "m.text", "body": "fetched"});
    let draft = Draft { sender, kind: "m.room.message", state_key: None, content, prev: None };
    let outlier = scene.receive_outlier(draft).await;

    for id in [secret.as_str(), rejected.as_str(), outlier.as_str(), "$unknown"] {
        for target in &scene.targets(id)[..3] {
            scene.get(target).await.refused(404, "M_NOT_FOUND");
        }
        scene.get(&format!("/event/{}", encoded(id))).await.refused(404, "M_NOT_FOUND");
    }
    for id in [&secret, &outlier, &"$unknown".try_into().unwrap()] {
        assert!(scene.backfill(id, 10).await.is_empty());
        let missing = scene.missing(&json!({"latest_events": [id], "earliest_events": []})).await.ok();
        assert_eq!(missing, json!({"events": []}));
    }
    let from_rejected = super::ids_of(&scene, &scene.backfill(&rejected, 100).await);
    assert!(!from_rejected.is_empty() && !from_rejected.contains(&rejected), "what lies behind it is given, it is not");
}

#[tokio::test(start_paused = true)]
async fn a_soft_failed_event_is_given_as_others_may_have_accepted_it() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    scene.member("adam", "join").await;
    let before = scene.says("before the ban").await;
    let ban = json!({"user_id": scene.user("eve")});
    scene.server.post(&format!("/v3/rooms/{}/ban", scene.room)).by(&scene.alice).json(&ban).send().await.ok();
    let sender = scene.user("eve");
    let content = json!({"msgtype": "m.text", "body": "late"});
    let auth = scene.before(&before);
    let prev = Some(vec![before]);
    let draft = Draft { sender, kind: "m.room.message", state_key: None, content, prev };
    let (late, verdict) = scene.receive_by(draft, auth).await;
    assert!(matches!(verdict, myelin::graph::Verdict::SoftFailed(_)), "{verdict:?}");
    assert_eq!(scene.event(&late).await["content"]["body"], "late");
    assert_eq!(scene.backfill(&late, 1).await.len(), 1);
}
