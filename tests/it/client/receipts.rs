//! Receipts, read markers and typing.

use std::time::Duration;

use myelin::{
    graph::RoomNo,
    rooms::receipts::{self, Receipt, ReceiptType, Thread},
    store::{Position, ReadError},
};
use ruma::{RoomId, UserId};
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms::{path, segment},
};

struct Room {
    api: Api,
    alice: String,
    bob: String,
    id: String,
    messages: Vec<String>,
}

/// A public room of Alice and Bob with some messages.
async fn room(messages: usize) -> Room {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let id = api.public_room(&alice).await;
    api.join(&bob, &id).await;
    let mut sent = Vec::new();
    for number in 0..messages {
        sent.push(api.say(&alice, &id, &number.to_string()).await);
    }
    Room { api, alice, bob, id, messages: sent }
}

impl Room {
    async fn receipt(&self, kind: &str, event_id: &str, body: Value) -> super::api::Answer {
        self.api.post(&path(&self.id, &format!("receipt/{kind}/{}", segment(event_id))), &self.bob, body).await
    }

    async fn number(&self) -> RoomNo {
        self.api.app().graph.room_no(&RoomId::parse(&self.id).unwrap()).await.unwrap().unwrap()
    }

    /// What a user may know of the receipts of the room.
    async fn receipts(&self, name: &str) -> Vec<Receipt> {
        let (room, user_id) = (self.number().await, UserId::parse(format!("@{name}:localhost")).unwrap());
        self.api.app().rooms.read(move |_, view| receipts::all(view, &[room], &user_id)).await.unwrap().concat()
    }

    /// Which of the messages a receipt of Bob's names, as a user knows it.
    async fn read(&self, name: &str, kind: ReceiptType, thread: Thread) -> Option<usize> {
        let receipts = self.receipts(name).await;
        let receipt = receipts.into_iter().find(|receipt| receipt.kind == kind && receipt.thread == thread)?;
        self.messages.iter().position(|message| *message == *receipt.event_id)
    }

