//! Profiles.

use http::Method;
use serde_json::{Value, json};

use super::api::{Api, confusions};

const ALICE: &str = "/v3/profile/@alice:localhost";

async fn read(api: &Api, path: &str) -> Value {
    api.anonymous(Method::GET, path, Value::Null).await.ok()
}

#[tokio::test(start_paused = true)]
async fn fields_are_set_read_and_removed() {
    let api = Api::open();
    let alice = api.register("alice").await;
    assert_eq!(read(&api, ALICE).await, json!({}));
    for (field, value) in [
        ("displayname", json!("Alice")),
        ("avatar_url", json!("mxc://localhost/x")),
        ("m.tz", json!("Europe/Berlin")),
        ("org.example.thing", json!({"a": [null, 1.5]})),
    ] {
        api.put(&format!("{ALICE}/{field}"), &alice, json!({ field: value })).await.ok();
        assert_eq!(read(&api, &format!("{ALICE}/{field}")).await, json!({ field: value }));
    }
    let api = api.restart();
    let whole = read(&api, ALICE).await;
    assert_eq!((whole["displayname"].as_str(), whole.as_object().unwrap().len()), (Some("Alice"), 4));
    api.delete(&format!("{ALICE}/m.tz"), &alice, json!({})).await.ok();
    api.delete(&format!("{ALICE}/m.tz"), &alice, json!({})).await.ok();
    api.put(&format!("{ALICE}/displayname"), &alice, json!({"displayname": null})).await.ok();
    for gone in ["m.tz", "displayname", "never"] {
        let answer = api.anonymous(Method::GET, &format!("{ALICE}/{gone}"), Value::Null).await;
        answer.refused(404, "M_NOT_FOUND");
    }
    let unstable = "/unstable/uk.tcpip.msc4133/profile/@alice:localhost/org.example.thing";
    assert_eq!(read(&api, unstable).await, json!({"org.example.thing": {"a": [null, 1.5]}}));
}

#[tokio::test(start_paused = true)]
async fn only_ones_own_and_only_what_fits() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let bob = api.register("bob").await;
    let name = json!({"displayname": "x"});
    api.put(&format!("{ALICE}/displayname"), &bob, name.clone()).await.refused(403, "M_FORBIDDEN");
    api.put("/v3/profile/alice/displayname", &alice, name.clone()).await.refused(400, "M_INVALID_PARAM");
    api.put(&format!("{ALICE}/avatar_url"), &alice, name.clone()).await.refused(400, "M_MISSING_PARAM");
    let answer = api.anonymous(Method::PUT, &format!("{ALICE}/displayname"), name).await;
    answer.refused(401, "M_MISSING_TOKEN");
    for unknown in ["@nobody:localhost", "@alice:elsewhere"] {
        let answer = api.anonymous(Method::GET, &format!("/v3/profile/{unknown}"), Value::Null).await;
        answer.refused(404, "M_NOT_FOUND");
    }
    let key = format!("a.{}", "x".repeat(254));
    api.put(&format!("{ALICE}/{key}"), &alice, json!({ &key: 1 })).await.refused(400, "M_KEY_TOO_LARGE");
    api.put(&format!("{ALICE}/bad"), &alice, json!({"bad": 1})).await.refused(400, "M_INVALID_PARAM");
    let large = "x".repeat(40 << 10);
    api.put(&format!("{ALICE}/a.a"), &alice, json!({ "a.a": large })).await.ok();
    api.put(&format!("{ALICE}/a.b"), &alice, json!({ "a.b": large })).await.refused(400, "M_PROFILE_TOO_LARGE");
    for field in ["displayname", "avatar_url", "m.tz"] {
        for value in confusions() {
            let answer = api.put(&format!("{ALICE}/{field}"), &alice, json!({ field: value })).await;
            let fits = value.is_string() || value.is_null() && field != "m.tz";
            assert_eq!(answer.status, if fits { 200 } else { 400 }, "{field} {value}");
        }
    }
    let deep = format!("{{\"a.c\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    for body in ["", "[]", "{", r#"{"a.c": "\ud800"}"#, &deep] {
        let answer = api.send(Method::PUT, &format!("/_matrix/client{ALICE}/a.c"), Some(&alice), body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body}");
    }
}
