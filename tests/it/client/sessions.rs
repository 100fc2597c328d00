//! Sessions end, whatever their users did before; and a locked or suspended account may do what it may and no more.

use futures_util::future::join_all;
use myelin::flows::account;
use ruma::user_id;
use serde_json::json;

use super::{
    api::{Api, password, proof, token},
    rooms::path,
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
