//! Waiting: what wakes, what does not, and for how long.

use std::time::Duration;

use myelin::flows::account;
use serde_json::json;
use tokio::time::Instant;

use super::{create_room, invite, join, public_room, say, since, sync, texts, token, wait};
use crate::harness::{Answer, TestServer, TestUser};

#[tokio::test(start_paused = true)]
async fn a_message_wakes_who_waits() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let first = sync(&server, &bob, "").await;
    let waiting = format!("timeout=30000&since={}", token(&first));
    let began = Instant::now();
    let (answer, ()) = tokio::join!(sync(&server, &bob, &waiting), async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        say(&server, &alice, &room, "hello").await;
    });
    assert_eq!(began.elapsed().as_secs(), 7, "at once");
    assert_eq!(texts(&answer["rooms"]["join"][&room]), ["hello"]);
    assert_eq!(answer["rooms"]["join"][&room]["timeline"]["limited"], false);
}

#[tokio::test(start_paused = true)]
async fn nothing_new_answers_when_the_time_is_up() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    let first = sync(&server, &bob, "").await;
    let began = Instant::now();
    let waiting = format!("timeout=20000&since={}", token(&first));
    let (answer, ()) = tokio::join!(sync(&server, &bob, &waiting), async {
        say(&server, &alice, &room, "not for bob").await;
    });
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(answer.get("rooms").is_none(), "{answer}");
    let at_once = sync(&server, &bob, &format!("timeout=0&since={}", token(&answer))).await;
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(at_once.get("rooms").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_invite_a_join_and_a_leave_wake_their_user() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = create_room(&server, &alice, json!({"preset": "private_chat"})).await;
    let first = sync(&server, &bob, "").await;
    let (invited, ()) = tokio::join!(wait(&server, &bob, &first), invite(&server, &alice, &room, &bob));
    assert!(invited["rooms"]["invite"][&room]["invite_state"]["events"].is_array(), "{invited}");
    let (joined, ()) = tokio::join!(wait(&server, &bob, &invited), join(&server, &bob, &room));
    assert!(joined["rooms"]["join"][&room].is_object(), "{joined}");
    let (spoken, _) = tokio::join!(wait(&server, &bob, &joined), say(&server, &alice, &room, "welcome"));
    assert_eq!(texts(&spoken["rooms"]["join"][&room]), ["welcome"]);
    let kick = async {
        let body = json!({"user_id": bob.user_id, "reason": "enough"});
        server.post(&format!("/v3/rooms/{room}/kick")).by(&alice).json(&body).send().await.ok();
    };
    let (kicked, ()) = tokio::join!(wait(&server, &bob, &spoken), kick);
    let timeline = &kicked["rooms"]["leave"][&room]["timeline"]["events"];
    assert_eq!(timeline[0]["content"]["membership"], "leave", "{kicked}");
    say(&server, &alice, &room, "behind his back").await;
    assert!(since(&server, &bob, &kicked).await.get("rooms").is_none());
}

#[tokio::test(start_paused = true)]
async fn typing_and_receipts_wake_and_are_sent_once() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let event = say(&server, &alice, &room, "read me").await;
    let first = sync(&server, &alice, "").await;
    let target = format!("/v3/rooms/{room}/typing/{}", bob.user_id);
    let typing = server.put(&target).by(&bob).json(&json!({"typing": true, "timeout": 5000})).send();
    let waiting = format!("timeout=30000&since={}", token(&first));
    let (answer, sent) = tokio::join!(sync(&server, &alice, &waiting), typing);
    sent.ok();
    let event_of = |answer: &serde_json::Value| answer["rooms"]["join"][&room]["ephemeral"]["events"][0].clone();
    assert_eq!(event_of(&answer), json!({"type": "m.typing", "content": {"user_ids": [bob.user_id]}}));
    let began = Instant::now();
    let stopped = sync(&server, &alice, &format!("timeout=30000&since={}", token(&answer))).await;
    assert_eq!(event_of(&stopped)["content"]["user_ids"], json!([]), "it ends by itself");
    assert!(began.elapsed() <= Duration::from_secs(6));

    let receipt = format!("/v3/rooms/{room}/receipt/m.read/{event}");
    let reading = server.post(&receipt).by(&bob).json(&json!({})).send();
    let (answer, read) = tokio::join!(wait(&server, &alice, &stopped), reading);
    read.ok();
    let found = event_of(&answer);
    assert_eq!(found["type"], "m.receipt");
    assert!(found["content"][&event]["m.read"][&bob.user_id]["ts"].is_u64(), "{found}");
    assert!(since(&server, &alice, &answer).await.get("rooms").is_none(), "once");
}

