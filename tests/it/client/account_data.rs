//! Account data and tags.

use http::Method;
use serde_json::{Value, json};

use super::api::{Api, confusions};

const ALICE: &str = "/v3/user/@alice:localhost";
const ROOM: &str = "/v3/user/@alice:localhost/rooms/!room:localhost";

#[tokio::test(start_paused = true)]
async fn account_data_is_kept_as_it_came() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let odd = r#"{ "b": 1.50, "a": "\u0000é", "n": 123456789012345678901234567890 }"#;
    for (path, body) in [
        (format!("{ALICE}/account_data/org.example"), r#"{"a":1}"#),
        (format!("{ROOM}/account_data/org.example"), odd),
        (format!("{ALICE}/account_data/with%2Fslash%20%C3%A9"), "{}"),
    ] {
        let path = format!("/_matrix/client{path}");
        api.send(Method::PUT, &path, Some(&alice), body).await.ok();
        let read = api.send(Method::GET, &path, Some(&alice), "").await.ok();
        assert_eq!(read, serde_json::from_str::<Value>(body).unwrap());
    }
    let api = api.restart();
    assert_eq!(api.get(&format!("{ALICE}/account_data/org.example"), &alice).await.ok(), json!({"a": 1}));
    api.get(&format!("{ALICE}/account_data/other"), &alice).await.refused(404, "M_NOT_FOUND");
    let rules = api.get(&format!("{ALICE}/account_data/m.push_rules"), &alice).await.ok();
    assert!(rules["global"]["override"].is_array(), "what the server sets can be read");
}

#[tokio::test(start_paused = true)]
async fn account_data_is_ones_own_and_an_object() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let bob = api.register("bob").await;
    for scope in [ALICE, ROOM] {
        let path = format!("{scope}/account_data/x");
        api.put(&path, &bob, json!({})).await.refused(403, "M_FORBIDDEN");
        api.get(&path, &bob).await.refused(403, "M_FORBIDDEN");
        for kind in ["m.push_rules", "m.fully_read"] {
            let path = format!("{scope}/account_data/{kind}");
            api.put(&path, &alice, json!({})).await.refused(405, "M_BAD_JSON");
        }
        for value in confusions() {
            let answer = api.put(&path, &alice, value.clone()).await;
            assert_eq!(answer.status, if value.is_object() { 200 } else { 400 }, "{value}");
        }
        let long = format!("{scope}/account_data/{}", "x".repeat(256));
        api.put(&long, &alice, json!({})).await.refused(400, "M_INVALID_PARAM");
        api.get(&long, &alice).await.refused(404, "M_NOT_FOUND");
        api.put(&path, &alice, json!({"x": "x".repeat(600 << 10)})).await.refused(413, "M_TOO_LARGE");
    }
    let no_room = "/v3/user/@alice:localhost/rooms/room/account_data/x";
    api.put(no_room, &alice, json!({})).await.refused(400, "M_INVALID_PARAM");
    let body = "{".repeat(5_000);
    let path = format!("/_matrix/client{ALICE}/account_data/x");
    // How deep it nests is looked at before whether it ends.
    api.send(Method::PUT, &path, Some(&alice), body).await.refused(400, "M_BAD_JSON");
}

#[tokio::test(start_paused = true)]
async fn rooms_are_tagged() {
    let api = Api::open();
    let alice = api.register("alice").await;
    assert_eq!(api.get(&format!("{ROOM}/tags"), &alice).await.ok(), json!({"tags": {}}));
    api.put(&format!("{ROOM}/tags/m.favourite"), &alice, json!({"order": 0.25})).await.ok();
    api.put(&format!("{ROOM}/tags/u.Work%2Fhome"), &alice, json!({})).await.ok();
    let tags = json!({"tags": {"m.favourite": {"order": 0.25}, "u.Work/home": {}}});
    assert_eq!(api.get(&format!("{ROOM}/tags"), &alice).await.ok(), tags);
    assert_eq!(api.get(&format!("{ROOM}/account_data/m.tag"), &alice).await.ok(), tags);
    api.delete(&format!("{ROOM}/tags/m.favourite"), &alice, json!({})).await.ok();
    api.delete(&format!("{ROOM}/tags/m.favourite"), &alice, json!({})).await.ok();
    assert_eq!(api.get(&format!("{ROOM}/tags"), &alice).await.ok(), json!({"tags": {"u.Work/home": {}}}));
    for value in confusions() {
        let answer = api.put(&format!("{ROOM}/tags/x"), &alice, json!({ "order": value })).await;
        let fits = value.is_number();
        assert_eq!(answer.status, if fits { 200 } else { 400 }, "{value}");
        let answer = api.put(&format!("{ROOM}/tags/x"), &alice, value.clone()).await;
        assert_eq!(answer.status, if value.is_object() { 200 } else { 400 }, "{value}");
    }
}
