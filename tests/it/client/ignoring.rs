//! Ignored users (client-server API, "Ignoring Users").

use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser},
    sync::{create_room, invite, join, say, send, set_state, since, sync, texts},
};

async fn ignore(server: &TestServer, user: &TestUser, whom: &[&TestUser]) {
    let list: serde_json::Map<_, _> = whom.iter().map(|user| (user.user_id.clone(), json!({}))).collect();
    let target = format!("/v3/user/{}/account_data/m.ignored_user_list", user.user_id);
    server.put(&target).by(user).json(&json!({"ignored_users": list})).send().await.ok();
}

/// Alice's room with Bob, who ignores Carol, who is there too.
struct Party {
    server: TestServer,
    alice: TestUser,
    bob: TestUser,
    carol: TestUser,
    room: String,
}

async fn party() -> Party {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let (bob, carol) = (server.register_user("bob").await, server.register_user("carol").await);
    let options = json!({"preset": "public_chat", "power_level_content_override": {"state_default": 0}});
    let room = create_room(&server, &alice, options).await;
    join(&server, &bob, &room).await;
    join(&server, &carol, &room).await;
    ignore(&server, &bob, &[&carol]).await;
    Party { server, alice, bob, carol, room }
}

impl Party {
    async fn get(&self, user: &TestUser, target: &str) -> Value {
        self.server.get(target).by(user).send().await.ok()
    }

    /// What the user gets below `/rooms/{roomId}`.
    async fn in_room(&self, user: &TestUser, target: &str) -> Value {
        self.get(user, &format!("/v3/rooms/{}/{target}", self.room)).await
    }
}