#[tokio::test(start_paused = true)]
async fn who_began_and_stopped_typing_meanwhile_is_told_as_nobody_typing() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    // Before anybody has typed since the server started.
    let first = sync(&server, &alice, "").await;
    let target = format!("/v3/rooms/{room}/typing/{}", bob.user_id);
    for typing in [json!({"typing": true, "timeout": 5000}), json!({"typing": false})] {
        server.put(&target).by(&bob).json(&typing).send().await.ok();
    }
    let nobody = json!([{"type": "m.typing", "content": {"user_ids": []}}]);
    // A client may have seen the first change in an answer whose token it lost.
    assert_eq!(since(&server, &alice, &first).await["rooms"]["join"][&room]["ephemeral"]["events"], nobody);
    let anew = sync(&server, &alice, "").await;
    assert!(
        anew["rooms"]["join"][&room]["ephemeral"].get("events").is_none_or(|events| *events == json!([])),
        "{anew}"
    );
}

#[tokio::test(start_paused = true)]
async fn account_data_wakes_its_user_alone() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let (mine, theirs) = (sync(&server, &alice, "").await, sync(&server, &bob, "").await);
    for target in ["account_data/x.global".to_owned(), format!("rooms/{room}/account_data/x.room")] {
        let target = format!("/v3/user/{}/{target}", alice.user_id);
        server.put(&target).by(&alice).json(&json!({"a": 1})).send().await.ok();
    }
    let answer = since(&server, &alice, &mine).await;
    assert_eq!(answer["account_data"]["events"], json!([{"type": "x.global", "content": {"a": 1}}]));
    let in_room = &answer["rooms"]["join"][&room]["account_data"]["events"];
    assert_eq!(*in_room, json!([{"type": "x.room", "content": {"a": 1}}]));
    let nothing = since(&server, &bob, &theirs).await;
    assert!(nothing.get("rooms").is_none() && nothing.get("account_data").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_answers_who_waits() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let first = sync(&server, &alice, "").await;
    let began = Instant::now();
    let waiting = format!("timeout=30000&since={}", token(&first));
    let (answer, ()) = tokio::join!(sync(&server, &alice, &waiting), async { server.app().shutdown.trigger() });
    assert_eq!(began.elapsed().as_secs(), 0);
    assert!(answer.get("rooms").is_none());
}

#[tokio::test(start_paused = true)]
async fn tokens_outlive_a_restart_and_forged_ones_are_refused() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let room = public_room(&server, &alice).await;
    join(&server, &bob, &room).await;
    let first = sync(&server, &bob, "").await;
    say(&server, &alice, &room, "before").await;
    let server = server.restart().await;
    say(&server, &alice, &room, "after").await;
    assert_eq!(texts(&since(&server, &bob, &first).await["rooms"]["join"][&room]), ["before", "after"]);
    let page = first["rooms"]["join"][&room]["timeline"]["prev_batch"].as_str().unwrap();
    for forged in ["s1", "1", "AAAA", "%00", "9999999999999999999999", page] {
        let answer = server.get(&format!("/v3/sync?since={forged}")).by(&bob).send().await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    for odd in
        ["timeout=-1", "timeout=abc", "full_state=maybe", "filter=%7B", "filter=99", "filter=%7B%22room%22%3A1%7D"]
    {
        let answer = server.get(&format!("/v3/sync?{odd}")).by(&bob).send().await;
        assert_eq!(answer.status, 400, "{odd}: {answer:?}");
    }
    sync(&server, &bob, "timeout=99999999999999999999999").await;
}

