//! Rooms in an answer: timelines, states, sections.

use serde_json::{Value, json};

use super::{create_room, filter, invite, join, keys, leave, public_room, say, set_state, since, sync, texts, token};
use crate::harness::TestServer;

#[tokio::test(start_paused = true)]
async fn a_small_room_is_all_timeline() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = create_room(&server, &alice, json!({"name": "Kitchen"})).await;
    let wide = filter(&json!({"room": {"timeline": {"limit": 50}}}));
    let answer = sync(&server, &alice, &wide).await;
    let found = &answer["rooms"]["join"][&room];
    let timeline = found["timeline"]["events"].as_array().unwrap();
    assert_eq!(timeline[0]["type"], "m.room.create");
    assert_eq!(timeline.last().unwrap()["type"], "m.room.name");
    assert!(timeline.iter().all(|event| event.get("room_id").is_none() && event["unsigned"]["age"].is_i64()));
    assert_eq!(found["state"]["events"], json!([]));
    assert_eq!(found["timeline"]["limited"], false);
    assert_eq!(found["summary"], json!({"m.joined_member_count": 1, "m.invited_member_count": 0}));
    assert!(since(&server, &alice, &answer).await.get("rooms").is_none());
}

#[tokio::test(start_paused = true)]
async fn state_and_timeline_together_are_the_room() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = create_room(&server, &alice, json!({"name": "one", "topic": "t"})).await;
    set_state(&server, &alice, &room, "m.room.name", json!({"name": "two"})).await;
    let two = filter(&json!({"room": {"timeline": {"limit": 2}}}));
    let answer = sync(&server, &alice, &two).await;
    let found = &answer["rooms"]["join"][&room];
    assert_eq!(found["timeline"]["limited"], true);
    let timeline = found["timeline"]["events"].as_array().unwrap();
    assert_eq!(timeline.last().unwrap()["content"]["name"], "two");
    assert_eq!(timeline.last().unwrap()["unsigned"]["prev_content"], json!({"name": "one"}));
    let before = found["state"]["events"].as_array().unwrap();
    let name = before.iter().find(|event| event["type"] == "m.room.name");
    assert!(name.is_none_or(|name| name["content"]["name"] == "one"), "the state at the start of the timeline");

    let after = sync(&server, &alice, &format!("{two}&use_state_after=true")).await;
    let found = &after["rooms"]["join"][&room];
    assert!(found.get("state").is_none());
    let name = found["state_after"]["events"].as_array().unwrap().iter().find(|event| event["type"] == "m.room.name");
    assert_eq!(name.unwrap()["content"]["name"], "two", "the state at its end");
    let unstable = sync(&server, &alice, &format!("{two}&org.matrix.msc4222.use_state_after=true")).await;
    let found = &unstable["rooms"]["join"][&room];
    assert!(
        found["org.matrix.msc4222.state_after"].is_object(),
        "clients look for it under the name that they asked by"
    );
    assert!(found.get("state").is_none() && found.get("state_after").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_and_can_be_filled() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let first = sync(&server, &bob, "").await;
    for number in 0..8 {
        say(&server, &alice, &room, &format!("m{number}")).await;
    }
    set_state(&server, &alice, &room, "m.room.topic", json!({"topic": "in the gap"})).await;
    for number in 8..12 {
        say(&server, &alice, &room, &format!("m{number}")).await;
    }
    let four = filter(&json!({"room": {"timeline": {"limit": 4}}}));
    let answer = sync(&server, &bob, &format!("{four}&since={}", token(&first))).await;
    let found = &answer["rooms"]["join"][&room];
    assert_eq!(texts(found), ["m8", "m9", "m10", "m11"]);
    assert_eq!(found["timeline"]["limited"], true);
    assert_eq!(keys(&found["state"]["events"]), [("m.room.topic".to_owned(), String::new())]);
    let prev = found["timeline"]["prev_batch"].as_str().unwrap();
    let target = format!("/v3/rooms/{room}/messages?dir=b&limit=9&from={prev}&to={}", token(&first));
    let page = server.get(&target).by(&bob).send().await.ok();
    let bodies: Vec<_> =
        page["chunk"].as_array().unwrap().iter().filter_map(|event| event["content"]["body"].as_str()).collect();
    assert_eq!(bodies, ["m7", "m6", "m5", "m4", "m3", "m2", "m1", "m0"]);
}

