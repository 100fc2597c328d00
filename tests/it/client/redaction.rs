//! Redactions.

use serde_json::json;

use super::{
    api::{Api, confusions},
    rooms::{event_id, path, segment, txn},
};

fn redact(room: &str, target: &str) -> String {
    path(room, &format!("redact/{}/{}", segment(target), txn()))
}

#[tokio::test(start_paused = true)]
async fn content_is_taken_away_in_every_room_version() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    for version in 1..=12 {
        let request = json!({"preset": "public_chat", "room_version": version.to_string()});
        let room = api.create_room(&alice, request).await;
        api.join(&bob, &room).await;
        let by_endpoint = api.say(&bob, &room, "a secret").await;
        let by_event = api.say(&bob, &room, "another").await;
        let first = event_id(&api.put(&redact(&room, &by_endpoint), &bob, json!({"reason": "oops"})).await.ok());
        let content = json!({"redacts": by_event, "reason": "again"});
        let second = api.send_event(&bob, &room, "m.room.redaction", content).await;
        for (target, redaction, reason) in [(&by_endpoint, &first, "oops"), (&by_event, &second, "again")] {
            let event = api.event(&alice, &room, target).await;
            assert_eq!(event["content"], json!({}), "version {version}");
            let because = &event["unsigned"]["redacted_because"];
            assert_eq!((&because["event_id"], &because["content"]["reason"]), (&json!(redaction), &json!(reason)));
            assert_eq!(because["redacts"], **target);
            // Clients of any age find the target where they look for it.
            let redaction = api.event(&alice, &room, redaction).await;
            assert_eq!(redaction["redacts"], **target, "version {version}");
            if version >= 11 {
                assert_eq!(redaction["content"]["redacts"], **target);
            } else {
                assert_eq!(redaction["content"].get("redacts"), None);
            }
        }
        let history = api.history(&alice, &room, 'b', "limit=100").await;
        assert!(super::rooms::bodies(&history).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_sender_and_who_has_the_power_may() {
    let api = Api::open();
    let (alice, bob, carol) = (api.register("alice").await, api.register("bob").await, api.register("carol").await);
    let dave = api.register("dave").await;
    for version in ["1", "3", "11", "12"] {
        let room = api.create_room(&alice, json!({"preset": "public_chat", "room_version": version})).await;
        api.join(&bob, &room).await;
        api.join(&carol, &room).await;
        let message = api.say(&bob, &room, "x").await;
        api.put(&redact(&room, &message), &carol, json!({})).await.refused(403, "M_FORBIDDEN");
        let by_event = path(&room, &format!("send/m.room.redaction/{}", txn()));
        api.put(&by_event, &carol, json!({"redacts": message})).await.refused(403, "M_FORBIDDEN");
        api.put(&redact(&room, &message), &dave, json!({})).await.refused(403, "M_FORBIDDEN");
        assert_eq!(api.event(&alice, &room, &message).await["content"]["body"], "x");
        api.put(&redact(&room, &message), &alice, json!({})).await.ok();
        assert_eq!(api.event(&bob, &room, &message).await["content"], json!({}));
        let own = api.say(&carol, &room, "y").await;
        api.put(&redact(&room, &own), &carol, json!({})).await.ok();
    }
}

#[tokio::test(start_paused = true)]
async fn a_redaction_is_done_once_for_its_transaction() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.create_room(&alice, json!({})).await;
    let message = api.say(&alice, &room, "x").await;
    let target = path(&room, &format!("redact/{}/same", segment(&message)));
    let first = event_id(&api.put(&target, &alice, json!({})).await.ok());
    assert_eq!(event_id(&api.put(&target, &alice, json!({})).await.ok()), first);
    let api = api.restart();
    assert_eq!(event_id(&api.put(&target, &alice, json!({})).await.ok()), first);
    let again = event_id(&api.put(&redact(&room, &message), &alice, json!({})).await.ok());
    assert_ne!(again, first);
    let because = api.event(&alice, &room, &message).await["unsigned"]["redacted_because"]["event_id"].clone();
    assert_eq!(because, first, "the first redaction did it");
}

#[tokio::test(start_paused = true)]
async fn redacted_state_is_state_without_its_content() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.create_room(&alice, json!({"topic": "T"})).await;
    let state = api.get(&path(&room, "state/m.room.topic?format=event"), &alice).await.ok();
    let topic = event_id(&state);
    api.put(&redact(&room, &topic), &alice, json!({})).await.ok();
    assert_eq!(api.state(&alice, &room, "m.room.topic").await, json!({}));
    let state = api.get(&path(&room, "state/m.room.topic?format=event"), &alice).await.ok();
    assert!(state["unsigned"]["redacted_because"].is_object());
}

