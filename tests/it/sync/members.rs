//! Lazy-loading of members.

use serde_json::{Value, json};

use super::{filter, join, public_room, say, sync, token};
use crate::harness::{TestServer, TestUser};

/// A room of alice's with bob, carol and dan.
async fn room_of_four(server: &TestServer) -> (Vec<TestUser>, String) {
    let mut users = Vec::new();
    for name in ["alice", "bob", "carol", "dan"] {
        users.push(server.register_user(name).await);
    }
    let room = public_room(server, &users[0]).await;
    for user in &users[1..] {
        join(server, user, &room).await;
    }
    (users, room)
}

fn members(answer: &Value, room: &str) -> Vec<String> {
    let events = answer["rooms"]["join"][room]["state"]["events"].as_array().cloned().unwrap_or_default();
    let mut members: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "m.room.member")
        .map(|event| event["state_key"].as_str().unwrap().to_owned())
        .collect();
    members.sort();
    members
}

fn lazy(redundant: bool) -> String {
    let state = json!({"lazy_load_members": true, "include_redundant_members": redundant});
    filter(&json!({"room": {"state": state, "timeline": {"limit": 1}}}))
}

#[tokio::test(start_paused = true)]
async fn only_those_who_speak_are_sent_and_once() {
    let server = TestServer::start();
    let (users, room) = room_of_four(&server).await;
    let (alice, bob, carol) = (&users[0], &users[1], &users[2]);
    say(&server, bob, &room, "one").await;
    let first = sync(&server, alice, &lazy(false)).await;
    assert_eq!(members(&first, &room), [alice.user_id.clone(), bob.user_id.clone()], "the speaker and oneself");
    let everybody = sync(&server, alice, &filter(&json!({"room": {"timeline": {"limit": 1}}}))).await;
    assert_eq!(members(&everybody, &room).len(), 4, "without lazy-loading, all");

    let first = sync(&server, alice, &lazy(false)).await;
    say(&server, bob, &room, "two").await;
    let second = sync(&server, alice, &format!("{}&since={}", lazy(false), token(&first))).await;
    assert_eq!(members(&second, &room), Vec::<String>::new(), "bob is known");
    say(&server, carol, &room, "three").await;
    let third = sync(&server, alice, &format!("{}&since={}", lazy(false), token(&second))).await;
    assert_eq!(members(&third, &room), std::slice::from_ref(&carol.user_id));
    let lost = sync(&server, alice, &format!("{}&since={}", lazy(false), token(&second))).await;
    assert_eq!(members(&lost, &room), std::slice::from_ref(&carol.user_id), "what was not acknowledged is sent again");
    say(&server, carol, &room, "four").await;
    let fourth = sync(&server, alice, &format!("{}&since={}", lazy(false), token(&lost))).await;
    assert_eq!(members(&fourth, &room), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn redundant_members_are_sent_when_wanted() {
    let server = TestServer::start();
    let (users, room) = room_of_four(&server).await;
    let first = sync(&server, &users[0], &lazy(true)).await;
    for text in ["one", "two"] {
        say(&server, &users[1], &room, text).await;
        let next = sync(&server, &users[0], &format!("{}&since={}", lazy(true), token(&first))).await;
        assert_eq!(members(&next, &room), std::slice::from_ref(&users[1].user_id));
    }
}

#[tokio::test(start_paused = true)]
async fn who_changes_in_a_gap_is_sent() {
    let server = TestServer::start();
    let (users, room) = room_of_four(&server).await;
    let first = sync(&server, &users[0], &lazy(false)).await;
    let target = format!("/v3/rooms/{room}/leave");
    server.post(&target).by(&users[3]).json(&json!({})).send().await.ok();
    for number in 0..3 {
        say(&server, &users[1], &room, &format!("m{number}")).await;
    }
    let next = sync(&server, &users[0], &format!("{}&since={}", lazy(false), token(&first))).await;
    assert_eq!(members(&next, &room), [users[1].user_id.clone(), users[3].user_id.clone()]);
    assert_eq!(next["rooms"]["join"][&room]["summary"]["m.joined_member_count"], 3);
}