#[tokio::test(start_paused = true)]
async fn full_state_is_sent_again_when_asked_for() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = public_room(&server, &alice).await;
    let first = sync(&server, &alice, "").await;
    let query = format!("full_state=true&timeout=30000&since={}", token(&first));
    let answer = sync(&server, &alice, &query).await;
    let found = &answer["rooms"]["join"][&room];
    assert_eq!(found["timeline"]["events"], json!([]));
    assert!(keys(&found["state"]["events"]).contains(&("m.room.create".to_owned(), String::new())));
}

#[tokio::test(start_paused = true)]
async fn a_joined_room_comes_whole_and_a_re_joined_one_again() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    for number in 0..15 {
        say(&server, &alice, &room, &format!("m{number}")).await;
    }
    let first = sync(&server, &bob, "").await;
    assert!(first.get("rooms").is_none());
    join(&server, &bob, &room).await;
    let joined = since(&server, &bob, &first).await;
    let found = &joined["rooms"]["join"][&room];
    assert_eq!(found["timeline"]["limited"], true);
    assert_eq!(texts(found), ["m6", "m7", "m8", "m9", "m10", "m11", "m12", "m13", "m14"]);
    assert!(keys(&found["state"]["events"]).contains(&("m.room.create".to_owned(), String::new())));

    leave(&server, &bob, &room).await;
    let left = since(&server, &bob, &joined).await;
    let events = &left["rooms"]["leave"][&room]["timeline"]["events"];
    assert_eq!((events[0]["state_key"].as_str(), events.as_array().unwrap().len()), (Some(&*bob.user_id), 1));
    say(&server, &alice, &room, "while away").await;
    join(&server, &bob, &room).await;
    let again = since(&server, &bob, &left).await;
    let found = &again["rooms"]["join"][&room];
    assert!(keys(&found["state"]["events"]).contains(&("m.room.create".to_owned(), String::new())), "all of it, again");
}

#[tokio::test(start_paused = true)]
async fn history_that_is_not_for_the_user_stays_out() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let state = json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]);
    let room = create_room(&server, &alice, json!({"preset": "public_chat", "initial_state": state})).await;
    say(&server, &alice, &room, "secret").await;
    join(&server, &bob, &room).await;
    say(&server, &alice, &room, "open").await;
    let answer = sync(&server, &bob, "").await;
    assert_eq!(texts(&answer["rooms"]["join"][&room]), ["open"]);
}

#[tokio::test(start_paused = true)]
async fn invites_and_knocks_carry_stripped_state() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let knockable = json!([{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]);
    let room = create_room(&server, &alice, json!({"name": "Den", "initial_state": knockable})).await;
    let first = sync(&server, &bob, "").await;
    server.post(&format!("/v3/knock/{room}")).by(&bob).json(&json!({})).send().await.ok();
    let knocking = since(&server, &bob, &first).await;
    let state = keys(&knocking["rooms"]["knock"][&room]["knock_state"]["events"]);
    assert!(state.contains(&("m.room.name".to_owned(), String::new())), "{knocking}");
    invite(&server, &alice, &room, &bob).await;
    let invited = since(&server, &bob, &knocking).await;
    let events = &invited["rooms"]["invite"][&room]["invite_state"]["events"];
    let state = keys(events);
    for kind in ["m.room.create", "m.room.join_rules", "m.room.name"] {
        assert!(state.contains(&(kind.to_owned(), String::new())), "{kind} in {invited}");
    }
    for member in [&alice.user_id, &bob.user_id] {
        assert!(state.contains(&("m.room.member".to_owned(), member.clone())));
    }
    assert!(events.as_array().unwrap().iter().all(|event| event.get("event_id").is_none()));
    let has_time = |event: &Value| event["origin_server_ts"].is_u64();
    assert!(events.as_array().unwrap().iter().all(|event| has_time(event) == (event["type"] == "m.room.create")));
    assert!(since(&server, &bob, &invited).await.get("rooms").is_none(), "once");
    assert!(sync(&server, &bob, "").await["rooms"]["invite"][&room].is_object(), "and to whom everything is new");
    leave(&server, &bob, &room).await;
    let rejected = since(&server, &bob, &invited).await;
    let left = &rejected["rooms"]["leave"][&room];
    assert_eq!(left["timeline"]["events"].as_array().unwrap().len(), 1, "his own leave, and nothing of the room");
    assert_eq!(left["state"]["events"], json!([]));
    let after = sync(&server, &bob, &format!("use_state_after=true&since={}", token(&invited))).await;
    let after = keys(&after["rooms"]["leave"][&room]["state_after"]["events"]);
    assert_eq!(after, [("m.room.member".to_owned(), bob.user_id.clone())], "the state at the end is that he left");
}

