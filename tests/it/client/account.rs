//! Login, registration, logout, refresh: the life of sessions and accounts.

use std::time::Duration;

use http::Method;
use myelin::flows::{account, register};
use ruma::user_id;
use serde_json::{Value, json};

use super::api::{Api, confusions, password, proof, token};

async fn is_alive(api: &Api, token: &str) -> bool {
    let answer = api.get("/v3/account/whoami", token).await;
    if answer.status != 200 {
        answer.refused(401, "M_UNKNOWN_TOKEN");
    }
    answer.status == 200
}

#[tokio::test(start_paused = true)]
async fn a_user_registers_logs_in_and_out() {
    let api = Api::open();
    let first = api.register("alice").await;
    let who = api.get("/v3/account/whoami", &first).await.ok();
    assert_eq!(who, json!({"user_id": "@alice:localhost", "device_id": "FIRST"}));
    let login = api.login("alice", "PHONE").await.ok();
    assert_eq!((login["user_id"].as_str(), login["device_id"].as_str()), (Some("@alice:localhost"), Some("PHONE")));
    assert!(login.get("expires_in_ms").is_none(), "a client that cannot refresh gets a token that lives");
    let second = token(&login);
    let api = api.restart();
    assert!(is_alive(&api, &first).await && is_alive(&api, &second).await, "a restart keeps everybody in");
    api.post("/v3/logout", &first, json!({})).await.ok();
    assert!(!is_alive(&api, &first).await && is_alive(&api, &second).await);
    api.post("/v3/logout/all", &second, json!({})).await.ok();
    assert!(!is_alive(&api, &second).await);
    api.post("/v3/logout", &second, json!({})).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn login_takes_names_in_every_spelling() {
    let api = Api::open();
    api.register("alice").await;
    let login = async |body: Value| api.anonymous(Method::POST, "/v3/login", body).await;
    let kind = "m.login.password";
    for (identifier, status) in [
        (json!({"type": "m.id.user", "user": "alice"}), 200),
        (json!({"type": "m.id.user", "user": "@alice:localhost"}), 200),
        (json!({"type": "m.id.user", "user": "@alice:elsewhere"}), 403),
        (json!({"type": "m.id.user", "user": "nobody"}), 403),
        (json!({"type": "m.id.user", "user": "@"}), 403),
        (json!({"type": "m.id.thirdparty", "medium": "email", "address": "a@b"}), 403),
        (json!({"type": "m.id.phone", "country": "GB", "phone": "1"}), 403),
        (json!({"type": "org.example"}), 403),
        (json!({}), 400),
        (json!("alice"), 400),
    ] {
        let answer = login(json!({"type": kind, "identifier": identifier, "password": password("alice")})).await;
        assert_eq!(answer.status, status, "{identifier}: {}", answer.json);
    }
    login(json!({"type": kind, "user": "alice", "password": password("alice")})).await.ok();
    login(json!({"type": kind, "password": "x"})).await.refused(400, "M_MISSING_PARAM");
    login(json!({"type": kind, "user": "alice"})).await.refused(400, "M_MISSING_PARAM");
    login(json!({"type": "m.login.sso"})).await.refused(400, "M_UNKNOWN");
    login(json!({})).await.refused(400, "M_MISSING_PARAM");
    let flows = api.anonymous(Method::GET, "/v3/login", Value::Null).await.ok();
    assert_eq!(flows["flows"][0]["type"], kind);
}

#[tokio::test(start_paused = true)]
async fn every_type_in_every_field_of_login_and_register_is_answered_4xx_or_works() {
    let api = Api::open();
    api.register("alice").await;
    let login = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "wrong",
        "device_id": "X",
        "initial_device_display_name": "x",
        "refresh_token": false,
    });
    let register = json!({
        "username": "alice",
        "password": "x",
        "device_id": "X",
        "initial_device_display_name": "x",
        "inhibit_login": false,
        "refresh_token": false,
        "auth": {"type": "m.login.dummy", "session": "x"},
    });
    for (path, whole) in [("/v3/login", login), ("/v3/register", register)] {
        for field in whole.as_object().unwrap().keys() {
            for value in confusions() {
                let mut body = whole.clone();
                body[field] = value;
                let answer = api.anonymous(Method::POST, path, body).await;
                assert!((400..500).contains(&answer.status), "{path} {field}: {}", answer.json);
            }
        }
        for body in
            ["", "{", "[]", "null", "7", "\"x\"", "\u{feff}{}", "{\"type\": \"\\ud800\"}", "[\"m.login.password\"]"]
        {
            let answer = api.send(Method::POST, &format!("/_matrix/client{path}"), None, body).await;
            assert!((400..500).contains(&answer.status), "{path} {body}: {}", answer.json);
        }
        let not_utf8 = b"{\"type\": \"\xff\"}".to_vec();
        api.send(Method::POST, &format!("/_matrix/client{path}"), None, not_utf8).await.refused(400, "M_NOT_JSON");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_none_are_refused() {
    let api = Api::open();
    for wrong in ["", "x", "myl_", "mylr_x"] {
        let answer = api.get("/v3/account/whoami", wrong).await;
        assert_eq!(answer.status, 401, "{wrong:?}");
    }
    api.anonymous(Method::GET, "/v3/account/whoami", Value::Null).await.refused(401, "M_MISSING_TOKEN");
    api.anonymous(Method::GET, "/v3/account/whoami?access_token=", Value::Null).await.refused(401, "M_MISSING_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn registration_asks_for_authentication_first() {
    let api = Api::open();
    let body = json!({"username": "alice", "password": password("alice")});
    let asked = api.anonymous(Method::POST, "/v3/register", body.clone()).await;
    assert_eq!((asked.status, &asked.json["flows"]), (401, &json!([{"stages": ["m.login.dummy"]}])));
    let mut answered = body.clone();
    answered["auth"] = json!({"type": "m.login.dummy", "session": asked.json["session"]});
    api.anonymous(Method::POST, "/v3/register", answered.clone()).await.ok();
    api.anonymous(Method::POST, "/v3/register", answered).await.refused(400, "M_USER_IN_USE");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ask_for_the_flows_first_and_go_on_with_that_session() {
    let api = Api::open();
    let asked = api.anonymous(Method::POST, "/v3/register", json!({})).await;
    assert_eq!(asked.status, 401);
    let auth = json!({"type": "m.login.dummy", "session": asked.json["session"]});
    let body = json!({"username": "alice", "password": password("alice"), "auth": auth});
    let alice = token(&api.anonymous(Method::POST, "/v3/register", body).await.ok());
    // The session serves nothing else: it is used up, and a new one is offered.
    let body = json!({"new_password": "another password", "auth": auth});
    let refused = api.post("/v3/account/password", &alice, body).await;
    refused.refused(401, "M_UNKNOWN");
    assert_ne!(refused.json["session"], asked.json["session"]);
    api.login("alice", "SECOND").await.ok();
}

#[tokio::test(start_paused = true)]
async fn names_are_checked_before_and_while_registering() {
    let api = Api::open();
    api.register("alice").await;
    for (name, code) in [
        ("alice", "M_USER_IN_USE"),
        ("Alice", "M_USER_IN_USE"),
        ("", "M_INVALID_USERNAME"),
        ("\u{430}lice", "M_INVALID_USERNAME"),
        ("a b", "M_INVALID_USERNAME"),
        ("@bob:localhost", "M_INVALID_USERNAME"),
        ("admin", "M_INVALID_USERNAME"),
        ("Admin", "M_INVALID_USERNAME"),
        (&"x".repeat(255), "M_INVALID_USERNAME"),
    ] {
        let query: String = url_encode(name);
        let available = format!("/v3/register/available?username={query}");
        api.anonymous(Method::GET, &available, Value::Null).await.refused(400, code);
        let body = json!({"username": name, "password": "long enough", "auth": {"type": "m.login.dummy"}});
        api.anonymous(Method::POST, "/v3/register", body).await.refused(400, code);
    }
    let free = api.anonymous(Method::GET, "/v3/register/available?username=bob", Value::Null).await.ok();
    assert_eq!(free, json!({"available": true}));
    api.anonymous(Method::GET, "/v3/register/available", Value::Null).await.refused(400, "M_MISSING_PARAM");
    let body = json!({"username": "bob", "password": "short", "auth": {"type": "m.login.dummy"}});
    api.anonymous(Method::POST, "/v3/register", body).await.refused(400, "M_WEAK_PASSWORD");
    let body = json!({"password": "long enough", "inhibit_login": true, "auth": {"type": "m.login.dummy"}});
    let made = api.anonymous(Method::POST, "/v3/register", body).await.ok();
    assert!(made["user_id"].as_str().unwrap().ends_with(":localhost") && made.get("access_token").is_none());
}

/// Appendices, "User Identifiers": names are made small, and whoever writes one otherwise means the same user.
#[tokio::test(start_paused = true)]
async fn no_two_users_differ_only_in_case() {
    let api = Api::open();
    let body = json!({"username": "CamelCase", "password": "long enough", "auth": {"type": "m.login.dummy"}});
    let made = api.anonymous(Method::POST, "/v3/register", body).await.ok();
    assert_eq!(made["user_id"], "@camelcase:localhost");
    for name in ["camelcase", "CAMELCASE", "@CamelCase:localhost"] {
        let identifier = json!({"type": "m.id.user", "user": name});
        let body = json!({"type": "m.login.password", "identifier": identifier, "password": "long enough"});
        let session = api.anonymous(Method::POST, "/v3/login", body).await.ok();
        assert_eq!(session["user_id"], "@camelcase:localhost");
        let whoami = api.get("/v3/account/whoami", session["access_token"].as_str().unwrap()).await.ok();
        assert_eq!(whoami["user_id"], "@camelcase:localhost");
    }
}

fn url_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(start_paused = true)]
async fn registration_by_token_closed_and_of_guests() {
    let closed = Api::configured("[registration]\nmode = \"closed\"\n");
    closed.anonymous(Method::POST, "/v3/register", json!({})).await.refused(403, "M_FORBIDDEN");
    closed.anonymous(Method::POST, "/v3/register?kind=guest", json!({})).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    closed.anonymous(Method::POST, "/v3/register?kind=x", json!({})).await.refused(400, "M_INVALID_PARAM");

    let guests = Api::configured("[registration]\nguests = true\n");
    let guest = guests.anonymous(Method::POST, "/v3/register?kind=guest", json!({"device_id": "X"})).await.ok();
    assert_ne!(guest["device_id"], "X", "the server chooses");
    let who = guests.get("/v3/account/whoami", &token(&guest)).await.ok();
    assert_eq!(who["is_guest"], true);

    let api = Api::configured("");
    let invitation = register::first_token(&api.app().users).await.unwrap().unwrap();
    let validity = "/v1/register/m.login.registration_token/validity?token=";
    let valid = async |token: &str| {
        api.anonymous(Method::GET, &format!("{validity}{token}"), Value::Null).await.ok()["valid"] == true
    };
    assert!(valid(&invitation).await && !valid("other").await && !valid("%00").await);
    let with = |name: &str, auth: Value| json!({"username": name, "password": password(name), "auth": auth});
    let register = async |body: Value| api.anonymous(Method::POST, "/v3/register", body).await;
    let refused = register(with("alice", json!({"type": "m.login.dummy"}))).await;
    assert_eq!(refused.status, 401, "a dummy is not what is asked for");
    let wrong = register(with("alice", json!({"type": "m.login.registration_token", "token": "other"}))).await;
    wrong.refused(401, "M_UNAUTHORIZED");
    let by_token = json!({"type": "m.login.registration_token", "token": invitation});
    let tries = ["alice", "bob", "carol"].map(|name| register(with(name, by_token.clone())));
    let made = futures_util::future::join_all(tries).await;
    assert_eq!(made.iter().filter(|answer| answer.status == 200).count(), 1, "one token, one account");
    assert!(!valid(&invitation).await);
}

#[tokio::test(start_paused = true)]
async fn the_shared_secret_makes_accounts() {
    let path = "/_synapse/admin/v1/register";
    let off = Api::open();
    off.send(Method::GET, path, None, "").await.refused(400, "M_UNKNOWN");
    let api = Api::configured("[registration]\nshared_secret = \"a secret of some length\"\n");
    let nonce = async || {
        let answer = api.send(Method::GET, path, None, "").await.ok();
        answer["nonce"].as_str().unwrap().to_owned()
    };
    let signed = |nonce: &str, name: &str, admin: bool| {
        let role = if admin { "admin" } else { "notadmin" };
        let message = format!("{nonce}\0{name}\0long enough\0{role}");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"a secret of some length");
        let mac = ring::hmac::sign(&key, message.as_bytes());
        let mac: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"nonce": nonce, "username": name, "password": "long enough", "admin": admin, "mac": mac})
    };
    let post = async |body: Value| api.send(Method::POST, path, None, body.to_string()).await;
    let fresh = nonce().await;
    let made = post(signed(&fresh, "root", true)).await.ok();
    let session = api.app().users.authenticate(made["access_token"].as_str().unwrap()).await.unwrap();
    assert!(session.is_admin, "an administrator may have a reserved name");
    post(signed(&fresh, "bob", false)).await.refused(400, "M_UNKNOWN");
    let fresh = nonce().await;
    let mut forged = signed(&fresh, "bob", false);
    forged["admin"] = json!(true);
    post(forged).await.refused(403, "M_FORBIDDEN");
    post(signed(&fresh, "B ob", false)).await.refused(400, "M_INVALID_USERNAME");
    assert_eq!(post(signed(&fresh, "Bob", false)).await.ok()["user_id"], "@bob:localhost");
    let late = nonce().await;
    tokio::time::advance(Duration::from_mins(1)).await;
    post(signed(&late, "carol", false)).await.refused(400, "M_UNKNOWN");
    for field in ["nonce", "username", "password", "admin", "mac"] {
        for value in confusions() {
            let mut body = signed(&late, "carol", false);
            body[field] = value;
            let answer = post(body).await;
            assert!((400..500).contains(&answer.status), "{field}: {}", answer.json);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_refreshed() {
    let api = Api::open();
    api.register("alice").await;
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": password("alice"),
        "refresh_token": true,
    });
    let login = api.anonymous(Method::POST, "/v3/login", body).await.ok();
    assert_eq!(login["expires_in_ms"], 300_000);
    tokio::time::advance(Duration::from_mins(5)).await;
    let expired = api.get("/v3/account/whoami", &token(&login)).await;
    expired.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(expired.json["soft_logout"], true);
    let refresh =
        async |token: &Value| api.anonymous(Method::POST, "/v3/refresh", json!({"refresh_token": token})).await;
    let next = refresh(&login["refresh_token"]).await.ok();
    assert_eq!(next["expires_in_ms"], 300_000);
    assert!(is_alive(&api, &token(&next)).await);
    let used = refresh(&login["refresh_token"]).await;
    used.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(used.json["soft_logout"], false);
    refresh(&json!(token(&next))).await.refused(401, "M_UNKNOWN_TOKEN");
    for value in confusions() {
        let answer = refresh(&value).await;
        assert!((400..500).contains(&answer.status), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_token_lets_another_client_in() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let asked = api.post("/v1/login/get_token", &alice, json!({})).await;
    assert_eq!(asked.status, 401);
    let made = api.post("/v1/login/get_token", &alice, json!({"auth": proof("alice")})).await.ok();
    assert_eq!(made["expires_in_ms"], 120_000);
    let body = json!({"type": "m.login.token", "token": made["login_token"]});
    let login = api.anonymous(Method::POST, "/v3/login", body.clone()).await.ok();
    assert_eq!(login["user_id"], "@alice:localhost");
    api.anonymous(Method::POST, "/v3/login", body).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn locked_suspended_and_deactivated_users_are_told_so() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let (users, user) = (&api.app().users, user_id!("@alice:localhost").to_owned());
    account::set_locked(users, user.clone(), true).await.unwrap();
    let locked = api.get("/v3/account/whoami", &alice).await;
    locked.refused(401, "M_USER_LOCKED");
    assert_eq!(locked.json["soft_logout"], true);
    api.login("alice", "X").await.refused(401, "M_USER_LOCKED");
    account::set_locked(users, user.clone(), false).await.unwrap();
    account::set_suspended(users, user.clone(), true).await.unwrap();
    api.get("/v3/account/whoami", &alice).await.ok();
    let name = json!({"displayname": "A"});
    api.put("/v3/profile/@alice:localhost/displayname", &alice, name).await.refused(403, "M_USER_SUSPENDED");
    account::set_suspended(users, user.clone(), false).await.unwrap();
    account::set_locked(users, user, true).await.unwrap();
    api.post("/v3/logout", &alice, json!({})).await.ok();

    let bob = api.register("bob").await;
    assert_eq!(api.post("/v3/account/deactivate", &bob, json!({})).await.status, 401);
    api.post("/v3/account/deactivate", &bob, json!({"auth": proof("bob")})).await.ok();
    assert!(!is_alive(&api, &bob).await);
    api.login("bob", "X").await.refused(403, "M_FORBIDDEN");
    let again = json!({"username": "bob", "password": "long enough", "auth": {"type": "m.login.dummy"}});
    api.anonymous(Method::POST, "/v3/register", again).await.refused(400, "M_USER_IN_USE");
    api.anonymous(Method::GET, "/v3/profile/@bob:localhost", Value::Null).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_password_is_changed() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let other = token(&api.login("alice", "OTHER").await.ok());
    let change = |auth: Value| json!({"new_password": "something new", "auth": auth});
    let path = "/v3/account/password";
    assert_eq!(api.post(path, &alice, change(Value::Null)).await.status, 401);
    api.post(
        path,
        &alice,
        change(json!({"type": "m.login.password", "password": "x", "identifier":
        {"type": "m.id.user", "user": "alice"}})),
    )
    .await
    .refused(401, "M_FORBIDDEN");
    api.post(path, &alice, json!({"new_password": "x", "auth": proof("alice")})).await.refused(400, "M_WEAK_PASSWORD");
    api.post(path, &alice, change(proof("alice"))).await.ok();
    assert!(is_alive(&api, &alice).await && !is_alive(&api, &other).await);
    api.login("alice", "X").await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_is_answered_honestly() {
    let api = Api::open();
    let alice = api.register("alice").await;
    assert_eq!(api.get("/v3/pushers", &alice).await.ok(), json!({"pushers": []}));
    assert_eq!(api.get("/v3/thirdparty/protocols", &alice).await.ok(), json!({}));
    assert_eq!(api.get("/v3/voip/turnServer", &alice).await.ok(), json!({}));
    assert_eq!(api.get("/v3/account/3pid", &alice).await.ok(), json!({"threepids": []}));
    api.get("/v3/room_keys/version", &alice).await.refused(404, "M_NOT_FOUND");
    api.post("/v3/keys/query", &alice, json!({})).await.refused(404, "M_UNRECOGNIZED");
}
