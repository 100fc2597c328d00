//! Sessions end, whatever their users did before; and a locked or suspended account may do what it may and no more.

use futures_util::future::join_all;
use http::Method;
use myelin::flows::account;
use ruma::user_id;
use serde_json::{Value, json};

use super::{
    api::{Api, password, proof, token},
    rooms::{path, segment},
};
use crate::harness::TestServer;

/// Sends more events on a device than a commit may clear rows.
async fn chatter(api: &Api, token: &str, room: &str) {
    let targets: Vec<_> = (0..1_010).map(|n| path(room, &format!("send/m.x/{n}"))).collect();
    for some in targets.chunks(50) {
        for answer in join_all(some.iter().map(|target| api.put(target, token, json!({})))).await {
            answer.ok();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_sent_much_is_logged_out() {
    let api = Api::open();
    let first = api.register("alice").await;
    let room = api.public_room(&first).await;
    chatter(&api, &first, &room).await;
    api.post("/v3/logout", &first, json!({})).await.ok();
    api.get("/v3/account/whoami", &first).await.refused(401, "M_UNKNOWN_TOKEN");

    let second = token(&api.login("alice", "SECOND").await.ok());
    chatter(&api, &second, &room).await;
    let third = token(&api.login("alice", "THIRD").await.ok());
    let body = json!({"new_password": password("alice"), "auth": proof("alice")});
    api.post("/v3/account/password", &third, body).await.ok();
    api.get("/v3/account/whoami", &second).await.refused(401, "M_UNKNOWN_TOKEN");

    chatter(&api, &third, &room).await;
    api.post("/v3/account/deactivate", &third, json!({"auth": proof("alice")})).await.ok();
    api.get("/v3/account/whoami", &third).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn a_new_device_of_an_old_id_has_transactions_of_its_own() {
    let api = Api::open();
    let old = api.register("alice").await;
    let room = api.public_room(&old).await;
    let target = path(&room, "send/m.x/1");
    let first = api.put(&target, &old, json!({})).await.ok()["event_id"].clone();
    let same = token(&api.login("alice", "FIRST").await.ok());
    assert_eq!(api.put(&target, &same, json!({})).await.ok()["event_id"], first, "the same device, logged in again");
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    api.post("/v3/logout", &same, json!({})).await.ok();
    let new = token(&api.login("alice", "FIRST").await.ok());
    assert_ne!(api.put(&target, &new, json!({})).await.ok()["event_id"], first, "another device");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_belongs_to_one_type_of_event() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.public_room(&alice).await;
    let one = api.put(&path(&room, "send/m.x/b%20c"), &alice, json!({})).await.ok();
    let other = api.put(&path(&room, "send/m.x%20b/c"), &alice, json!({})).await.ok();
    assert_ne!(one["event_id"], other["event_id"]);
}

/// Logs `alice` in so often, on a server that allows it; all tokens.
async fn many_sessions(server: &TestServer, count: usize) -> Vec<String> {
    let login = |n: usize| {
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": password("alice"),
            "device_id": format!("D{n:05}"),
        });
        async move { token(&server.post("/v3/login").json(&body).send().await.ok()) }
    };
    let mut tokens = Vec::new();
    for n in 0..count {
        tokens.push(login(n).await);
    }
    tokens
}

#[tokio::test(start_paused = true)]
async fn all_sessions_end_however_many_there_are() {
    let config = "[registration]\nmode = \"open\"\n";
    // As many as an older configuration may have let in.
    let server = TestServer::adjusted(config, |config| config.sessions.most_devices = 2_000);
    let alice = server.register_user("alice").await;
    let tokens = many_sessions(&server, 1_005).await;
    let is_alive = async |token: &str| server.get("/v3/account/whoami").token(token).send().await.status == 200;
    let change = json!({"new_password": password("alice"), "auth": proof("alice")});
    server.post("/v3/account/password").by(&alice).json(&change).send().await.ok();
    for token in &tokens {
        assert!(!is_alive(token).await);
    }
    let tokens = many_sessions(&server, 1_005).await;
    server.post("/v3/logout/all").by(&alice).json(&json!({})).send().await.ok();
    for token in &tokens {
        assert!(!is_alive(token).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_may_end_its_sessions_and_nothing_that_looks_like_it() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.public_room(&alice).await;
    account::set_locked(&api.app().users, user_id!("@alice:localhost").to_owned(), true).await.unwrap();
    let text = json!({"msgtype": "m.text", "body": "locked"});
    for target in ["send/m.room.message/logout", "state/m.x/logout", "send/logout/all"] {
        api.put(&path(&room, target), &alice, text.clone()).await.refused(401, "M_USER_LOCKED");
    }
    api.get(&path(&room, "state/m.x/logout"), &alice).await.refused(401, "M_USER_LOCKED");
    api.post("/v3/logout/all", &alice, json!({})).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_device_keeps_its_name_when_none_is_given() {
    let api = Api::open();
    let alice = api.register("alice").await;
    api.put("/v3/devices/FIRST", &alice, json!({"display_name": "A phone"})).await.ok();
    api.put("/v3/devices/FIRST", &alice, json!({})).await.ok();
    assert_eq!(api.get("/v3/devices/FIRST", &alice).await.ok()["display_name"], "A phone");
    api.put("/v3/devices/NONE", &alice, json!({})).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_user_may_leave_and_take_back_what_they_said() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.public_room(&alice).await;
    api.join(&bob, &room).await;
    let (own, other) = (api.say(&alice, &room, "mine").await, api.say(&bob, &room, "his").await);
    account::set_suspended(&api.app().users, user_id!("@alice:localhost").to_owned(), true).await.unwrap();
    let redact = |id: &str, txn: &str| path(&room, &format!("redact/{}/{txn}", segment(id)));
    api.put(&redact(&own, "1"), &alice, json!({})).await.ok();
    api.put(&redact(&other, "2"), &alice, json!({})).await.refused(403, "M_USER_SUSPENDED");
    let text = json!({"msgtype": "m.text", "body": "still here"});
    for target in ["send/m.room.message/leave", "send/redact/leave"] {
        api.put(&path(&room, target), &alice, text.clone()).await.refused(403, "M_USER_SUSPENDED");
    }
    api.post(&path(&room, "invite"), &alice, json!({"user_id": "@bob:localhost"}))
        .await
        .refused(403, "M_USER_SUSPENDED");
    api.post(&path(&room, "leave"), &alice, json!({})).await.ok();
    api.post(&path(&room, "join"), &alice, json!({})).await.refused(403, "M_USER_SUSPENDED");
}

#[tokio::test(start_paused = true)]
async fn a_login_token_ends_with_the_password_that_it_was_made_under() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let made = api.post("/v1/login/get_token", &alice, json!({"auth": proof("alice")})).await.ok();
    let change = json!({"new_password": password("alice"), "auth": proof("alice")});
    api.post("/v3/account/password", &alice, change).await.ok();
    let login = |made: &Value| json!({"type": "m.login.token", "token": made["login_token"]});
    api.anonymous(Method::POST, "/v3/login", login(&made)).await.refused(403, "M_FORBIDDEN");
    let made = api.post("/v1/login/get_token", &alice, json!({"auth": proof("alice")})).await.ok();
    api.anonymous(Method::POST, "/v3/login", login(&made)).await.ok();
}

#[tokio::test(start_paused = true)]
async fn versions_are_told_to_whoever_asks() {
    let api = Api::open();
    assert!(api.get("/versions", "myl_dead").await.ok()["versions"].is_array());
    assert!(api.anonymous(Method::GET, "/versions", Value::Null).await.ok()["versions"].is_array());
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_or_is_put_out_stops_typing() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.public_room(&alice).await;
    let typing = path(&room, "typing/@bob:localhost");
    let member = path(&room, "state/m.room.member/@bob:localhost");
    for way in 0..3 {
        api.join(&bob, &room).await;
        api.put(&typing, &bob, json!({"typing": true, "timeout": 100_000})).await.ok();
        let who = async || api.get("/v3/sync", &alice).await.ok()["rooms"]["join"][&room]["ephemeral"].to_string();
        assert!(who().await.contains("@bob:localhost"));
        match way {
            0 => api.leave(&bob, &room).await,
            1 => drop(api.post(&path(&room, "kick"), &alice, json!({"user_id": "@bob:localhost"})).await.ok()),
            _ => drop(api.put(&member, &alice, json!({"membership": "ban"})).await.ok()),
        }
        assert!(!who().await.contains("@bob:localhost"), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_no_double_holds_is_not_kept() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.public_room(&alice).await;
    for target in [
        "/v3/user/@alice:localhost/account_data/a",
        "/v3/profile/@alice:localhost/a",
        &*path(&room, "send/m.x/1"),
        &*path(&room, "state/m.x/1"),
    ] {
        let target = format!("/_matrix/client{target}");
        api.send(Method::PUT, &target, Some(&alice), r#"{"a":1e400}"#).await.refused(400, "M_BAD_JSON");
    }
    let synced = api.get("/v3/sync", &alice).await;
    assert!(serde_json::from_slice::<Value>(&synced.body).is_ok());
}
