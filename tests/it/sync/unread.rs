//! Unread counts.

use serde_json::{Value, json};

use super::{create_room, filter, join, leave, public_room, say, send, since, sync, token};
use crate::harness::{TestServer, TestUser};

fn counts(answer: &Value, room: &str) -> (u64, u64) {
    let counts = &answer["rooms"]["join"][room]["unread_notifications"];
    (counts["notification_count"].as_u64().unwrap(), counts["highlight_count"].as_u64().unwrap())
}

async fn read(server: &TestServer, user: &TestUser, room: &str, event: &str, body: Value) {
    server.post(&format!("/v3/rooms/{room}/receipt/m.read/{event}")).by(user).json(&body).send().await.ok();
}

async fn two_in_a_room(server: &TestServer) -> (TestUser, TestUser, String) {
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(server, &alice).await;
    join(server, &bob, &room).await;
    (alice, bob, room)
}

#[tokio::test(start_paused = true)]
async fn messages_count_until_they_are_read() {
    let server = TestServer::start();
    let (alice, bob, room) = two_in_a_room(&server).await;
    let first = sync(&server, &bob, "").await;
    say(&server, &alice, &room, "one").await;
    let two = say(&server, &alice, &room, "two").await;
    let answer = since(&server, &bob, &first).await;
    assert_eq!(counts(&answer, &room), (2, 0));
    say(&server, &alice, &room, "three, bob").await;
    let answer = since(&server, &bob, &answer).await;
    assert_eq!(counts(&answer, &room), (3, 0));
    read(&server, &bob, &room, &two, json!({})).await;
    let answer = since(&server, &bob, &answer).await;
    assert_eq!(counts(&answer, &room), (1, 0), "the receipt alone is news");
    say(&server, &bob, &room, "mine").await;
    assert_eq!(counts(&since(&server, &bob, &answer).await, &room), (1, 0), "one's own do not count");
    let server = server.restart().await;
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn mentions_are_highlights() {
    let server = TestServer::start();
    let (alice, bob, room) = two_in_a_room(&server).await;
    let first = sync(&server, &bob, "").await;
    let content = json!({"msgtype": "m.text", "body": "hey", "m.mentions": {"user_ids": [bob.user_id]}});
    send(&server, &alice, &room, "mention", content).await;
    assert_eq!(counts(&since(&server, &bob, &first).await, &room), (1, 1));
    let everybody = json!({"msgtype": "m.text", "body": "@room", "m.mentions": {"room": true}});
    send(&server, &alice, &room, "room", everybody).await;
    assert_eq!(counts(&since(&server, &bob, &first).await, &room), (2, 2), "the creator may notify all");
}

#[tokio::test(start_paused = true)]
async fn a_long_absence_is_counted_through_its_memo() {
    let server = TestServer::start();
    let (alice, bob, room) = two_in_a_room(&server).await;
    let mut last = String::new();
    for number in 0..60 {
        last = say(&server, &alice, &room, &format!("m{number}")).await;
    }
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (60, 0));
    tokio::task::yield_now().await;
    say(&server, &alice, &room, "one more").await;
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (61, 0));
    read(&server, &bob, &room, &last, json!({})).await;
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn threads_count_by_themselves_when_wanted() {
    let server = TestServer::start();
    let (alice, bob, room) = two_in_a_room(&server).await;
    let root = say(&server, &alice, &room, "root").await;
    let relation = json!({"rel_type": "m.thread", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "in thread", "m.relates_to": relation});
    let reply = send(&server, &alice, &room, "reply", content).await;
    let by_thread = filter(&json!({"room": {"timeline": {"unread_thread_notifications": true}}}));
    let answer = sync(&server, &bob, &by_thread).await;
    assert_eq!(counts(&answer, &room), (1, 0), "the main timeline");
    let threads = &answer["rooms"]["join"][&room]["unread_thread_notifications"];
    assert_eq!(*threads, json!({&root: {"notification_count": 1, "highlight_count": 0}}));
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (2, 0), "together otherwise");

    read(&server, &bob, &room, &root, json!({"thread_id": "main"})).await;
    let answer = sync(&server, &bob, &format!("{by_thread}&since={}", token(&answer))).await;
    assert_eq!(counts(&answer, &room), (0, 0));
    assert_eq!(answer["rooms"]["join"][&room]["unread_thread_notifications"][&root]["notification_count"], 1);
    read(&server, &bob, &room, &reply, json!({"thread_id": root})).await;
    let answer = sync(&server, &bob, &format!("{by_thread}&since={}", token(&answer))).await;
    assert_eq!(answer["rooms"]["join"][&room]["unread_thread_notifications"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_new_name_leaves_unread_what_is() {
    let server = TestServer::start();
    let (alice, bob, room) = two_in_a_room(&server).await;
    for text in ["one", "two", "three"] {
        say(&server, &alice, &room, text).await;
    }
    let target = format!("/v3/profile/{}/displayname", bob.user_id);
    server.put(&target).by(&bob).json(&json!({"displayname": "Bobby"})).send().await.ok();
    let target = format!("/v3/rooms/{room}/state/m.room.member/{}", bob.user_id);
    let named = json!({"membership": "join", "displayname": "Bobby"});
    server.put(&target).by(&bob).json(&named).send().await.ok();
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (3, 0));
    leave(&server, &bob, &room).await;
    say(&server, &alice, &room, "while away").await;
    join(&server, &bob, &room).await;
    say(&server, &alice, &room, "again").await;
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (1, 0), "from the last join on");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_the_join_never_counts() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let state = json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]);
    let room = create_room(&server, &alice, json!({"preset": "public_chat", "initial_state": state})).await;
    let root = say(&server, &alice, &room, "root").await;
    for number in 0..3 {
        let relation = json!({"rel_type": "m.thread", "event_id": root});
        let content = json!({"msgtype": "m.text", "body": "in thread", "m.relates_to": relation});
        send(&server, &alice, &room, &format!("reply{number}"), content).await;
    }
    join(&server, &bob, &room).await;
    let last = say(&server, &alice, &room, "hello").await;
    read(&server, &bob, &room, &last, json!({"thread_id": "main"})).await;
    assert_eq!(counts(&sync(&server, &bob, "").await, &room), (0, 0));
    let by_thread = filter(&json!({"room": {"timeline": {"unread_thread_notifications": true}}}));
    let answer = sync(&server, &bob, &by_thread).await;
    assert_eq!(answer["rooms"]["join"][&room]["unread_thread_notifications"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn what_is_redacted_does_not_count_any_more() {
    let server = TestServer::start();
    let (alice, bob, room) = two_in_a_room(&server).await;
    let first = sync(&server, &bob, "").await;
    let one = say(&server, &alice, &room, "one").await;
    say(&server, &alice, &room, "two").await;
    let answer = since(&server, &bob, &first).await;
    assert_eq!(counts(&answer, &room), (2, 0));
    server.put(&format!("/v3/rooms/{room}/redact/{one}/t")).by(&alice).json(&json!({})).send().await.ok();
    assert_eq!(counts(&since(&server, &bob, &answer).await, &room), (1, 0));
    assert_eq!(counts(&since(&server, &bob, &first).await, &room), (1, 0), "whenever it is asked for");
}
