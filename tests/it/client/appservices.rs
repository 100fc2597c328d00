//! Application services: as whom they ask, what is theirs, and what they may do more than others.

use http::Method;
use myelin::{
    appservice::{Registration, Registry},
    flows::login::LoginError,
    store::{Batch, View},
    users::{Account, accounts},
};
use ruma::{UserId, server_name};
use serde_json::{Value, json};

use super::rooms::segment;
use crate::{
    harness::{TestServer, TestUser},
    sync::{self, token},
};

const AS_TOKEN: &str = "the-token-of-the-bridge";

/// A server with a bridge: `@irc_…` and `#irc_…` are its own alone, `@guest_…` others may make too.
fn bridged(toml: &str, more: &str) -> TestServer {
    let text = format!(
        r##"{{"id": "irc", "url": null, "as_token": "{AS_TOKEN}", "hs_token": "another", "sender_localpart": "irc",
            "namespaces": {{"users": [{{"exclusive": true, "regex": "@irc_.*"}}, {{"exclusive": false, "regex": "@guest_.*"}}],
                           "aliases": [{{"exclusive": true, "regex": "#irc_.*"}}]}}{more}}}"##
    );
    let registration = Registration::parse(&text, server_name!("localhost")).unwrap();
    let toml = format!("[registration]\nmode = \"open\"\n{toml}");
    TestServer::adjusted(&toml, |config| config.appservices = Registry::new([registration]).unwrap())
}

/// The bridge itself, as the harness knows users.
fn bridge() -> TestUser {
    TestUser { user_id: "@irc:localhost".to_owned(), token: AS_TOKEN.to_owned() }
}

/// A target at which the bridge asks as one of its users.
fn posing(target: &str, user_id: &str) -> String {
    format!("{target}{}user_id={}", if target.contains('?') { '&' } else { '?' }, segment(user_id))
}

async fn make(server: &TestServer, name: &str) -> String {
    let body = json!({"type": "m.login.application_service", "username": name, "inhibit_login": true});
    let answer = server.post("/v3/register").by(&bridge()).json(&body).send().await.ok();
    assert_eq!(answer.get("access_token"), None);
    answer["user_id"].as_str().unwrap().to_owned()
}

async fn whoami(server: &TestServer, query: &str) -> crate::harness::Answer {
    server.get(&format!("/v3/account/whoami{query}")).by(&bridge()).send().await
}

#[tokio::test(start_paused = true)]
async fn it_asks_as_its_sender_or_as_one_of_its_users() {
    let server = bridged("", "");
    let alice = server.register_user("alice").await;
    let (first, second) = tokio::join!(whoami(&server, ""), whoami(&server, ""));
    assert_eq!(first.ok(), json!({"user_id": "@irc:localhost"}), "without a device");
    assert_eq!(second.ok()["user_id"], "@irc:localhost", "who comes to be with the first request");
    let room = sync::public_room(&server, &bridge()).await;
    sync::join(&server, &alice, &room).await;

    whoami(&server, "?user_id=@irc_bob:localhost").await.refused(403, "M_FORBIDDEN");
    let bob = make(&server, "irc_bob").await;
    assert_eq!(whoami(&server, "?user_id=@irc_bob:localhost").await.ok()["user_id"], bob);
    for (user_id, status, code) in [
        (&*alice.user_id, 403, "M_FORBIDDEN"),
        ("@irc_bob:elsewhere", 403, "M_FORBIDDEN"),
        ("irc_bob", 400, "M_INVALID_PARAM"),
    ] {
        whoami(&server, &format!("?user_id={user_id}")).await.refused(status, code);
    }
    let unknown = server.get("/v3/account/whoami").token("another").send().await;
    unknown.refused(401, "M_UNKNOWN_TOKEN");
    let other = server.get("/v3/account/whoami?user_id=@irc_bob:localhost").by(&alice).send().await.ok();
    assert_eq!(other["user_id"], alice.user_id, "nobody else is anybody else");

    server.post(&posing(&format!("/v3/join/{room}"), &bob)).by(&bridge()).json(&json!({})).send().await.ok();
    let said = posing(&format!("/v3/rooms/{room}/send/m.room.message/1"), &bob);
    let said = server.put(&said).by(&bridge()).json(&json!({"body": "hi", "msgtype": "m.text"})).send().await.ok();
    let again = posing(&format!("/v3/rooms/{room}/send/m.room.message/1"), &bob);
    assert_eq!(server.put(&again).by(&bridge()).json(&json!({})).send().await.ok(), said, "once for a transaction");
    let seen = sync::sync(&server, &alice, "").await;
    let last = seen["rooms"]["join"][&room]["timeline"]["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["sender"], &last["event_id"]), (&json!(bob), &said["event_id"]));
}

#[tokio::test(start_paused = true)]
async fn it_syncs_as_a_user_as_long_as_the_account_goes_on() {
    let server = bridged("", "");
    let bob = make(&server, "irc_bob").await;
    let answer = server.get(&posing("/v3/sync", &bob)).by(&bridge()).send().await.ok();
    let waiting = posing(&format!("/v3/sync?timeout=30000&since={}", token(&answer)), &bob);
    let waiting = server.get(&waiting).by(&bridge()).send();
    let ended = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        change(&server, &bob, |account| account.locked = true).await;
    };
    let (waited, ()) = tokio::join!(waiting, ended);
    waited.refused(401, "M_USER_LOCKED");
}