#[tokio::test(start_paused = true)]
async fn the_sending_device_gets_its_transaction_id_back() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    say(&server, &alice, &room, "mine").await;
    let last = |answer: &Value| {
        answer["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap().last().unwrap()["unsigned"].clone()
    };
    assert_eq!(last(&sync(&server, &alice, "").await)["transaction_id"], "mine");
    let theirs = last(&sync(&server, &bob, "").await);
    assert!(theirs.get("transaction_id").is_none());
    assert_eq!(theirs["membership"], "join");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_room_is_gone() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    leave(&server, &bob, &room).await;
    let all = filter(&json!({"room": {"include_leave": true}}));
    assert!(sync(&server, &bob, &all).await["rooms"]["leave"][&room].is_object());
    server.post(&format!("/v3/rooms/{room}/forget")).by(&bob).json(&json!({})).send().await.ok();
    assert!(sync(&server, &bob, &all).await.get("rooms").is_none());
}

#[tokio::test(start_paused = true)]
async fn other_clients_learn_that_a_room_that_was_left_and_forgotten_is_gone() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let first = sync(&server, &bob, "").await;
    say(&server, &alice, &room, "not for those who forget").await;
    leave(&server, &bob, &room).await;
    server.post(&format!("/v3/rooms/{room}/forget")).by(&bob).json(&json!({})).send().await.ok();
    let answer = since(&server, &bob, &first).await;
    let events = answer["rooms"]["leave"][&room]["timeline"]["events"].as_array().unwrap().clone();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["content"]["membership"], "leave");
    assert!(since(&server, &bob, &answer).await.get("rooms").is_none(), "once");
}

