//! Whole servers that send to each other.

use std::time::Duration;

use ruma::{OwnedEventId, RoomId};
use serde_json::json;

use super::super::rooms::{create, encoded, join, room, say, server, state};
use crate::harness::{Network, START, TestServer, TestUser};

/// All that a user finds when paging back from now: event ids, the youngest first.
async fn history(server: &TestServer, user: &TestUser, room: &RoomId, limit: usize) -> Vec<OwnedEventId> {
    let (mut all, mut from) = (Vec::new(), String::new());
    for _ in 0..100 {
        let path = format!("/v3/rooms/{}/messages?dir=b&limit={limit}{from}", encoded(room.as_str()));
        let page = server.get(&path).by(user).send().await.ok();
        let chunk = page["chunk"].as_array().unwrap();
        all.extend(chunk.iter().map(|event| OwnedEventId::try_from(event["event_id"].as_str().unwrap()).unwrap()));
        match page["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => return all,
        }
    }
    panic!("the pages do not end: {}", all.len());
}

#[tokio::test(start_paused = true)]
async fn who_joins_reads_all_that_was_said_before() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    for (version, said, limit) in [("1", 15, 4), ("5", 15, 10), ("10", 130, 50), ("12", 450, 1_000)] {
        let room_id = create(&a, &alice, json!({"preset": "public_chat", "room_version": version})).await;
        for number in 0..said {
            say(&a, &alice, &room_id, &number.to_string()).await;
        }
        join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (there, here) = (history(&a, &alice, &room_id, 100).await, history(&b, &bob, &room_id, limit).await);
        assert!(there.len() > said, "{}", there.len());
        assert_eq!(here, there, "version {version}");
        // And what is said from now on, on both sides.
        say(&b, &bob, &room_id, "here").await;
        say(&a, &alice, &room_id, "there").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
        let (mut there, mut here) =
            (history(&a, &alice, &room_id, 100).await, history(&b, &bob, &room_id, limit).await);
        there.sort_unstable();
        here.sort_unstable();
        assert_eq!(here, there, "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_time_before_the_join_is_found() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let room_id = create(&a, &alice, json!({"preset": "public_chat"})).await;
    let mut said = Vec::new();
    for number in 0..150 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        said.push(say(&a, &alice, &room_id, &number.to_string()).await);
    }
    join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
    let (_, head) = room(&b, &room_id).unwrap();
    assert!(!head.is_left);
    let minute = |number: u64| START + number * 60_000;
    for (ts, dir, expected) in [(minute(5) + 7, "f", 5), (minute(5) + 7, "b", 4), (minute(100) + 7, "b", 99)] {
        let path = format!("/v1/rooms/{}/timestamp_to_event?ts={ts}&dir={dir}", encoded(room_id.as_str()));
        let found = b.get(&path).by(&bob).send().await.ok();
        assert_eq!(found["event_id"], said[expected].as_str(), "{ts} {dir}");
        let context =
            format!("/v3/rooms/{}/context/{}?limit=0", encoded(room_id.as_str()), encoded(said[expected].as_str()));
        b.get(&context).by(&bob).send().await.ok();
    }
    assert_eq!(history(&b, &bob, &room_id, 100).await, history(&a, &alice, &room_id, 100).await);
}