#[tokio::test(start_paused = true)]
async fn redacted_power_levels_judge_alike_before_and_after_a_restart() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    api.register("carol").await;
    api.register("dan").await;
    // In version 10 a redaction takes `invite` away, so that everybody may.
    let room = api.create_room(&alice, json!({"preset": "public_chat", "room_version": "10"})).await;
    api.join(&bob, &room).await;
    let mut levels = api.state(&alice, &room, "m.room.power_levels").await;
    levels["invite"] = json!(50);
    let levels = api.set_state(&alice, &room, "m.room.power_levels", levels).await;
    let invite = async |api: &Api, whom: &str| {
        let body = json!({"user_id": format!("@{whom}:localhost")});
        api.post(&path(&room, "invite"), &bob, body).await.status
    };
    assert_eq!(invite(&api, "carol").await, 403);
    api.put(&redact(&room, &levels), &alice, json!({})).await.ok();
    assert_eq!(invite(&api, "carol").await, 200);
    let api = api.restart();
    assert_eq!(invite(&api, "dan").await, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_redaction_is_refused() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.create_room(&alice, json!({})).await;
    let other = api.create_room(&alice, json!({})).await;
    let elsewhere = api.say(&alice, &other, "x").await;
    api.put(&redact(&room, "$none"), &alice, json!({})).await.refused(404, "M_NOT_FOUND");
    api.put(&redact(&room, &elsewhere), &alice, json!({})).await.refused(404, "M_NOT_FOUND");
    api.put(&redact(&room, "nonsense"), &alice, json!({})).await.refused(400, "M_INVALID_PARAM");
    api.put(&redact("!none:localhost", "$none"), &alice, json!({})).await.refused(403, "M_FORBIDDEN");
    let message = api.say(&alice, &room, "x").await;
    for value in confusions() {
        if !value.is_string() {
            api.put(&redact(&room, &message), &alice, json!({"reason": value})).await.refused(400, "M_BAD_JSON");
        }
        let by_event = path(&room, &format!("send/m.room.redaction/{}", txn()));
        api.put(&by_event, &alice, json!({"redacts": value})).await.refused(400, "M_BAD_JSON");
    }
    let by_event = path(&room, &format!("send/m.room.redaction/{}", txn()));
    api.put(&by_event, &alice, json!({})).await.refused(400, "M_BAD_JSON");
    assert_eq!(api.event(&alice, &room, &message).await["content"]["body"], "x");
}

#[tokio::test(start_paused = true)]
async fn no_state_redacts() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let levels = json!({"redact": 100, "users": {"@alice:localhost": 100, "@bob:localhost": 50}});
    for version in ["1", "10", "11"] {
        let request = json!({"preset": "public_chat", "room_version": version, "power_level_content_override": levels});
        let room = api.create_room(&alice, request).await;
        api.join(&bob, &room).await;
        let message = api.say(&alice, &room, "precious").await;
        for key in ["", "/", "/k"] {
            let target = path(&room, &format!("state/m.room.redaction{key}"));
            let answer = api.put(&target, &bob, json!({"redacts": message})).await;
            answer.refused(403, "M_FORBIDDEN");
            assert!(answer.json["error"].as_str().unwrap().contains("/redact"), "{}", answer.json);
        }
        assert_eq!(api.event(&alice, &room, &message).await["content"]["body"], "precious");
        let state = json!([{"type": "m.room.redaction", "content": {"redacts": message}}]);
        let answer = api.post("/v3/createRoom", &bob, json!({"initial_state": state})).await;
        answer.refused(400, "M_INVALID_ROOM_STATE");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_left_does_not_learn_why_something_was_redacted_afterwards() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.public_room(&alice).await;
    api.join(&bob, &room).await;
    let (early, late) = (api.say(&alice, &room, "x").await, api.say(&alice, &room, "y").await);
    let topic = api.set_state(&alice, &room, "m.room.topic", json!({"topic": "z"})).await;
    let redact = async |id: &str| {
        let target = path(&room, &format!("redact/{}/{}", segment(id), segment(id)));
        api.put(&target, &alice, json!({"reason": "because"})).await.ok();
    };
    redact(&early).await;
    api.leave(&bob, &room).await;
    redact(&late).await;
    redact(&topic).await;
    let reason = async |user: &str, id: &str| {
        api.event(user, &room, id).await["unsigned"]["redacted_because"]["content"]["reason"].clone()
    };
    assert_eq!(reason(&bob, &early).await, "because");
    assert!(reason(&bob, &late).await.is_null());
    assert_eq!(reason(&alice, &late).await, "because");
    for (user, told) in [(&alice, 1), (&bob, 0)] {
        let state = api.get(&path(&room, "state"), user).await;
        let reasons = String::from_utf8_lossy(&state.body).matches(r#""reason":"because""#).count();
        assert_eq!(reasons, told);
    }
}