#[tokio::test]
async fn what_was_sent_once_is_sent_anew_when_it_has_changed() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = create_room(&server, &alice, json!({})).await;
    let (edited, redacted) = (say(&server, &alice, &room, "befroe").await, say(&server, &alice, &room, "oops").await);
    let event_in = |answer: &Value, event_id: &str| -> Value {
        let events = answer["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap();
        events.iter().find(|event| event["event_id"] == *event_id).unwrap().clone()
    };
    let first = sync(&server, &alice, "").await;
    assert_eq!(event_in(&first, &edited)["unsigned"].get("m.relations"), None);
    assert_eq!(event_in(&first, &redacted)["content"]["body"], "oops");

    let edit = json!({"msgtype": "m.text", "body": "* before", "m.new_content": {"msgtype": "m.text", "body": "before"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": edited}});
    server.put(&format!("/v3/rooms/{room}/send/m.room.message/edit")).by(&alice).json(&edit).send().await.ok();
    let second = sync(&server, &alice, "").await;
    assert_eq!(event_in(&second, &edited)["unsigned"]["m.relations"]["m.replace"]["content"], edit);
    server.put(&format!("/v3/rooms/{room}/redact/{redacted}/redact")).by(&alice).json(&json!({})).send().await.ok();
    let third = sync(&server, &alice, "").await;
    assert_eq!(event_in(&third, &redacted)["content"], json!({}));
    assert_eq!(event_in(&third, &redacted)["unsigned"]["redacted_because"]["type"], "m.room.redaction");
}

#[tokio::test(start_paused = true)]
async fn a_room_joined_and_left_in_between_comes_with_its_state() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = create_room(&server, &alice, json!({"preset": "public_chat", "name": "Den"})).await;
    let first = sync(&server, &bob, "").await;
    join(&server, &bob, &room).await;
    for number in 0..12 {
        say(&server, &alice, &room, &format!("m{number}")).await;
    }
    leave(&server, &bob, &room).await;
    let answer = since(&server, &bob, &first).await;
    let left = &answer["rooms"]["leave"][&room];
    assert_eq!(left["timeline"]["limited"], true);
    let state = keys(&left["state"]["events"]);
    for kind in ["m.room.create", "m.room.name", "m.room.power_levels"] {
        assert!(state.contains(&(kind.to_owned(), String::new())), "{kind} in {state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_after_a_leave_is_told() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    leave(&server, &bob, &room).await;
    let first = sync(&server, &bob, "").await;
    say(&server, &alice, &room, "behind his back").await;
    let whom = json!({"user_id": bob.user_id});
    server.post(&format!("/v3/rooms/{room}/ban")).by(&alice).json(&whom).send().await.ok();
    let all = filter(&json!({"room": {"include_leave": true}}));
    for answer in [since(&server, &bob, &first).await, sync(&server, &bob, &all).await] {
        let left = &answer["rooms"]["leave"][&room];
        let events = left["timeline"]["events"].as_array().unwrap();
        let last = events.last().unwrap_or_else(|| panic!("nothing in {answer}"));
        assert_eq!(
            (last["content"]["membership"].as_str(), last["state_key"].as_str()),
            (Some("ban"), Some(&*bob.user_id))
        );
        assert!(!texts(left).contains(&"behind his back"));
    }
    let told = since(&server, &bob, &first).await;
    assert_eq!(told["rooms"]["leave"][&room]["timeline"]["events"].as_array().unwrap().len(), 1);
    assert_eq!(told["rooms"]["leave"][&room]["state"]["events"], json!([]), "nothing that he knows, or may not");
}

#[tokio::test]
async fn a_state_too_large_to_be_kept_is_sent_whole_each_time() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = create_room(&server, &alice, json!({})).await;
    for number in 0..120 {
        let target = format!("/v3/rooms/{room}/state/org.example.entry/{number}");
        server.put(&target).by(&alice).json(&json!({"number": number})).send().await.ok();
    }
    for lazy in [false, true] {
        for _ in 0..2 {
            let wanted = json!({"room": {"state": {"lazy_load_members": lazy}, "timeline": {"limit": 1}}});
            let answer = sync(&server, &alice, &filter(&wanted)).await;
            let joined = &answer["rooms"]["join"][&room];
            let entries = |section: &str| {
                let events = joined[section]["events"].as_array().unwrap().iter();
                events.filter(|event| event["type"] == "org.example.entry").count()
            };
            assert_eq!((entries("state"), entries("timeline")), (119, 1), "{lazy}");
        }
    }
}

/// Whoever begins anew learns of what others did to them, but not of what they did themselves.
#[tokio::test(start_paused = true)]
async fn a_first_sync_tells_of_rooms_that_one_was_put_out_of() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let mut rooms = Vec::new();
    for action in ["kick", "ban", "forgotten", "left"] {
        let room = public_room(&server, &alice).await;
        join(&server, &bob, &room).await;
        let act = |action: &str| server.post(&format!("/v3/rooms/{room}/{action}"));
        let who = json!({"user_id": bob.user_id});
        match action {
            "left" => drop(act("leave").by(&bob).json(&json!({})).send().await.ok()),
            "forgotten" => {
                act("kick").by(&alice).json(&who).send().await.ok();
                act("forget").by(&bob).json(&json!({})).send().await.ok();
            }
            action => drop(act(action).by(&alice).json(&who).send().await.ok()),
        }
        rooms.push(room);
    }
    let first = sync(&server, &bob, "").await;
    let left = first["rooms"]["leave"].as_object().unwrap();
    let mut found: Vec<_> = left.keys().cloned().collect();
    let mut expected = rooms[..2].to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    for (room, membership) in rooms.iter().zip(["leave", "ban"]) {
        let events = left[room]["timeline"]["events"].as_array().unwrap();
        let last = events.last().unwrap();
        assert_eq!((&last["content"]["membership"], &last["sender"]), (&json!(membership), &json!(alice.user_id)));
    }
    assert!(since(&server, &bob, &first).await.get("rooms").is_none(), "once");
}
