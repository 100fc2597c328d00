//! `POST /createRoom`.

use myelin::store::Position;
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms::{bodies, kinds, path},
};

const VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

#[tokio::test(start_paused = true)]
async fn every_room_version_is_created_and_talked_in() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    for version in VERSIONS {
        let request = json!({"room_version": version, "preset": "public_chat", "name": "N", "topic": "T"});
        let room = api.create_room(&alice, request).await;
        assert_eq!(room.contains(':'), version != "12", "{room}");
        let create = api.state(&alice, &room, "m.room.create").await;
        assert_eq!(create["room_version"], version);
        assert_eq!(create.get("creator").is_some(), version.parse::<u8>().unwrap() < 11);
        api.join(&bob, &room).await;
        api.say(&alice, &room, "hello").await;
        api.say(&bob, &room, "hello back").await;
        let events = api.history(&bob, &room, 'b', "limit=3").await;
        assert_eq!(bodies(&events), ["hello back", "hello"]);
        let oldest_first = api.history(&alice, &room, 'f', "limit=4").await;
        assert_eq!(
            kinds(&oldest_first),
            [
                "m.room.create",
                "m.room.member",
                "m.room.power_levels",
                "m.room.join_rules",
                "m.room.history_visibility",
                "m.room.name",
                "m.room.topic",
                "m.room.member",
                "m.room.message",
                "m.room.message",
            ],
            "version {version}"
        );
        let create = &oldest_first[0];
        assert_eq!((&create["room_id"], &create["sender"]), (&json!(room), &json!("@alice:localhost")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_is_made_by_one_commit() {
    let api = Api::open();
    let alice = api.register("alice").await;
    api.register("bob").await;
    let before = api.app().store.horizon();
    let request = json!({"name": "N", "topic": "T", "invite": ["@bob:localhost"], "visibility": "public",
        "room_alias_name": "lobby", "initial_state": [{"type": "m.room.encryption", "content": {"algorithm": "x"}}]});
    api.create_room(&alice, request).await;
    assert_eq!(api.app().store.horizon(), Position(before.0 + 1));
}

#[tokio::test(start_paused = true)]
async fn presets_set_the_state_of_the_specification() {
    let api = Api::open();
    let alice = api.register("alice").await;
    api.register("bob").await;
    for (preset, join_rule, guest_access) in [
        (json!({"preset": "private_chat"}), "invite", Some("can_join")),
        (json!({"preset": "trusted_private_chat"}), "invite", Some("can_join")),
        // Without one guests are kept out.
        (json!({"preset": "public_chat"}), "public", None),
        (json!({"visibility": "public"}), "public", None),
        (json!({"visibility": "private"}), "invite", Some("can_join")),
        (json!({}), "invite", Some("can_join")),
    ] {
        for version in ["11", "12"] {
            let mut request = preset.clone();
            request["invite"] = json!(["@bob:localhost"]);
            request["room_version"] = json!(version);
            let room = api.create_room(&alice, request).await;
            assert_eq!(api.state(&alice, &room, "m.room.join_rules").await["join_rule"], join_rule);
            let guests = api.get(&path(&room, "state/m.room.guest_access"), &alice).await;
            match guest_access {
                Some(guest_access) => assert_eq!(guests.ok()["guest_access"], guest_access),
                None => guests.refused(404, "M_NOT_FOUND"),
            }
            let visibility = api.state(&alice, &room, "m.room.history_visibility").await;
            assert_eq!(visibility["history_visibility"], "shared");
            let trusted = preset["preset"] == "trusted_private_chat";
            let users = &api.state(&alice, &room, "m.room.power_levels").await["users"];
            let creators = &api.state(&alice, &room, "m.room.create").await["additional_creators"];
            if version == "12" {
                assert_eq!(*users, json!({}));
                assert_eq!(*creators, if trusted { json!(["@bob:localhost"]) } else { Value::Null });
            } else {
                assert_eq!(users["@bob:localhost"], if trusted { json!(100) } else { Value::Null });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_client_says_is_in_the_room() {
    let api = Api::open();
    let alice = api.register("alice").await;
    api.put("/v3/profile/@alice:localhost/displayname", &alice, json!({"displayname": "Alice"})).await.ok();
    api.register("bob").await;
    let request = json!({
        "creation_content": {"m.federate": false, "type": "m.space", "creator": "@eve:x", "room_version": "3"},
        "initial_state": [
            {"type": "m.room.guest_access", "content": {"guest_access": "forbidden"}},
            {"type": "org.x", "state_key": "k", "content": {"a": [1, {"b": null}]}},
            {"type": "m.room.name", "content": {"name": "overridden"}},
        ],
        "name": "Name", "topic": "Topic", "is_direct": true, "invite": ["@bob:localhost", "@bob:localhost"],
        "power_level_content_override": {"events_default": 7, "users_default": 9},
        "room_version": "10",
    });
    let room = api.create_room(&alice, request).await;
    let create = api.state(&alice, &room, "m.room.create").await;
    assert_eq!(
        create,
        json!({"m.federate": false, "type": "m.space", "creator": "@alice:localhost", "room_version": "10"})
    );
    assert_eq!(api.state(&alice, &room, "org.x/k").await, json!({"a": [1, {"b": null}]}));
    assert_eq!(api.state(&alice, &room, "m.room.name").await, json!({"name": "Name"}));
    assert_eq!(api.state(&alice, &room, "m.room.guest_access").await, json!({"guest_access": "forbidden"}));
    let topic = api.state(&alice, &room, "m.room.topic").await;
    assert_eq!((&topic["topic"], &topic["m.topic"]["m.text"][0]["body"]), (&json!("Topic"), &json!("Topic")));
    let levels = api.state(&alice, &room, "m.room.power_levels").await;
    assert_eq!((&levels["events_default"], &levels["users_default"]), (&json!(7), &json!(9)));
    let member = |user: &'static str| format!("m.room.member/{user}");
    let own = api.state(&alice, &room, &member("@alice:localhost")).await;
    assert_eq!(own, json!({"membership": "join", "displayname": "Alice"}));
    let bob = api.state(&alice, &room, &member("@bob:localhost")).await;
    assert_eq!(bob, json!({"membership": "invite", "is_direct": true}));
}

#[tokio::test(start_paused = true)]
async fn more_guests_than_one_commit_holds_are_invited_too() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let mut invite = Vec::new();
    for number in 0..70 {
        api.register(&format!("u{number}")).await;
        invite.push(format!("@u{number}:localhost"));
    }
    let room = api.create_room(&alice, json!({"invite": invite})).await;
    let members = api.get(&path(&room, "members?membership=invite"), &alice).await.ok();
    assert_eq!(members["chunk"].as_array().unwrap().len(), 70);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_and_nothing_is_left_behind() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let before = api.app().store.horizon();
    for (request, status, code) in [
        (json!({"room_version": "nope"}), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (json!({"room_version": 1}), 400, "M_BAD_JSON"),
        (json!({"preset": "chaos"}), 400, "M_INVALID_PARAM"),
        (json!({"visibility": "chaos"}), 400, "M_INVALID_PARAM"),
        (json!({"room_alias_name": "with space"}), 400, "M_INVALID_PARAM"),
        (json!({"room_alias_name": "with:colon"}), 400, "M_INVALID_PARAM"),
        (json!({"room_alias_name": ""}), 400, "M_INVALID_PARAM"),
        (json!({"room_alias_name": "x".repeat(250)}), 400, "M_INVALID_PARAM"),
        (json!({"invite": ["@nobody:localhost"]}), 404, "M_NOT_FOUND"),
        (json!({"invite": ["@alice:localhost"]}), 400, "M_INVALID_PARAM"),
        (json!({"invite": ["bob"]}), 400, "M_BAD_JSON"),
        (
            json!({"invite_3pid": [{"id_server": "x", "id_access_token": "y", "medium": "email", "address": "a@b"}]}),
            403,
            "M_THREEPID_DENIED",
        ),
        (json!({"initial_state": [{"type": "m.room.create", "content": {}}]}), 400, "M_INVALID_ROOM_STATE"),
        (json!({"initial_state": [{"type": "m.x"}]}), 400, "M_BAD_JSON"),
        (json!({"initial_state": [{"type": "m.x", "content": {"x": 1.5}}]}), 400, "M_BAD_JSON"),
        (json!({"initial_state": [{"type": "m.x", "content": {}, "state_key": 1}]}), 400, "M_BAD_JSON"),
        (json!({"initial_state": [{"type": "m.x", "content": {"x": "x".repeat(66_000)}}]}), 413, "M_TOO_LARGE"),
        (
            json!({"name": "N", "room_version": "11",
                "power_level_content_override": {"users": {"@alice:localhost": 0}}}),
            400,
            "M_INVALID_ROOM_STATE",
        ),
        (
            json!({"room_version": "12", "power_level_content_override": {"users": {"@alice:localhost": 100}}}),
            400,
            "M_INVALID_ROOM_STATE",
        ),
        (json!({"creation_content": {"additional_creators": ["x"]}}), 400, "M_INVALID_PARAM"),
        (json!({"power_level_content_override": {"ban": "x"}, "room_version": "10"}), 400, "M_INVALID_ROOM_STATE"),
        // Older versions would take it; `PUT /state` does not, either.
        (json!({"power_level_content_override": {"ban": "5"}, "room_version": "9"}), 400, "M_INVALID_ROOM_STATE"),
        (initial("m.room.power_levels", "", json!({"users": {"x": 1}})), 400, "M_INVALID_ROOM_STATE"),
        (initial("m.room.canonical_alias", "", json!({"alias": "#other:localhost"})), 400, "M_BAD_ALIAS"),
        (initial("m.room.canonical_alias", "", json!({"alt_aliases": ["nonsense"]})), 400, "M_INVALID_PARAM"),
        (initial("m.room.member", "@nobody:localhost", json!({"membership": "invite"})), 404, "M_NOT_FOUND"),
        (initial("m.room.member", "@bob:localhost", json!({"membership": "join"})), 400, "M_INVALID_ROOM_STATE"),
        (initial("m.room.member", "@bob:localhost", json!({"membership": 7})), 400, "M_INVALID_ROOM_STATE"),
        (initial("m.room.member", "bob", json!({"membership": "ban"})), 400, "M_INVALID_ROOM_STATE"),
        (
            json!({"invite": ["@bob:localhost"], "initial_state":
                [{"type": "m.room.member", "state_key": "@bob:localhost", "content": {"membership": "ban"}}]}),
            400,
            "M_INVALID_PARAM",
        ),
    ] {
        let answer = api.post("/v3/createRoom", &alice, request.clone()).await;
        assert_eq!((answer.status, &answer.json["errcode"]), (status, &json!(code)), "{request}: {}", answer.json);
    }
    assert_eq!(api.app().store.horizon(), before, "no room came of it");
    assert_eq!(api.get("/v3/joined_rooms", &alice).await.ok(), json!({"joined_rooms": []}));

    api.create_room(&alice, json!({"room_alias_name": "lobby"})).await;
    let taken = api.post("/v3/createRoom", &bob, json!({"room_alias_name": "lobby"})).await;
    taken.refused(400, "M_ROOM_IN_USE");
}

/// A request for a room with this state.
fn initial(kind: &str, state_key: &str, content: Value) -> Value {
    json!({"initial_state": [{"type": kind, "state_key": state_key, "content": content}]})
}

#[tokio::test(start_paused = true)]
async fn initial_state_may_invite_ban_and_name_as_its_endpoints_may() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    api.register("carol").await;
    let member = |user: &str, content: Value| json!({"type": "m.room.member", "state_key": user, "content": content});
    let request = json!({
        "room_alias_name": "lobby",
        "initial_state": [
            member("@bob:localhost", json!({"membership": "invite", "reason": "come"})),
            member("@carol:localhost", json!({"membership": "ban"})),
            {"type": "m.room.canonical_alias", "content": {"alt_aliases": ["#lobby:localhost"]}},
        ],
    });
    let room = api.create_room(&alice, request.clone()).await;
    assert_eq!(api.state(&alice, &room, "m.room.member/@bob:localhost").await["reason"], "come");
    assert_eq!(api.state(&alice, &room, "m.room.member/@carol:localhost").await["membership"], "ban");
    let names = api.state(&alice, &room, "m.room.canonical_alias").await;
    assert_eq!(names, json!({"alt_aliases": ["#lobby:localhost"]}));

    let block = json!({"default_action": "block"});
    api.put("/v3/user/@bob:localhost/account_data/m.invite_permission_config", &bob, block).await.ok();
    let mut blocked = request;
    blocked["room_alias_name"] = json!("hall");
    blocked["initial_state"][2]["content"] = json!({});
    api.post("/v3/createRoom", &alice, blocked).await.refused(403, "M_INVITE_BLOCKED");
    let directory = "/v3/directory/room/%23hall:localhost";
    api.get(directory, &alice).await.refused(404, "M_NOT_FOUND");
}

/// Registers so many users; their ids.
async fn crowd(api: &Api, count: usize) -> Vec<String> {
    let mut users = Vec::new();
    for number in 0..count {
        api.register(&format!("u{number}")).await;
        users.push(format!("@u{number}:localhost"));
    }
    users
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_invites_may_not_be_is_not_created() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let invite = crowd(&api, 60).await;
    let before = api.app().store.horizon();
    // With the seven events that a room with an alias has anyway: all that the first commit holds, or all but one.
    for (more, code) in [(43, "M_INVALID_PARAM"), (42, "M_INVALID_ROOM_STATE"), (0, "M_INVALID_ROOM_STATE")] {
        let state: Vec<Value> =
            (0..more).map(|n| json!({"type": "m.x", "state_key": n.to_string(), "content": {}})).collect();
        let request = json!({"preset": "private_chat", "invite": invite, "initial_state": state, "room_version": "11",
            "room_alias_name": "hall", "power_level_content_override": {"invite": 101}});
        api.post("/v3/createRoom", &alice, request).await.refused(400, code);
    }
    assert_eq!(api.app().store.horizon(), before, "no room came of it");
    api.get("/v3/directory/room/%23hall:localhost", &alice).await.refused(404, "M_NOT_FOUND");

    let state: Vec<Value> =
        (0..43).map(|n| json!({"type": "m.x", "state_key": n.to_string(), "content": {}})).collect();
    let room = api.create_room(&alice, json!({"room_version": "11", "invite": invite, "initial_state": state})).await;
    let members = api.get(&path(&room, "members?membership=invite"), &alice).await.ok();
    assert_eq!(members["chunk"].as_array().unwrap().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn too_many_of_anything_are_refused_before_they_are_looked_at() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let users: Vec<String> = (0..20_000).map(|number| format!("@a{number:05}:localhost")).collect();
    let state = vec![
        json!({"type": "m.room.member", "state_key": "@nobody:localhost", "content": {"membership": "invite"}});
        51
    ];
    let waves = api.waves();
    for (request, status, code) in
        [(json!({"invite": users}), 400, "M_INVALID_PARAM"), (json!({"initial_state": state}), 400, "M_INVALID_PARAM")]
    {
        api.post("/v3/createRoom", &alice, request).await.refused(status, code);
    }
    // Two for each: whose token it is.
    assert!(api.waves() - waves <= 4, "{}", api.waves() - waves);
    let creators = json!({"room_version": "12", "creation_content": {"additional_creators": users}});
    api.post("/v3/createRoom", &alice, creators).await.refused(413, "M_TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn any_type_in_any_field_is_answered() {
    let api = Api::open();
    let alice = api.register("alice").await;
    for field in [
        "creation_content",
        "initial_state",
        "invite",
        "invite_3pid",
        "is_direct",
        "name",
        "power_level_content_override",
        "preset",
        "room_alias_name",
        "room_version",
        "topic",
        "visibility",
    ] {
        for value in confusions() {
            let answer = api.post("/v3/createRoom", &alice, json!({field: value})).await;
            assert!(matches!(answer.status, 200 | 400), "{field} = {value}: {}", answer.json);
        }
    }
    for body in ["[]", "1", "null", "\"x\""] {
        let answer = api.send(http::Method::POST, "/_matrix/client/v3/createRoom", Some(&alice), body).await;
        answer.refused(400, "M_BAD_JSON");
    }
    let answer = api.send(http::Method::POST, "/_matrix/client/v3/createRoom", Some(&alice), "{").await;
    answer.refused(400, "M_NOT_JSON");
}
