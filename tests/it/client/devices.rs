//! Devices: listing, naming, and deleting them after authentication for just that.

use http::Method;
use serde_json::{Value, json};

use super::api::{Api, confusions, password, proof, token};

const DELETE: &str = "/v3/delete_devices";

#[tokio::test(start_paused = true)]
async fn devices_are_listed_and_named() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let bob = api.register("bob").await;
    api.login("alice", "PHONE/1 é").await.ok();
    api.put("/v3/devices/PHONE%2F1%20%C3%A9", &alice, json!({"display_name": "my phone"})).await.ok();
    let listed = api.get("/v3/devices", &alice).await.ok();
    let names: Vec<_> = listed["devices"].as_array().unwrap().iter().map(|device| &device["device_id"]).collect();
    assert_eq!(names, ["FIRST", "PHONE/1 é"]);
    let one = api.get("/v3/devices/PHONE%2F1%20%C3%A9", &alice).await.ok();
    assert_eq!(one["display_name"], "my phone");
    api.get("/v3/devices/PHONE%2F1%20%C3%A9", &bob).await.refused(404, "M_NOT_FOUND");
    for unknown in ["nothing", &"x".repeat(300)] {
        api.get(&format!("/v3/devices/{unknown}"), &alice).await.refused(404, "M_NOT_FOUND");
        api.put(&format!("/v3/devices/{unknown}"), &alice, json!({})).await.refused(404, "M_NOT_FOUND");
    }
    let long = json!({"display_name": "x".repeat(1_025)});
    api.put("/v3/devices/FIRST", &alice, long).await.refused(400, "M_INVALID_PARAM");
    for value in confusions() {
        let answer = api.put("/v3/devices/FIRST", &alice, json!({ "display_name": value })).await;
        assert_eq!(answer.status, if value.is_null() || value.is_string() { 200 } else { 400 }, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_device_is_dead_at_once() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let phone = token(&api.login("alice", "PHONE").await.ok());
    api.get("/v3/account/whoami", &phone).await.ok();
    assert_eq!(api.delete("/v3/devices/PHONE", &alice, json!({})).await.status, 401);
    api.delete("/v3/devices/PHONE", &alice, json!({"auth": proof("alice")})).await.ok();
    api.get("/v3/account/whoami", &phone).await.refused(401, "M_UNKNOWN_TOKEN");
    let listed = api.get("/v3/devices", &alice).await.ok();
    assert_eq!(listed["devices"].as_array().unwrap().len(), 1);
    let api = api.restart();
    api.get("/v3/account/whoami", &phone).await.refused(401, "M_UNKNOWN_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn many_devices_go_at_once_and_twice_is_once() {
    let api = Api::open();
    let alice = api.register("alice").await;
    for device in ["A", "B", "C"] {
        api.login("alice", device).await.ok();
    }
    let body = json!({"devices": ["A", "B", "A", "nothing", "x".repeat(400)], "auth": proof("alice")});
    api.post(DELETE, &alice, body).await.ok();
    let listed = api.get("/v3/devices", &alice).await.ok();
    let left: Vec<_> = listed["devices"].as_array().unwrap().iter().map(|device| &device["device_id"]).collect();
    assert_eq!(left, ["C", "FIRST"]);
    let many = vec!["x"; 1_001];
    api.post(DELETE, &alice, json!({ "devices": many })).await.refused(400, "M_INVALID_PARAM");
    for value in confusions() {
        let answer = api.post(DELETE, &alice, json!({ "devices": value })).await;
        assert!((400..500).contains(&answer.status), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn authentication_is_for_one_request_of_one_user() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let bob = api.register("bob").await;
    api.login("alice", "PHONE").await.ok();
    let begin = async |token: &str, devices: Value| {
        let asked = api.post(DELETE, token, json!({ "devices": devices })).await;
        assert_eq!((asked.status, &asked.json["flows"]), (401, &json!([{"stages": ["m.login.password"]}])));
        asked.json["session"].clone()
    };
    let with = |session: &Value, name: &str| {
        let mut auth = proof(name);
        auth["session"] = session.clone();
        auth
    };
    let session = begin(&alice, json!(["PHONE"])).await;
    for (what, token, path, body) in [
        ("other devices", &alice, DELETE, json!({"devices": ["FIRST"], "auth": with(&session, "alice")})),
        ("another endpoint", &alice, "/v1/login/get_token", json!({"auth": with(&session, "alice")})),
        ("another user", &bob, DELETE, json!({"devices": ["PHONE"], "auth": with(&session, "bob")})),
    ] {
        let answer = api.post(path, token, body).await;
        assert_eq!((answer.status, answer.json["errcode"].as_str()), (403, Some("M_FORBIDDEN")), "{what}");
    }
    let by_delete = json!({"devices": ["PHONE"], "auth": with(&session, "alice")});
    api.delete("/v3/devices/PHONE", &alice, by_delete.clone()).await.refused(403, "M_FORBIDDEN");
    let bobs = api.post(DELETE, &alice, json!({"devices": ["PHONE"], "auth": with(&session, "bob")})).await;
    bobs.refused(401, "M_FORBIDDEN");
    assert_eq!(bobs.json["session"], session, "a wrong password does not end the session");
    for auth in [json!({"type": "m.login.dummy", "session": session}), json!({"session": session})] {
        let answer = api.post(DELETE, &alice, json!({"devices": ["PHONE"], "auth": auth})).await;
        assert_eq!(answer.status, 401, "{auth}");
    }
    api.post(DELETE, &alice, by_delete.clone()).await.ok();
    let replayed = api.post(DELETE, &alice, by_delete).await;
    assert_eq!(replayed.status, 401, "a session that served is over");
    for value in confusions() {
        let answer = api.post(DELETE, &alice, json!({"devices": ["C"], "auth": value})).await;
        assert!((400..500).contains(&answer.status), "{value}: {}", answer.json);
    }
    let unknown = api.post(DELETE, &alice, json!({"devices": ["C"], "auth": with(&json!("nope"), "alice")})).await;
    assert_eq!(unknown.status, 401);
    assert_ne!(unknown.json["session"], "nope");
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_a_restart() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let asked = api.post(DELETE, &alice, json!({"devices": ["FIRST"]})).await;
    let api = api.restart();
    let auth = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "@alice:localhost"},
        "password": password("alice"),
        "session": asked.json["session"],
    });
    api.post(DELETE, &alice, json!({"auth": auth, "devices": ["FIRST"]})).await.ok();
    api.anonymous(Method::GET, &format!("/v3/devices?access_token={alice}"), Value::Null)
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
}
