//! Filters: what is left out.

use serde_json::{Value, json};

use super::{filter, join, keys, leave, public_room, say, set_state, sync, texts, token};
use crate::harness::TestServer;

#[tokio::test(start_paused = true)]
async fn rooms_types_and_senders_are_left_out() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let (one, two) = (public_room(&server, &alice).await, public_room(&server, &alice).await);
    join(&server, &bob, &one).await;
    say(&server, &alice, &one, "by alice").await;
    say(&server, &bob, &one, "by bob").await;
    let only_one = sync(&server, &alice, &filter(&json!({"room": {"rooms": [one]}}))).await;
    assert!(only_one["rooms"]["join"].get(&two).is_none() && only_one["rooms"]["join"][&one].is_object());
    let not_one = sync(&server, &alice, &filter(&json!({"room": {"not_rooms": [one]}}))).await;
    assert!(not_one["rooms"]["join"].get(&one).is_none());
    let messages = json!({"room": {"timeline": {"types": ["m.room.message"], "not_senders": [bob.user_id]}}});
    let answer = sync(&server, &alice, &filter(&messages)).await;
    let events = answer["rooms"]["join"][&one]["timeline"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(texts(&answer["rooms"]["join"][&one]), ["by alice"]);
    let no_state = filter(&json!({"room": {"state": {"types": []}, "timeline": {"limit": 1}}}));
    assert_eq!(sync(&server, &alice, &no_state).await["rooms"]["join"][&one]["state"]["events"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn state_that_the_timeline_filter_leaves_out_is_told_all_the_same() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = public_room(&server, &alice).await;
    let messages = filter(&json!({"room": {"timeline": {"types": ["m.room.message"]}}}));
    let first = sync(&server, &alice, &messages).await;
    say(&server, &alice, &room, "before").await;
    set_state(&server, &alice, &room, "m.room.topic", json!({"topic": "new"})).await;
    say(&server, &alice, &room, "after").await;
    let answer = sync(&server, &alice, &format!("{messages}&since={}", token(&first))).await;
    let found = &answer["rooms"]["join"][&room];
    assert_eq!(texts(found), ["before", "after"]);
    assert_eq!(keys(&found["state"]["events"]), [("m.room.topic".to_owned(), String::new())]);
}

#[tokio::test(start_paused = true)]
async fn left_rooms_come_when_wanted() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    say(&server, &alice, &room, "seen").await;
    leave(&server, &bob, &room).await;
    say(&server, &alice, &room, "unseen").await;
    assert!(sync(&server, &bob, "").await.get("rooms").is_none());
    let answer = sync(&server, &bob, &filter(&json!({"room": {"include_leave": true}}))).await;
    assert_eq!(texts(&answer["rooms"]["leave"][&room]), ["seen"]);
}

#[tokio::test(start_paused = true)]
async fn stored_filters_work_like_those_in_place() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = public_room(&server, &alice).await;
    let target = format!("/v3/user/{}/filter", alice.user_id);
    let stored = json!({"room": {"not_rooms": [room]}, "account_data": {"not_types": ["*"]}});
    let id = server.post(&target).by(&alice).json(&stored).send().await.ok();
    let answer = sync(&server, &alice, &format!("filter={}", id["filter_id"].as_str().unwrap())).await;
    assert!(answer.get("rooms").is_none() && answer.get("account_data").is_none(), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn only_the_wanted_fields_of_events_are_sent() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = public_room(&server, &alice).await;
    say(&server, &alice, &room, "hi").await;
    let fields = json!({"event_fields": ["type", "content.body"], "room": {"timeline": {"limit": 1}}});
    let answer = server.get(&format!("/v3/sync?{}", filter(&fields))).by(&alice).send().await.ok();
    let events = &answer["rooms"]["join"][&room]["timeline"]["events"];
    assert_eq!(*events, json!([{"type": "m.room.message", "content": {"body": "hi"}}]));
}

#[tokio::test(start_paused = true)]
async fn events_come_in_the_federation_format_when_wanted() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = public_room(&server, &alice).await;
    say(&server, &alice, &room, "hi").await;
    let format = json!({"event_format": "federation", "room": {"timeline": {"limit": 1}}});
    let answer = server.get(&format!("/v3/sync?{}", filter(&format))).by(&alice).send().await.ok();
    let event = &answer["rooms"]["join"][&room]["timeline"]["events"][0];
    assert_eq!(event["content"]["body"], "hi");
    assert!(
        event["hashes"]["sha256"].is_string() && event["signatures"].is_object() && event["depth"].is_u64(),
        "{event}"
    );
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_room_are_left_out_by_room() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let said = say(&server, &alice, &room, "hello").await;
    server.post(&format!("/v3/rooms/{room}/receipt/m.read/{said}")).by(&alice).json(&json!({})).send().await.ok();
    let parts = |answer: &Value| {
        let count = |part: &str| answer["rooms"]["join"][&room][part]["events"].as_array().map_or(0, Vec::len);
        ["timeline", "state", "ephemeral"].map(|part| count(part) > 0)
    };
    let ask = async |only: Value| sync(&server, &bob, &filter(&json!({"room": only}))).await;
    let small = json!({"limit": 1});
    assert_eq!(parts(&ask(json!({"timeline": small})).await), [true, true, true]);
    let without = json!({"not_rooms": [room]});
    let answer = ask(json!({"timeline": without})).await;
    assert_eq!(parts(&answer), [false, true, true]);
    assert!(keys(&answer["rooms"]["join"][&room]["state"]["events"]).iter().any(|(kind, _)| kind == "m.room.create"));
    assert_eq!(parts(&ask(json!({"timeline": small, "state": without})).await), [true, false, true]);
    assert_eq!(
        parts(&ask(json!({"timeline": small, "ephemeral": {"rooms": ["!other:localhost"]}})).await),
        [true, true, false]
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeline_of_no_events_is_empty_and_the_state_is_that_of_its_end() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    say(&server, &alice, &room, "x").await;
    let none = filter(&json!({"room": {"timeline": {"limit": 0}, "include_leave": true}}));
    let member = ("m.room.member".to_owned(), bob.user_id.clone());
    for section in ["join", "leave"] {
        let answer = sync(&server, &bob, &none).await;
        let found = &answer["rooms"][section][&room];
        assert_eq!((&found["timeline"]["events"], &found["timeline"]["limited"]), (&json!([]), &json!(true)));
        let state = found["state"]["events"].as_array().unwrap();
        let own = state.iter().find(|event| event["state_key"] == *bob.user_id).unwrap();
        assert_eq!(own["content"]["membership"], section);
        assert!(keys(&found["state"]["events"]).contains(&member));
        let back =
            format!("/v3/rooms/{room}/messages?dir=b&from={}", found["timeline"]["prev_batch"].as_str().unwrap());
        let page = server.get(&back).by(&bob).send().await.ok();
        assert_eq!(page["chunk"][usize::from(section == "leave")]["content"]["body"], "x");
        if section == "join" {
            leave(&server, &bob, &room).await;
        }
    }
}