#[tokio::test(start_paused = true)]
async fn a_device_has_the_answer_to_its_send_before_its_own_sync_shows_it() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = create_room(&server, &alice, json!({})).await;
    let first = sync(&server, &alice, "").await;
    let mut waiting = std::pin::pin!(wait(&server, &alice, &first));
    let target = format!("/v3/rooms/{room}/send/m.room.message/own");
    let sending = server.put(&target).by(&alice).json(&json!({"body": "own"})).send();
    let answer = tokio::select! {
        _ = &mut waiting => panic!("the sync came first"),
        answer = sending => answer,
    };
    let patience = Duration::from_millis(900);
    assert!(tokio::time::timeout(patience, &mut waiting).await.is_err(), "the answer is not sent yet");
    drop(answer);
    let began = Instant::now();
    assert_eq!(texts(&waiting.await["rooms"]["join"][&room]), ["own"]);
    assert_eq!(began.elapsed(), Duration::from_millis(20), "as soon as the client may have dealt with the answer");
}

#[tokio::test(start_paused = true)]
async fn a_sync_waits_for_an_answer_that_cannot_be_sent_no_longer_than_a_moment() {
    let server = TestServer::start();
    let alice = server.register_user("alice").await;
    let room = create_room(&server, &alice, json!({})).await;
    let first = sync(&server, &alice, "").await;
    let target = format!("/v3/rooms/{room}/send/m.room.message/own");
    let _stuck = server.put(&target).by(&alice).json(&json!({"body": "own"})).send().await;
    let began = Instant::now();
    assert_eq!(texts(&wait(&server, &alice, &first).await["rooms"]["join"][&room]), ["own"]);
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

/// What a waiting sync of bob's answers when `end` happens meanwhile, and then something is said.
async fn after_its_end(
    server: &TestServer,
    (alice, bob): (&TestUser, &TestUser),
    end: impl AsyncFnOnce(&TestServer),
) -> (Answer, Duration) {
    let room = public_room(server, alice).await;
    join(server, bob, &room).await;
    let first = sync(server, bob, "").await;
    let began = Instant::now();
    let waiting = async {
        let target = format!("/v3/sync?timeout=30000&since={}", token(&first));
        (server.get(&target).by(bob).send().await, began.elapsed())
    };
    let acting = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        end(server).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        say(server, alice, &room, "not for the thief").await;
    };
    tokio::join!(waiting, acting).0
}

#[tokio::test(start_paused = true)]
async fn a_sync_ends_with_its_session() {
    let server = TestServer::start();
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let logout = async |server: &TestServer| {
        server.post("/v3/logout/all").by(&bob).json(&json!({})).send().await.ok();
    };
    let (answer, took) = after_its_end(&server, (&alice, &bob), logout).await;
    answer.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(answer.json["soft_logout"], false);
    assert_eq!(took.as_secs(), 3, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_sync_ends_when_its_user_is_deactivated_or_locked() {
    let server = TestServer::start();
    let (alice, bob, carol) =
        (server.register_user("alice").await, server.register_user("bob").await, server.register_user("carol").await);
    let user_id = |user: &TestUser| ruma::UserId::parse(&*user.user_id).unwrap();
    let deactivate = async |server: &TestServer| {
        account::deactivate(&server.app().users, user_id(&bob), None).await.unwrap();
    };
    let (answer, took) = after_its_end(&server, (&alice, &bob), deactivate).await;
    answer.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(took.as_secs(), 3, "at once");
    let lock = async |server: &TestServer| {
        account::set_locked(&server.app().users, user_id(&carol), true).await.unwrap();
    };
    let (answer, took) = after_its_end(&server, (&alice, &carol), lock).await;
    answer.refused(401, "M_USER_LOCKED");
    assert_eq!(took.as_secs(), 3, "at once");
}