/// Changes an account as an administrator would.
async fn change(server: &TestServer, user_id: &str, change: fn(&mut Account)) {
    let user_id = UserId::parse(user_id).unwrap();
    let replace = move |view: &View<'_>, batch: &mut Batch| {
        let old = accounts::get(view, &user_id)?.unwrap();
        let mut new = old.clone();
        change(&mut new);
        accounts::replace(batch, &user_id, &old, &new);
        Ok::<_, LoginError>(())
    };
    server.app().users.change(replace).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_an_account_may_not_its_application_service_may_not_either() {
    let server = bridged("", "");
    let bob = make(&server, "irc_bob").await;
    let room = server.post(&posing("/v3/createRoom", &bob)).by(&bridge()).json(&json!({})).send().await.ok();
    let send = posing(&format!("/v3/rooms/{}/send/m.room.message/1", room["room_id"].as_str().unwrap()), &bob);
    let send = || server.put(&send).by(&bridge()).json(&json!({})).send();
    change(&server, &bob, |account| account.suspended = true).await;
    send().await.refused(403, "M_USER_SUSPENDED");
    change(&server, &bob, |account| account.locked = true).await;
    send().await.refused(401, "M_USER_LOCKED");
    change(&server, &bob, |account| account.deactivated = true).await;
    send().await.refused(403, "M_USER_DEACTIVATED");
    let login = json!({"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": "irc_bob"}});
    server.post("/v3/login").by(&bridge()).json(&login).send().await.refused(403, "M_USER_DEACTIVATED");
}

