//! Profiles.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms,
};

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
    let answer = api.anonymous(Method::GET, "/v3/profile/@nobody:localhost", Value::Null).await;
    answer.refused(404, "M_NOT_FOUND");
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

/// What rooms say of a user, as soon as they say what is `wanted`.
async fn membership(api: &Api, token: &str, room_id: &str, user_id: &str, wanted: &str) -> Value {
    let target = rooms::path(room_id, &format!("state/m.room.member/{}", rooms::segment(user_id)));
    for _ in 0..200 {
        let content = api.get(&target, token).await.ok();
        if content["displayname"].as_str().unwrap_or_default() == wanted {
            return content;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the room was never told");
}

async fn rename(api: &Api, token: &str, name: Value) {
    api.put(&format!("{ALICE}/displayname"), token, json!({ "displayname": name })).await.ok();
}

#[tokio::test(start_paused = true)]
async fn rooms_are_told_of_a_new_name_and_avatar() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let room = api.public_room(&bob).await;
        api.join(&alice, &room).await;
        rooms.push(room);
    }
    let left = api.public_room(&bob).await;
    api.join(&alice, &left).await;
    api.leave(&alice, &left).await;
    // A client may have put more into the membership than a name.
    let target = rooms::path(&rooms[0], &format!("state/m.room.member/{}", rooms::segment("@alice:localhost")));
    let content = json!({"membership": "join", "org.example.x": 1, "reason": "hello"});
    api.put(&target, &alice, content).await.ok();

    rename(&api, &alice, json!("Alice")).await;
    api.put(&format!("{ALICE}/avatar_url"), &alice, json!({"avatar_url": "mxc://localhost/a"})).await.ok();
    for room in &rooms {
        membership(&api, &bob, room, "@alice:localhost", "Alice").await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = membership(&api, &bob, &rooms[0], "@alice:localhost", "Alice").await;
    let wanted =
        json!({"membership": "join", "displayname": "Alice", "avatar_url": "mxc://localhost/a", "org.example.x": 1});
    assert_eq!(first, wanted, "what else was there stays, what belonged to the join does not");
    let gone = membership(&api, &bob, &left, "@alice:localhost", "").await;
    assert_eq!(gone["membership"], "leave", "who has left does not come back by a new name");

    rename(&api, &alice, Value::Null).await;
    for room in &rooms {
        let content = membership(&api, &bob, room, "@alice:localhost", "").await;
        assert_eq!(content["avatar_url"], "mxc://localhost/a");
    }
    // Nothing is said twice.
    let before = api.app().store.horizon();
    rename(&api, &alice, Value::Null).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(api.app().store.horizon(), before);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stopped_goes_on_telling_rooms() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.public_room(&bob).await;
    api.join(&alice, &room).await;
    // The turn is taken by somebody who does nothing: as if the process had stopped before it could tell.
    let turn = api.app().users.begin_telling(ruma::user_id!("@alice:localhost"));
    rename(&api, &alice, json!("Alice")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    membership(&api, &bob, &room, "@alice:localhost", "").await;
    let api = api.restart();
    drop(turn);
    membership(&api, &bob, &room, "@alice:localhost", "Alice").await;
}