fn bodies(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

fn kinds(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect()
}

fn unread(answer: &Value, room: &str) -> u64 {
    answer["rooms"]["join"][room]["unread_notifications"]["notification_count"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_sync_has_only_state_of_them_and_the_list_counts_at_once() {
    let Party { server, alice, bob, carol, room } = &party().await;
    let first = sync(server, bob, "").await;
    say(server, carol, room, "psst").await;
    set_state(server, carol, room, "m.room.topic", json!({"topic": "Carol's"})).await;
    say(server, alice, room, "hello").await;
    let answer = since(server, bob, &first).await;
    let joined = &answer["rooms"]["join"][room];
    assert_eq!(texts(joined), ["hello"]);
    assert_eq!(kinds(&joined["timeline"]["events"]), ["m.room.topic", "m.room.message"]);
    assert_eq!(texts(&since(server, alice, &first).await["rooms"]["join"][room]), ["psst", "hello"]);

    ignore(server, bob, &[alice]).await;
    say(server, alice, room, "are you there?").await;
    say(server, carol, room, "I am").await;
    let answer = since(server, bob, &answer).await;
    assert_eq!(texts(&answer["rooms"]["join"][room]), ["I am"], "what was missed is not sent later");
    assert_eq!(texts(&sync(server, bob, "").await["rooms"]["join"][room]), ["psst", "I am"]);
}

#[tokio::test(start_paused = true)]
async fn a_sync_does_not_wake_for_them() {
    let Party { server, alice, bob, carol, room } = &party().await;
    let first = sync(server, bob, "").await;
    let waiting = crate::sync::wait(server, bob, &first);
    let talking = async {
        say(server, carol, room, "psst").await;
        say(server, alice, room, "hello").await;
    };
    let (answer, ()) = tokio::join!(waiting, talking);
    assert_eq!(texts(&answer["rooms"]["join"][room]), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn their_messages_do_not_count_as_unread() {
    let Party { server, alice, bob, carol, room } = &party().await;
    say(server, alice, room, "one").await;
    // So many that the count is worth a memo.
    for number in 0..40 {
        say(server, carol, room, &format!("psst {number}")).await;
    }
    say(server, alice, room, "two").await;
    assert_eq!(unread(&sync(server, bob, "").await, room), 2);
    tokio::task::yield_now().await;
    ignore(server, bob, &[]).await;
    assert_eq!(unread(&sync(server, bob, "").await, room), 42, "no memo of another list is taken");
    tokio::task::yield_now().await;
    ignore(server, bob, &[alice]).await;
    assert_eq!(unread(&sync(server, bob, "").await, room), 40);
}

#[tokio::test(start_paused = true)]
async fn their_invites_are_not_sent() {
    let Party { server, alice, bob, carol, .. } = &party().await;
    let first = sync(server, bob, "").await;
    let (theirs, other) = (create_room(server, carol, json!({})).await, create_room(server, alice, json!({})).await);
    invite(server, carol, &theirs, bob).await;
    invite(server, alice, &other, bob).await;
    for answer in [since(server, bob, &first).await, sync(server, bob, "").await] {
        let invites: Vec<_> = answer["rooms"]["invite"].as_object().unwrap().keys().collect();
        assert_eq!(invites, [&other]);
    }
    ignore(server, bob, &[]).await;
    let answer = sync(server, bob, "").await;
    assert!(answer["rooms"]["invite"].get(&theirs).is_some(), "the invite itself stands");
}

#[tokio::test(start_paused = true)]
async fn history_leaves_them_out_but_for_state() {
    let party = &party().await;
    let Party { server, alice, bob, carol, room } = party;
    say(server, alice, room, "one").await;
    let theirs = say(server, carol, room, "psst").await;
    set_state(server, carol, room, "m.room.topic", json!({"topic": "Carol's"})).await;
    let two = say(server, alice, room, "two").await;
    say(server, carol, room, "psst again").await;
    say(server, alice, room, "three").await;

    for (dir, wanted) in [("b", ["three", "two", "one"]), ("f", ["one", "two", "three"])] {
        let page = party.in_room(bob, &format!("messages?dir={dir}&limit=50")).await;
        assert_eq!(bodies(&page["chunk"]), wanted);
        assert!(kinds(&page["chunk"]).contains(&"m.room.topic"));
        let member = |event: &&Value| event["state_key"] == carol.user_id;
        assert!(page["chunk"].as_array().unwrap().iter().find(member).is_some());
    }
    assert_eq!(bodies(&party.in_room(alice, "messages?dir=b&limit=50").await["chunk"]).len(), 5);
    // A page that would be theirs alone goes on.
    let page = party.in_room(bob, "messages?dir=b&limit=1").await;
    assert_eq!(bodies(&page["chunk"]), ["three"]);
    let next = page["end"].as_str().unwrap();
    assert_eq!(bodies(&party.in_room(bob, &format!("messages?dir=b&limit=1&from={next}")).await["chunk"]), ["two"]);

    let around = party.in_room(bob, &format!("context/{two}?limit=20")).await;
    assert_eq!(bodies(&around["events_before"]), ["one"]);
    assert_eq!(bodies(&around["events_after"]), ["three"]);
    let initial = party.in_room(bob, "initialSync").await;
    assert_eq!(bodies(&initial["messages"]["chunk"]), ["one", "two", "three"]);
    // Asked for by its id, it is shown.
    assert_eq!(party.in_room(bob, &format!("event/{theirs}")).await["content"]["body"], "psst");
    assert_eq!(party.in_room(bob, &format!("context/{theirs}?limit=0")).await["event"]["content"]["body"], "psst");
}

#[tokio::test(start_paused = true)]
async fn relations_leave_them_out() {
    let party = &party().await;
    let Party { server, alice, bob, carol, room } = party;
    let root = say(server, alice, room, "root").await;
    let relate = async |user: &TestUser, rel_type: &str, body: &str| {
        let relation = json!({"rel_type": rel_type, "event_id": root});
        send(server, user, room, body, json!({"msgtype": "m.text", "body": body, "m.relates_to": relation})).await
    };
    let reply = relate(alice, "m.thread", "reply").await;
    relate(carol, "m.thread", "psst").await;
    relate(carol, "m.reference", "pssst").await;
    let reference = relate(alice, "m.reference", "see").await;

    let relations = party.get(bob, &format!("/v1/rooms/{room}/relations/{root}")).await;
    assert_eq!(bodies(&relations["chunk"]), ["see", "reply"]);
    let bundled = &party.in_room(bob, &format!("event/{root}")).await["unsigned"]["m.relations"];
    assert_eq!(bundled["m.thread"]["count"], 1);
    assert_eq!(bundled["m.thread"]["latest_event"]["event_id"], reply);
    assert_eq!(bundled["m.reference"]["chunk"], json!([{"event_id": reference}]));
    let bundled = &party.in_room(alice, &format!("event/{root}")).await["unsigned"]["m.relations"];
    assert_eq!(bundled["m.thread"]["count"], 2);
    assert_eq!(bundled["m.thread"]["latest_event"]["content"]["body"], "psst");

    let synced = sync(server, bob, "").await;
    let events = synced["rooms"]["join"][room]["timeline"]["events"].as_array().unwrap();
    let event = events.iter().find(|event| event["event_id"] == root).unwrap();
    assert_eq!(event["unsigned"]["m.relations"]["m.thread"]["count"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_they_began_is_listed_without_what_they_said() {
    let party = &party().await;
    let Party { server, alice, bob, carol, room } = party;
    let root = say(server, carol, room, "psst").await;
    let relation = json!({"rel_type": "m.thread", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "what?", "m.relates_to": relation});
    send(server, alice, room, "reply", content).await;
    let threads = party.get(bob, &format!("/v1/rooms/{room}/threads")).await;
    let thread = &threads["chunk"][0];
    assert_eq!((&thread["event_id"], &thread["sender"]), (&json!(root), &json!(carol.user_id)));
    assert_eq!(thread["content"], json!({}), "as if it were redacted");
    assert_eq!(thread["unsigned"]["m.relations"]["m.thread"]["latest_event"]["content"]["body"], "what?");
    let threads = party.get(alice, &format!("/v1/rooms/{room}/threads")).await;
    assert_eq!(threads["chunk"][0]["content"]["body"], "psst");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_none_ignores_nobody() {
    let Party { server, bob, carol, room, .. } = &party().await;
    let odd = [json!({}), json!({"ignored_users": [carol.user_id]}), json!({"ignored_users": "@carol:localhost"})];
    for (number, odd) in odd.into_iter().enumerate() {
        let target = format!("/v3/user/{}/account_data/m.ignored_user_list", bob.user_id);
        server.put(&target).by(bob).json(&odd).send().await.ok();
        let said = say(server, carol, room, &format!("number {number}")).await;
        let answer = sync(server, bob, "").await;
        let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array().unwrap();
        assert!(events.iter().any(|event| event["event_id"] == said), "{odd}");
    }
}