#[tokio::test(start_paused = true)]
async fn it_makes_and_takes_devices_without_being_asked_who_it_is() {
    let server = bridged("", "");
    let (alice, bob) = (server.register_user("alice").await, make(&server, "irc_bob").await);
    let as_device = format!("?user_id={bob}&device_id=DEVICE");
    whoami(&server, &as_device).await.refused(400, "M_UNKNOWN_DEVICE");
    let device = posing("/v3/devices/DEVICE", &bob);
    let put = |name: &str| server.put(&device).by(&bridge()).json(&json!({"display_name": name})).send();
    assert_eq!(put("one").await.status, 201);
    assert_eq!(put("two").await.status, 200);
    assert_eq!(server.get(&device).by(&bridge()).send().await.ok()["display_name"], "two");
    assert_eq!(whoami(&server, &as_device).await.ok()["device_id"], "DEVICE");
    assert_eq!(whoami(&server, "?device_id=DEVICE").await.json["errcode"], "M_UNKNOWN_DEVICE", "it is another's");
    let target = format!("/_matrix/client{device}");
    server.request(Method::DELETE, target).by(&bridge()).json(&json!({})).send().await.ok();
    whoami(&server, &as_device).await.refused(400, "M_UNKNOWN_DEVICE");
    let body = json!({"display_name": "none"});
    server.put("/v3/devices/OTHER").by(&alice).json(&body).send().await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn it_logs_in_as_its_users() {
    let server = bridged("", "");
    server.register_user("alice").await;
    make(&server, "irc_bob").await;
    let flows = server.get("/v3/login").send().await.ok();
    assert!(flows["flows"].as_array().unwrap().contains(&json!({"type": "m.login.application_service"})));
    let login = |token: Option<&'static str>, user: &str| {
        let identifier = json!({"type": "m.id.user", "user": user});
        let body = json!({"type": "m.login.application_service", "identifier": identifier});
        let request = server.post("/v3/login").json(&body);
        if let Some(token) = token { request.token(token) } else { request }.send()
    };
    let answer = login(Some(AS_TOKEN), "irc_bob").await.ok();
    let own = server.get("/v3/account/whoami").token(answer["access_token"].as_str().unwrap()).send().await.ok();
    assert_eq!(own["user_id"], "@irc_bob:localhost");
    login(Some(AS_TOKEN), "alice").await.refused(400, "M_EXCLUSIVE");
    login(Some(AS_TOKEN), "irc_nobody").await.refused(403, "M_FORBIDDEN");
    login(Some("another"), "irc_bob").await.refused(401, "M_UNKNOWN_TOKEN");
    login(None, "irc_bob").await.refused(401, "M_MISSING_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn names_are_for_whom_they_are_registered() {
    let server = bridged("", "");
    let alice = server.register_user("alice").await;
    let register = |name: &str| {
        let body = json!({"username": name, "password": "correct horse", "auth": {"type": "m.login.dummy"}});
        server.post("/v3/register").json(&body).send()
    };
    for name in ["irc_carol", "irc", "IRC_Carol"] {
        register(name).await.refused(400, "M_EXCLUSIVE");
        server.get(&format!("/v3/register/available?username={name}")).send().await.refused(400, "M_EXCLUSIVE");
    }
    register("guest_carol").await.ok();
    let by_bridge = |name: &str| json!({"type": "m.login.application_service", "username": name});
    let make = |name: &str| server.post("/v3/register").by(&bridge()).json(&by_bridge(name)).send();
    assert!(make("irc_carol").await.ok()["access_token"].is_string(), "unless it does not want one");
    make("irc_carol").await.refused(400, "M_USER_IN_USE");
    make("carol").await.refused(400, "M_EXCLUSIVE");
    server.post("/v3/register").json(&by_bridge("irc_dave")).send().await.refused(401, "M_MISSING_TOKEN");
    let by_alice = server.post("/v3/register").by(&alice).json(&by_bridge("irc_dave")).send().await;
    by_alice.refused(401, "M_UNKNOWN_TOKEN");

    let create = |user: &TestUser, alias: &str| {
        server.post("/v3/createRoom").by(user).json(&json!({"room_alias_name": alias})).send()
    };
    create(&alice, "irc_den").await.refused(400, "M_EXCLUSIVE");
    create(&bridge(), "den").await.refused(400, "M_EXCLUSIVE");
    let room = create(&bridge(), "irc_den").await.ok();
    let of_alice = sync::create_room(&server, &alice, json!({})).await;
    let name = |user: &TestUser, alias: &str, room: &Value| {
        let target = format!("/v3/directory/room/{}", segment(&format!("#{alias}:localhost")));
        server.put(&target).by(user).json(&json!({"room_id": room})).send()
    };
    name(&alice, "irc_kitchen", &json!(of_alice)).await.refused(400, "M_EXCLUSIVE");
    name(&bridge(), "kitchen", &room["room_id"]).await.refused(400, "M_EXCLUSIVE");
    name(&bridge(), "irc_kitchen", &room["room_id"]).await.ok();
    name(&alice, "kitchen", &json!(of_alice)).await.ok();
    let remove = |user: &TestUser, alias: &str| {
        let target = format!("/_matrix/client/v3/directory/room/{}", segment(&format!("#{alias}:localhost")));
        server.request(Method::DELETE, target).by(user).send()
    };
    remove(&bridge(), "kitchen").await.refused(403, "M_FORBIDDEN");
    remove(&alice, "irc_kitchen").await.refused(403, "M_FORBIDDEN");
    remove(&bridge(), "irc_kitchen").await.ok();
}

#[tokio::test(start_paused = true)]
async fn it_says_when_something_was_sent() {
    let server = bridged("", "");
    let (alice, bob) = (server.register_user("alice").await, make(&server, "irc_bob").await);
    let room = sync::public_room(&server, &alice).await;
    let time_of = async |event_id: &Value| {
        let target = format!("/v3/rooms/{room}/event/{}", segment(event_id.as_str().unwrap()));
        server.get(&target).by(&alice).send().await.ok()["origin_server_ts"].clone()
    };
    let join = format!("/v3/rooms/{room}/state/m.room.member/{}?ts=1000", segment(&bob));
    let joined = server.put(&posing(&join, &bob)).by(&bridge()).json(&json!({"membership": "join"})).send().await;
    assert_eq!(time_of(&joined.ok()["event_id"]).await, 1000);
    let send = |ts: &str, txn: &str| {
        let target = posing(&format!("/v3/rooms/{room}/send/m.room.message/{txn}?ts={ts}"), &bob);
        server.put(&target).by(&bridge()).json(&json!({"body": txn, "msgtype": "m.text"})).send()
    };
    let (one, two) = (send("5000", "one").await.ok(), send("5000", "two").await.ok());
    assert_eq!(time_of(&one["event_id"]).await, 5000);
    for ts in ["-1", "1.5", "", "now", "+5", "9007199254740992"] {
        send(ts, "bad").await.refused(400, "M_INVALID_PARAM");
    }
    send("9007199254740991", "far").await.ok();
    for (dir, expected) in [("f", &one), ("b", &two)] {
        let target = format!("/v1/rooms/{room}/timestamp_to_event?ts=5000&dir={dir}");
        let found = server.get(&target).by(&alice).send().await.ok();
        assert_eq!(found["event_id"], expected["event_id"], "{dir}: the nearest in the graph of those of one time");
    }
    let target = format!("/v3/rooms/{room}/send/m.room.message/1?ts=5000");
    let by_alice = server.put(&target).by(&alice).json(&json!({"body": "now", "msgtype": "m.text"})).send().await.ok();
    assert_ne!(time_of(&by_alice["event_id"]).await, 5000, "nobody else says when");
}

#[tokio::test(start_paused = true)]
async fn it_asks_as_often_as_its_registration_says() {
    const FEW: &str = "[rate_limits]\nlight_per_second = 0.01\nlight_burst = 3\nregistration_per_second = 0.01\n\
                       registration_burst = 1\n";
    let limited = bridged(FEW, "");
    let free = bridged(FEW, ", \"rate_limited\": false");
    for server in [&limited, &free] {
        for name in ["irc_one", "irc_two", "irc_three"] {
            make(server, name).await;
        }
        for _ in 0..5 {
            whoami(server, "").await.ok();
        }
        server.register_user("alice").await;
        let again = server.post("/v3/register").json(&json!({})).send().await;
        again.refused(429, "M_LIMIT_EXCEEDED");
    }
    for (server, limit) in [(&limited, true), (&free, false)] {
        let mut refused = false;
        for _ in 0..5 {
            refused |= whoami(server, "?user_id=@irc_one:localhost").await.status == 429;
        }
        assert_eq!(refused, limit);
    }
}
