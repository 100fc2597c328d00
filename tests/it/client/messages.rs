//! Sending, and reading back.

use http::Method;
use ruma::api::{IncomingResponseExt as _, client::message::get_message_events};
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms::{bodies, event_id, kinds, path, segment, txn},
};

async fn room_of_two() -> (Api, String, String, String) {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.public_room(&alice).await;
    api.join(&bob, &room).await;
    (api, alice, bob, room)
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

fn query(json: &Value) -> String {
    segment(&json.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_request_is_done_once_however_often_it_is_made() {
    let (api, alice, bob, room) = room_of_two().await;
    let target = path(&room, "send/m.room.message/one");
    let first = event_id(&api.put(&target, &alice, text("x")).await.ok());
    assert_eq!(event_id(&api.put(&target, &alice, text("x")).await.ok()), first);
    assert_eq!(event_id(&api.put(&target, &alice, text("other words")).await.ok()), first);
    let api = api.restart();
    assert_eq!(event_id(&api.put(&target, &alice, text("x")).await.ok()), first);

    let other_device = super::api::token(&api.login("alice", "SECOND").await.ok());
    assert_ne!(event_id(&api.put(&target, &other_device, text("x")).await.ok()), first);
    assert_ne!(event_id(&api.put(&target, &bob, text("x")).await.ok()), first);
    let other_type = path(&room, "send/org.other/one");
    assert_ne!(event_id(&api.put(&other_type, &alice, text("x")).await.ok()), first);

    let together = path(&room, "send/m.room.message/together");
    let requests = (0..8).map(|_| api.put(&together, &alice, text("y")));
    let answers = futures_util::future::join_all(requests).await;
    let ids: std::collections::HashSet<_> = answers.into_iter().map(|answer| event_id(&answer.ok())).collect();
    assert_eq!(ids.len(), 1);
    let history = api.history(&alice, &room, 'b', "limit=100").await;
    assert_eq!(bodies(&history).iter().filter(|body| **body == "y").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_sending_device_gets_its_transaction_id_back() {
    let (api, alice, bob, room) = room_of_two().await;
    let id = event_id(&api.put(&path(&room, "send/m.room.message/mine"), &alice, text("x")).await.ok());
    assert_eq!(api.event(&alice, &room, &id).await["unsigned"]["transaction_id"], "mine");
    let other_device = super::api::token(&api.login("alice", "SECOND").await.ok());
    for token in [&bob, &other_device] {
        assert_eq!(api.event(token, &room, &id).await["unsigned"].get("transaction_id"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_refused() {
    let (api, alice, bob, room) = room_of_two().await;
    let carol = api.register("carol").await;
    let send = |kind: &str| path(&room, &format!("send/{}/{}", segment(kind), txn()));
    api.put(&send("m.room.message"), &carol, text("x")).await.refused(403, "M_FORBIDDEN");
    api.put("/v3/rooms/!none:localhost/send/m.room.message/1", &alice, text("x")).await.refused(403, "M_FORBIDDEN");
    api.put("/v3/rooms/none/send/m.room.message/1", &alice, text("x")).await.refused(400, "M_INVALID_PARAM");
    api.put(&send("m.room.message"), &alice, json!({"x": 1.5})).await.refused(400, "M_BAD_JSON");
    api.put(&send("m.room.message"), &alice, json!({"x": 9_007_199_254_740_992_u64})).await.refused(400, "M_BAD_JSON");
    api.put(&send("m.room.message"), &alice, text(&"x".repeat(66_000))).await.refused(413, "M_TOO_LARGE");
    // Bytes count, not characters.
    api.put(&send(&"é".repeat(127)), &alice, json!({})).await.ok();
    api.put(&send(&"é".repeat(128)), &alice, json!({})).await.refused(413, "M_TOO_LARGE");
    for body in ["[]", "7", "null", "\"x\"", "true"] {
        let target = format!("/_matrix/client{}", send("m.room.message"));
        api.send(Method::PUT, &target, Some(&alice), body).await.refused(400, "M_BAD_JSON");
    }
    for body in ["{", "", "{\"a\":}"] {
        let target = format!("/_matrix/client{}", send("m.room.message"));
        api.send(Method::PUT, &target, Some(&alice), body).await.refused(400, "M_NOT_JSON");
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let target = format!("/_matrix/client{}", send("m.room.message"));
    assert_eq!(api.send(Method::PUT, &target, Some(&alice), deep).await.status, 400);
    let delayed = format!("{}?org.matrix.msc4140.delay=1000", send("m.room.message"));
    api.put(&delayed, &alice, text("later")).await.refused(400, "M_UNRECOGNIZED");
    let long = path(&room, &format!("send/m.room.message/{}", "t".repeat(256)));
    api.put(&long, &alice, text("x")).await.refused(400, "M_INVALID_PARAM");
    api.set_state(&alice, &room, "m.room.power_levels", json!({"events_default": 50})).await;
    api.put(&send("m.room.message"), &bob, text("x")).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn an_event_as_large_as_may_be_is_sent_and_read() {
    let (api, alice, _, room) = room_of_two().await;
    // What is around the body takes less than 1,000 bytes.
    let id = api.say(&alice, &room, &"x".repeat(64_000)).await;
    assert_eq!(api.event(&alice, &room, &id).await["content"]["body"].as_str().unwrap().len(), 64_000);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_messages_are_paged_through_whole() {
    let (api, alice, bob, room) = room_of_two().await;
    let mut sent = Vec::new();
    for number in 0..500 {
        let token = if number % 3 == 0 { &alice } else { &bob };
        sent.push(api.say(token, &room, &number.to_string()).await);
    }
    let api = api.restart();
    let ids = |events: &[Value]| -> Vec<String> {
        let messages = events.iter().filter(|event| event["type"] == "m.room.message");
        messages.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let newest_first: Vec<String> = sent.iter().rev().cloned().collect();
    for limit in ["limit=7", "limit=100", "limit=1000", "limit=99999999999999999999999999999"] {
        assert_eq!(ids(&api.history(&alice, &room, 'b', limit).await), newest_first, "{limit}");
        assert_eq!(ids(&api.history(&alice, &room, 'f', limit).await), sent, "{limit}");
    }
    let of_alice = query(&json!({"types": ["m.room.message"], "senders": ["@alice:localhost"]}));
    let filtered = api.history(&bob, &room, 'b', &format!("limit=20&filter={of_alice}")).await;
    let expected: Vec<_> = sent.iter().step_by(3).rev().cloned().collect();
    assert_eq!(ids(&filtered), expected);
    let nothing = query(&json!({"types": ["x.y"]}));
    assert_eq!(api.history(&bob, &room, 'b', &format!("limit=20&filter={nothing}")).await, [] as [Value; 0]);
    let elsewhere = query(&json!({"not_rooms": [room]}));
    assert_eq!(api.history(&bob, &room, 'b', &format!("filter={elsewhere}")).await, [] as [Value; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_one_pages_back_disturbs_nothing() {
    let (api, alice, _, room) = room_of_two().await;
    for number in 0..10 {
        api.say(&alice, &room, &number.to_string()).await;
    }
    let page = api.get(&path(&room, "messages?dir=b&limit=4"), &alice).await.ok();
    assert_eq!(bodies(page["chunk"].as_array().unwrap()), ["9", "8", "7", "6"]);
    for number in 10..15 {
        api.say(&alice, &room, &number.to_string()).await;
    }
    let end = page["end"].as_str().unwrap();
    let next = api.get(&path(&room, &format!("messages?dir=b&limit=6&from={end}")), &alice).await.ok();
    assert_eq!(bodies(next["chunk"].as_array().unwrap()), ["5", "4", "3", "2", "1", "0"]);
    let forward = api.get(&path(&room, &format!("messages?dir=f&limit=9&from={end}")), &alice).await.ok();
    assert_eq!(bodies(forward["chunk"].as_array().unwrap()), ["6", "7", "8", "9", "10", "11", "12", "13", "14"]);
    let between = api.get(&path(&room, &format!("messages?dir=b&limit=50&to={end}")), &alice).await.ok();
    assert_eq!(bodies(between["chunk"].as_array().unwrap()).len(), 9);
    assert_eq!(between.get("end"), None);
}

#[tokio::test(start_paused = true)]
async fn members_are_loaded_lazily_with_a_page() {
    let (api, alice, bob, room) = room_of_two().await;
    api.say(&alice, &room, "1").await;
    api.say(&bob, &room, "2").await;
    let lazy = query(&json!({"lazy_load_members": true}));
    let page = api.get(&path(&room, &format!("messages?dir=b&limit=1&filter={lazy}")), &alice).await.ok();
    let state = page["state"].as_array().unwrap();
    assert_eq!(state.len(), 1);
    assert_eq!(
        (&state[0]["state_key"], &state[0]["content"]["membership"]),
        (&json!("@bob:localhost"), &json!("join"))
    );
    let page = api.get(&path(&room, &format!("messages?dir=b&limit=2&filter={lazy}")), &alice).await.ok();
    assert_eq!(page["state"].as_array().unwrap().len(), 2);
    let page = api.get(&path(&room, "messages?dir=b&limit=2"), &alice).await.ok();
    assert_eq!(page.get("state"), None);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_what_rumas_type_reads() {
    let (api, alice, _, room) = room_of_two().await;
    let message = api.say(&alice, &room, "a \"quoted\" \u{1F600} \u{2028}").await;
    api.say(&alice, &room, "b").await;
    let reply =
        json!({"msgtype": "m.text", "body": "t", "m.relates_to": {"rel_type": "m.thread", "event_id": message}});
    api.send_event(&alice, &room, "m.room.message", reply).await;
    let lazy = query(&json!({"lazy_load_members": true}));
    let page = api.get(&path(&room, &format!("messages?dir=b&limit=50&filter={lazy}")), &alice).await.ok();
    let body = page.to_string();
    let response = http::Response::new(body.as_bytes());
    let response = get_message_events::v3::Response::try_from_http_response(response).unwrap();
    assert_eq!(response.chunk.len(), page["chunk"].as_array().unwrap().len());
    for event in &response.chunk {
        event.deserialize().unwrap();
    }
    for event in &response.state {
        event.deserialize().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn odd_queries_are_refused_or_cut() {
    let (api, alice, _, room) = room_of_two().await;
    for (query, status) in [
        ("", 400),
        ("dir=x", 400),
        ("dir=b&limit=-1", 400),
        ("dir=b&limit=abc", 400),
        ("dir=b&limit=1.5", 400),
        ("dir=b&limit=", 400),
        ("dir=b&limit=0", 200),
        ("dir=b&limit=1000000000000000000000000000000", 200),
        ("dir=b&from=nonsense", 400),
        ("dir=b&to=nonsense", 400),
        ("dir=b&from=", 200),
        ("dir=b&filter=nonsense", 400),
        ("dir=b&filter=[]", 400),
        ("dir=b&filter=7", 400),
        ("dir=b&filter=%7B%22limit%22%3A-1%7D", 400),
        ("dir=b&filter=%7B%22limit%22%3A3%7D", 200),
        ("dir=b&filter=%7B%22types%22%3A7%7D", 400),
        ("dir=b&filter=%7B%7D", 200),
    ] {
        let answer = api.get(&path(&room, &format!("messages?{query}")), &alice).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.json);
    }
    let page = api.get(&path(&room, "messages?dir=b&limit=2"), &alice).await.ok();
    let end = page["end"].as_str().unwrap();
    let forged = format!("{}{}", &end[..end.len() - 1], if end.ends_with('A') { 'B' } else { 'A' });
    let answer = api.get(&path(&room, &format!("messages?dir=b&from={forged}")), &alice).await;
    answer.refused(400, "M_INVALID_PARAM");
    api.get(&path(&room, "messages?dir=b&filter=%7B%22limit%22%3A3%7D"), &alice).await.ok();
    let carol = api.register("carol").await;
    api.get(&path(&room, "messages?dir=b"), &carol).await.refused(403, "M_FORBIDDEN");
    api.get("/v3/rooms/!none:localhost/messages?dir=b", &carol).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn an_event_is_shown_with_what_lies_around_it() {
    let (api, alice, bob, room) = room_of_two().await;
    let mut ids = Vec::new();
    for number in 0..9 {
        ids.push(api.say(&alice, &room, &number.to_string()).await);
    }
    let context = |limit: &str| path(&room, &format!("context/{}?{limit}", segment(&ids[4])));
    let answer = api.get(&context("limit=4"), &bob).await.ok();
    let chunk = |name: &str| answer[name].as_array().unwrap().clone();
    assert_eq!(answer["event"]["content"]["body"], "4");
    assert_eq!(bodies(&chunk("events_before")), ["3", "2"]);
    assert_eq!(bodies(&chunk("events_after")), ["5", "6"]);
    assert!(kinds(&chunk("state")).contains(&"m.room.create"));
    let page =
        |dir: char, token: &Value| path(&room, &format!("messages?dir={dir}&limit=2&from={}", token.as_str().unwrap()));
    let before = api.get(&page('b', &answer["start"]), &bob).await.ok();
    assert_eq!(bodies(before["chunk"].as_array().unwrap()), ["1", "0"]);
    let after = api.get(&page('f', &answer["end"]), &bob).await.ok();
    assert_eq!(bodies(after["chunk"].as_array().unwrap()), ["7", "8"]);

    let alone = api.get(&context("limit=0"), &bob).await.ok();
    assert_eq!((&alone["events_before"], &alone["events_after"]), (&json!([]), &json!([])));
    let before = api.get(&page('b', &alone["start"]), &bob).await.ok();
    assert_eq!(bodies(before["chunk"].as_array().unwrap()), ["3", "2"]);
    let after = api.get(&page('f', &alone["end"]), &bob).await.ok();
    assert_eq!(bodies(after["chunk"].as_array().unwrap()), ["5", "6"]);

    let lazy = query(&json!({"lazy_load_members": true}));
    let answer = api.get(&context(&format!("limit=2&filter={lazy}")), &bob).await.ok();
    let members = answer["state"].as_array().unwrap().iter().filter(|event| event["type"] == "m.room.member").count();
    assert_eq!(members, 1, "only Alice spoke");
    for (query, status) in [("limit=-1", 400), ("limit=x", 400), ("filter=x", 400)] {
        assert_eq!(api.get(&context(query), &bob).await.status, status);
    }
    api.get(&path(&room, &format!("context/{}", segment("$none"))), &bob).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn events_are_found_by_id_in_their_room_alone() {
    let (api, alice, bob, room) = room_of_two().await;
    let other = api.create_room(&alice, json!({})).await;
    let id = api.say(&alice, &other, "secret").await;
    let event = api.event(&alice, &other, &id).await;
    assert_eq!((&event["room_id"], &event["event_id"]), (&json!(other), &json!(id)));
    assert_eq!(event["unsigned"]["membership"], "join");
    let target = |room: &str| path(room, &format!("event/{}", segment(&id)));
    api.get(&target(&room), &alice).await.refused(404, "M_NOT_FOUND");
    api.get(&target(&other), &bob).await.refused(404, "M_NOT_FOUND");
    api.get(&path(&room, "event/$none"), &alice).await.refused(404, "M_NOT_FOUND");
    api.get(&path(&room, "event/none"), &alice).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test(start_paused = true)]
async fn any_content_is_an_event() {
    let (api, alice, _, room) = room_of_two().await;
    for value in confusions() {
        if value == json!(1.5) {
            continue;
        }
        let content = json!({"body": value, "m.relates_to": value, "url": value, "m.mentions": value});
        let id = api.send_event(&alice, &room, "m.room.message", content.clone()).await;
        assert_eq!(api.event(&alice, &room, &id).await["content"], content);
    }
    let events = api.history(&alice, &room, 'b', "limit=100").await;
    assert!(events.len() > 6);
}
