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

/// Whoever left, or was put out, reads what was there up to that, and nothing that came after.
#[tokio::test(start_paused = true)]
async fn who_was_in_the_room_reads_what_was_there_meanwhile() {
    for setting in ["shared", "joined"] {
        for is_kicked in [false, true] {
            let scene = Scene::new(setting).await;
            let before = scene.says("before").await;
            let join = scene.member("eve", "join").await;
            let meanwhile = scene.says("meanwhile").await;
            let out = if is_kicked {
                let body = json!({"user_id": scene.user("eve")});
                let kicked = scene.server.post(&format!("/v3/rooms/{}/kick", scene.room)).by(&scene.alice).json(&body);
                kicked.send().await.ok();
                scene.tips().pop().unwrap()
            } else {
                scene.member("eve", "leave").await
            };
            let after = scene.says("after").await;
            for event in [&join, &meanwhile, &out] {
                for target in &scene.targets(event.as_str())[..4] {
                    scene.get(target).await.ok();
                }
                let shown = scene.event(event).await;
                assert!(shown["content"]["body"] == "meanwhile" || shown["content"]["membership"] != json!(null));
            }
            let missing = scene.missing(&json!({"latest_events": [out], "earliest_events": [join]})).await.ok();
            let missing = super::ids_of(&scene, missing["events"].as_array().unwrap());
            assert_eq!(missing, std::slice::from_ref(&meanwhile));
            // What it would be shown of the past if it were in the room.
            let past = scene.backfill(&join, 2).await;
            assert_eq!(super::ids_of(&scene, &past), [join.clone(), before.clone()]);
            assert_eq!(past[1]["content"]["body"] == "before", setting == "shared");
            refused_everywhere(&scene, after.as_str(), "M_FORBIDDEN").await;
            // Somebody else's server never was in the room.
            let other: Peer = scene.other_peer("x.y");
            for target in scene.targets(meanwhile.as_str()) {
                let target = format!("/_matrix/federation/v1{target}");
                other.get(&scene.server, &target).await.refused(403, "M_FORBIDDEN");
            }
        }
    }
}

/// What is in a state that is given whole is given alone, too: another server's state may lie before our own join.
#[tokio::test(start_paused = true)]
async fn state_events_without_a_place_are_given_alone_to_who_is_in_the_room() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let (sender, content) = (scene.user("eve"), json!({"membership": "join", "displayname": "Eve"}));
    let state_key = Some(sender.to_string());
    let draft = Draft { sender, kind: "m.room.member", state_key, content, prev: None };
    let outlier = scene.receive_outlier(draft).await;
    assert_eq!(scene.event(&outlier).await["content"]["displayname"], "Eve");
    scene.member("eve", "leave").await;
    scene.get(&format!("/event/{}", encoded(outlier.as_str()))).await.refused(404, "M_NOT_FOUND");
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
