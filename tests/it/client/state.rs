//! State of rooms.

use http::Method;
use ruma::api::{IncomingResponseExt as _, client::state::get_state_events};
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms::{event_id, kinds, path, segment},
};

async fn room() -> (Api, String, String, String) {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.create_room(&alice, json!({"preset": "public_chat", "room_version": "11"})).await;
    (api, alice, bob, room)
}

#[tokio::test(start_paused = true)]
async fn an_empty_key_may_be_written_in_three_ways() {
    let (api, alice, _, room) = room().await;
    for (set, body) in [("state/m.room.topic", "a"), ("state/m.room.topic/", "b"), ("state/m.room.topic", "c")] {
        api.put(&path(&room, set), &alice, json!({ "topic": body })).await.ok();
        for get in ["state/m.room.topic", "state/m.room.topic/"] {
            assert_eq!(api.get(&path(&room, get), &alice).await.ok(), json!({ "topic": body }));
        }
    }
    let key = segment("a/b %é#");
    api.put(&path(&room, &format!("state/org.x/{key}")), &alice, json!({"k": 1})).await.ok();
    assert_eq!(api.get(&path(&room, &format!("state/org.x/{key}")), &alice).await.ok(), json!({"k": 1}));
    api.get(&path(&room, "state/org.x"), &alice).await.refused(404, "M_NOT_FOUND");
    api.get(&path(&room, "state/org.y/k"), &alice).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_read_whole_or_its_content_alone() {
    let (api, alice, _, room) = room().await;
    let id = api.set_state(&alice, &room, "m.room.name", json!({"name": "N"})).await;
    assert_eq!(api.get(&path(&room, "state/m.room.name?format=content"), &alice).await.ok(), json!({"name": "N"}));
    let whole = api.get(&path(&room, "state/m.room.name/?format=event"), &alice).await.ok();
    assert_eq!(
        (&whole["event_id"], &whole["content"]["name"], &whole["state_key"]),
        (&json!(id), &json!("N"), &json!(""))
    );
    api.get(&path(&room, "state/m.room.name?format=x"), &alice).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test(start_paused = true)]
async fn all_of_it_is_listed_as_rumas_type_reads_it() {
    let (api, alice, bob, room) = room().await;
    api.set_state(&alice, &room, "m.room.name", json!({"name": "N"})).await;
    let state = api.get(&path(&room, "state"), &alice).await.ok();
    let mut listed = kinds(state.as_array().unwrap());
    listed.sort_unstable();
    let expected = [
        "m.room.create",
        "m.room.history_visibility",
        "m.room.join_rules",
        "m.room.member",
        "m.room.name",
        "m.room.power_levels",
    ];
    assert_eq!(listed, expected);
    let body = state.to_string();
    let response = http::Response::new(body.as_bytes());
    let response = get_state_events::v3::Response::try_from_http_response(response).unwrap();
    for event in response.room_state {
        event.deserialize().unwrap();
    }
    for target in ["state", "state/m.room.name"] {
        api.get(&path(&room, target), &bob).await.refused(403, "M_FORBIDDEN");
    }
    api.join(&bob, &room).await;
    api.leave(&bob, &room).await;
    api.set_state(&alice, &room, "m.room.name", json!({"name": "later"})).await;
    assert_eq!(api.state(&bob, &room, "m.room.name").await, json!({"name": "N"}), "as it was when Bob left");
    let state = api.get(&path(&room, "state"), &bob).await.ok();
    let name = state.as_array().unwrap().iter().find(|event| event["type"] == "m.room.name").unwrap();
    assert_eq!(name["content"]["name"], "N");
}

#[tokio::test(start_paused = true)]
async fn setting_the_same_again_sends_nothing() {
    let (api, alice, bob, room) = room().await;
    api.join(&bob, &room).await;
    let levels = json!({"users": {"@alice:localhost": 100, "@bob:localhost": 100}});
    api.set_state(&alice, &room, "m.room.power_levels", levels).await;
    let first = api.set_state(&alice, &room, "m.room.name", json!({"name": "N", "x": [1]})).await;
    let before = api.app().store.horizon();
    assert_eq!(api.set_state(&alice, &room, "m.room.name", json!({"x": [1], "name": "N"})).await, first);
    assert_eq!(api.app().store.horizon(), before);
    assert_ne!(api.set_state(&bob, &room, "m.room.name", json!({"name": "N", "x": [1]})).await, first);
}

#[tokio::test(start_paused = true)]
async fn a_state_event_says_what_it_replaced() {
    let (api, alice, _, room) = room().await;
    let first = api.set_state(&alice, &room, "m.room.name", json!({"name": "a"})).await;
    let second = api.set_state(&alice, &room, "m.room.name", json!({"name": "b"})).await;
    assert_eq!(api.event(&alice, &room, &first).await["unsigned"].get("prev_content"), None);
    let unsigned = api.event(&alice, &room, &second).await["unsigned"].clone();
    assert_eq!((&unsigned["prev_content"], &unsigned["replaces_state"]), (&json!({"name": "a"}), &json!(first)));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_set_it_is_refused() {
    let (api, alice, bob, room) = room().await;
    let name = path(&room, "state/m.room.name");
    api.put(&name, &bob, json!({"name": "x"})).await.refused(403, "M_FORBIDDEN");
    api.join(&bob, &room).await;
    api.put(&name, &bob, json!({"name": "x"})).await.refused(403, "M_FORBIDDEN");
    api.put(&path(&room, "state/m.room.create"), &alice, json!({})).await.refused(400, "M_BAD_JSON");
    let of_another = path(&room, "state/org.x/@bob:localhost");
    api.put(&of_another, &alice, json!({})).await.refused(403, "M_FORBIDDEN");
    api.put("/v3/rooms/!none:localhost/state/m.room.name", &alice, json!({})).await.refused(403, "M_FORBIDDEN");
    let long = path(&room, &format!("state/org.x/{}", "x".repeat(256)));
    api.put(&long, &alice, json!({})).await.refused(413, "M_TOO_LARGE");
    for body in ["[]", "7", "null", "\"x\""] {
        let target = format!("/_matrix/client{name}");
        api.send(Method::PUT, &target, Some(&alice), body).await.refused(400, "M_BAD_JSON");
    }
    api.send(Method::PUT, &format!("/_matrix/client{name}"), Some(&alice), "{").await.refused(400, "M_NOT_JSON");
    api.put(&name, &alice, json!({"name": 1.5})).await.refused(400, "M_BAD_JSON");
}

#[tokio::test(start_paused = true)]
async fn a_creator_gets_no_power_level_from_version_12_on() {
    let api = Api::open();
    let alice = api.register("alice").await;
    for (version, answer) in [("11", 200), ("12", 400)] {
        let room = api.create_room(&alice, json!({"room_version": version})).await;
        let target = path(&room, "state/m.room.power_levels");
        let body = json!({"users": {"@alice:localhost": 100, "@bob:localhost": 50}});
        let answered = api.put(&target, &alice, body).await;
        assert_eq!(answered.status, answer, "{version}: {}", answered.json);
        api.put(&target, &alice, json!({"users": {"@bob:localhost": 50}})).await.ok();
    }
}

#[tokio::test(start_paused = true)]
async fn odd_state_stays_and_is_passed_over() {
    let (api, alice, _, room) = room().await;
    for value in confusions() {
        if value == json!(1.5) {
            continue;
        }
        for (kind, field) in [
            ("m.room.name", "name"),
            ("m.room.topic", "topic"),
            ("m.room.avatar", "url"),
            ("m.room.history_visibility", "history_visibility"),
            ("m.room.guest_access", "guest_access"),
            ("m.room.tombstone", "replacement_room"),
            ("m.room.encryption", "algorithm"),
        ] {
            let content = json!({ field: value });
            api.set_state(&alice, &room, kind, content.clone()).await;
            assert_eq!(api.state(&alice, &room, kind).await, content);
        }
        api.get(&path(&room, "messages?dir=b"), &alice).await.ok();
        api.get(&path(&room, "joined_members"), &alice).await.ok();
    }
}

#[tokio::test(start_paused = true)]
async fn power_levels_are_numbers() {
    let (api, alice, _, room) = room().await;
    let levels = path(&room, "state/m.room.power_levels");
    let with = |field: &str, value: Value| {
        let mut content = json!({"users": {"@alice:localhost": 100}});
        content[field] = value;
        content
    };
    for field in ["ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"] {
        for value in confusions() {
            let answer = api.put(&levels, &alice, with(field, value.clone())).await;
            assert_eq!(answer.status, if value == json!(7) { 200 } else { 400 }, "{field} = {value}: {}", answer.json);
        }
    }
    for field in ["events", "users", "notifications"] {
        for value in confusions() {
            if !value.is_object() {
                api.put(&levels, &alice, with(field, value.clone())).await.refused(400, "M_BAD_JSON");
            }
            if value != json!(7) {
                let answer = api.put(&levels, &alice, with(field, json!({"@bob:localhost": value}))).await;
                answer.refused(400, "M_BAD_JSON");
            }
        }
    }
    api.put(&levels, &alice, with("users", json!({"bob": 1}))).await.refused(400, "M_BAD_JSON");
}

#[tokio::test(start_paused = true)]
async fn aliases_in_an_event_point_to_its_room() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let room = api.create_room(&alice, json!({"room_alias_name": "here"})).await;
    let other = api.create_room(&alice, json!({"room_alias_name": "there"})).await;
    let alias = path(&room, "state/m.room.canonical_alias");
    assert_eq!(api.state(&alice, &room, "m.room.canonical_alias").await, json!({"alias": "#here:localhost"}));
    for (content, code) in [
        (json!({"alias": "#there:localhost"}), "M_BAD_ALIAS"),
        (json!({"alias": "#nowhere:localhost"}), "M_BAD_ALIAS"),
        (json!({"alias": "#here:localhost", "alt_aliases": ["#there:localhost"]}), "M_BAD_ALIAS"),
        (json!({"alias": "here"}), "M_INVALID_PARAM"),
        (json!({"alt_aliases": ["#:localhost"]}), "M_INVALID_PARAM"),
    ] {
        api.put(&alias, &alice, content).await.refused(400, code);
    }
    let answer = api.put(&alias, &alice, json!({"alias": "#here:localhost", "alt_aliases": []})).await.ok();
    event_id(&answer);
    api.put(&alias, &alice, json!({})).await.ok();
    assert_ne!(other, room);
}