    async fn fully_read(&self) -> Option<String> {
        let target = format!("/v3/user/@bob:localhost/rooms/{}/account_data/m.fully_read", segment(&self.id));
        self.api.get(&target, &self.bob).await.json["event_id"].as_str().map(str::to_owned)
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_moves_forward_only() {
    let room = room(5).await;
    for (message, expected) in [(2, 2), (1, 2), (2, 2), (4, 4), (0, 4)] {
        room.receipt("m.read", &room.messages[message], json!({})).await.ok();
        assert_eq!(room.read("alice", ReceiptType::Read, Thread::Unthreaded).await, Some(expected));
    }
    let before = room.api.app().store.horizon();
    room.receipt("m.read", &room.messages[4], json!({})).await.ok();
    room.receipt("m.read", &room.messages[3], json!({})).await.ok();
    assert_eq!(room.api.app().store.horizon(), before, "what moves nothing tells nobody");
    let number = room.number().await;
    let alice = UserId::parse("@alice:localhost").unwrap();
    let log = room
        .api
        .app()
        .rooms
        .read(move |_, view| receipts::since(view, &[number], &alice, (Position::ZERO, view.horizon())));
    assert_eq!(log.await.unwrap().concat().len(), 1, "one row for a receipt, however often it moved");
}

#[tokio::test(start_paused = true)]
async fn a_private_receipt_is_its_users_alone() {
    let room = room(3).await;
    room.receipt("m.read.private", &room.messages[2], json!({})).await.ok();
    room.receipt("m.read", &room.messages[1], json!({})).await.ok();
    assert_eq!(room.read("bob", ReceiptType::Private, Thread::Unthreaded).await, Some(2));
    assert_eq!(room.read("alice", ReceiptType::Private, Thread::Unthreaded).await, None);
    assert_eq!(room.read("alice", ReceiptType::Read, Thread::Unthreaded).await, Some(1));
    let number = room.number().await;
    let alice = UserId::parse("@alice:localhost").unwrap();
    let log = room
        .api
        .app()
        .rooms
        .read(move |_, view| receipts::since(view, &[number], &alice, (Position::ZERO, view.horizon())));
    assert!(log.await.unwrap().concat().iter().all(|receipt| receipt.kind == ReceiptType::Read));
}

#[tokio::test(start_paused = true)]
async fn a_threaded_receipt_belongs_to_a_thread() {
    let mut room = room(2).await;
    let root = room.messages[0].clone();
    let relates = json!({"rel_type": "m.thread", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "t", "m.relates_to": relates});
    let reply = room.api.send_event(&room.alice, &room.id, "m.room.message", content).await;
    let relates = json!({"rel_type": "m.annotation", "event_id": reply, "key": "+"});
    let reaction = room.api.send_event(&room.alice, &room.id, "m.reaction", json!({ "m.relates_to": relates })).await;
    room.messages.extend([reply.clone(), reaction.clone()]);
    let thread = json!({ "thread_id": root });
    let main = json!({"thread_id": "main"});
    for (event, body, status) in [
        (&reply, &thread, 200),
        (&reaction, &thread, 200),
        (&root, &thread, 200),
        (&root, &main, 200),
        (&room.messages[1].clone(), &main, 200),
        (&room.messages[1].clone(), &thread, 400),
        (&reply, &main, 400),
        (&reaction, &main, 400),
        (&reply, &json!({"thread_id": room.messages[1]}), 400),
    ] {
        let answer = room.receipt("m.read", event, body.clone()).await;
        assert_eq!(answer.status, status, "{event} {body}: {}", answer.json);
    }
    let of_thread = Thread::parse(&root).unwrap();
    assert_eq!(room.read("alice", ReceiptType::Read, of_thread).await, Some(3));
    assert_eq!(room.read("alice", ReceiptType::Read, Thread::Main).await, Some(1));
    assert_eq!(room.read("alice", ReceiptType::Read, Thread::Unthreaded).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_names_no_event_moves_nothing() {
    let room = room(1).await;
    let other = room.api.public_room(&room.bob).await;
    let elsewhere = room.api.say(&room.bob, &other, "x").await;
    for event in ["$none", &elsewhere] {
        room.receipt("m.read", event, json!({})).await.ok();
        room.receipt("m.fully_read", event, json!({})).await.ok();
    }
    assert!(room.receipts("bob").await.is_empty());
    assert_eq!(room.fully_read().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_receipt_is_refused() {
    let room = room(1).await;
    let message = room.messages[0].clone();
    for value in confusions().into_iter().chain([json!("")]) {
        let answer = room.receipt("m.read", &message, json!({ "thread_id": value })).await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    room.receipt("m.fully_read", &message, json!({"thread_id": "main"})).await.refused(400, "M_INVALID_PARAM");
    room.receipt("m.other", &message, json!({})).await.refused(400, "M_INVALID_PARAM");
    room.receipt("m.read", "none", json!({})).await.refused(400, "M_INVALID_PARAM");
    let carol = room.api.register("carol").await;
    let target = path(&room.id, &format!("receipt/m.read/{}", segment(&message)));
    room.api.post(&target, &carol, json!({})).await.refused(403, "M_FORBIDDEN");
    room.api.post("/v3/rooms/!none:localhost/receipt/m.read/$x", &carol, json!({})).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn many_threads_are_bounded() {
    let room = room(1).await;
    let root = &room.messages[0];
    let number = room.number().await;
    let bob = UserId::parse("@bob:localhost").unwrap();
    for _ in 0..510 {
        let thread = room.api.say(&room.alice, &room.id, "root").await;
        room.receipt("m.read", &thread, json!({ "thread_id": thread })).await.ok();
    }
    room.receipt("m.read", root, json!({})).await.ok();
    let own = room
        .api
        .app()
        .rooms
        .read(move |_, view| Ok::<_, ReadError>(receipts::of_user(view, &[number], &bob)?.concat().len()));
    assert_eq!(own.await.unwrap(), 500);
}

#[tokio::test(start_paused = true)]
async fn all_markers_are_set_in_one_commit() {
    let room = room(4).await;
    let before = room.api.app().store.horizon();
    let body = json!({
        "m.fully_read": room.messages[3], "m.read": room.messages[2], "m.read.private": room.messages[1],
    });
    room.api.post(&path(&room.id, "read_markers"), &room.bob, body).await.ok();
    assert_eq!(room.api.app().store.horizon(), Position(before.0 + 1));
    assert_eq!(room.fully_read().await.as_ref(), Some(&room.messages[3]));
    assert_eq!(room.read("bob", ReceiptType::Read, Thread::Unthreaded).await, Some(2));
    assert_eq!(room.read("bob", ReceiptType::Private, Thread::Unthreaded).await, Some(1));
    let back = json!({"m.fully_read": room.messages[0]});
    room.api.post(&path(&room.id, "read_markers"), &room.bob, back).await.ok();
    assert_eq!(room.fully_read().await.as_ref(), Some(&room.messages[3]));
    room.api.post(&path(&room.id, "read_markers"), &room.bob, json!({})).await.ok();
    for field in ["m.fully_read", "m.read", "m.read.private"] {
        for value in confusions() {
            if !value.is_null() {
                let answer = room.api.post(&path(&room.id, "read_markers"), &room.bob, json!({ field: value })).await;
                answer.refused(400, "M_BAD_JSON");
            }
        }
    }
    let carol = room.api.register("carol").await;
    room.api.post(&path(&room.id, "read_markers"), &carol, json!({})).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn typing_is_told_while_it_lasts() {
    let room = room(0).await;
    let number = room.number().await;
    let typing = room.api.app().typing.clone();
    let names = |since: u64| typing.changed_since(number, since).map(|users| users.len());
    let target = path(&room.id, "typing/@bob:localhost");
    room.api.put(&target, &room.bob, json!({"typing": true, "timeout": 5_000})).await.ok();
    assert_eq!(names(0), Some(1));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(names(1), Some(0));
    room.api.put(&target, &room.bob, json!({"typing": true, "timeout": 1_000_000_000_000_u64})).await.ok();
    room.api.put(&target, &room.bob, json!({"typing": false})).await.ok();
    assert_eq!(names(3), Some(0));

    room.api.put(&target, &room.alice, json!({"typing": true, "timeout": 1})).await.refused(403, "M_FORBIDDEN");
    let carol = room.api.register("carol").await;
    let own = path(&room.id, "typing/@carol:localhost");
    room.api.put(&own, &carol, json!({"typing": true, "timeout": 1})).await.refused(403, "M_FORBIDDEN");
    for value in confusions() {
        let answer = room.api.put(&target, &room.bob, json!({"typing": value, "timeout": 1})).await;
        assert_eq!(answer.status, if value.is_boolean() { 200 } else { 400 }, "{value}: {}", answer.json);
    }
    for timeout in [json!(-1), json!("x"), json!([]), json!({}), json!(1.5)] {
        let answer = room.api.put(&target, &room.bob, json!({"typing": true, "timeout": timeout})).await;
        assert_eq!(answer.status, 400, "{timeout}: {}", answer.json);
    }
}
