//! Joining, leaving, inviting, kicking, banning, knocking, forgetting.

use http::Method;
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms::{path, segment},
};

struct Room {
    api: Api,
    alice: String,
    bob: String,
    carol: String,
    id: String,
}

/// A private room of Alice's; Bob and Carol are not in it.
async fn private() -> Room {
    let api = Api::open();
    let (alice, bob, carol) = (api.register("alice").await, api.register("bob").await, api.register("carol").await);
    let id = api.create_room(&alice, json!({"room_version": "11"})).await;
    Room { api, alice, bob, carol, id }
}

fn user(name: &str) -> Value {
    json!({ "user_id": format!("@{name}:localhost") })
}

impl Room {
    async fn act(&self, token: &str, act: &str, body: Value) -> super::api::Answer {
        self.api.post(&path(&self.id, act), token, body).await
    }

    async fn membership(&self, name: &str) -> Value {
        let target = path(&self.id, &format!("state/m.room.member/@{name}:localhost"));
        self.api.get(&target, &self.alice).await.json["membership"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn an_invited_user_joins_leaves_and_is_not_let_in_again() {
    let room = private().await;
    room.act(&room.bob, "join", json!({})).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "invite", json!({"user_id": "@bob:localhost", "reason": "come"})).await.ok();
    assert_eq!(room.membership("bob").await, "invite");
    room.act(&room.alice, "invite", user("bob")).await.ok();
    let answer = room.act(&room.bob, "join", json!({"reason": "here"})).await.ok();
    assert_eq!(answer, json!({ "room_id": room.id }));
    room.act(&room.bob, "join", json!({})).await.ok();
    assert_eq!(room.api.get("/v3/joined_rooms", &room.bob).await.ok(), json!({"joined_rooms": [room.id]}));
    room.act(&room.alice, "invite", user("bob")).await.refused(403, "M_FORBIDDEN");
    room.act(&room.bob, "leave", json!({"reason": "bye"})).await.ok();
    room.act(&room.bob, "leave", json!({})).await.ok();
    assert_eq!(room.membership("bob").await, "leave");
    assert_eq!(room.api.get("/v3/joined_rooms", &room.bob).await.ok(), json!({"joined_rooms": []}));
    room.act(&room.bob, "join", json!({})).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn an_invite_can_be_declined_and_taken_back() {
    let room = private().await;
    for token in [&room.bob, &room.alice] {
        room.act(&room.alice, "invite", user("bob")).await.ok();
        if token == &room.bob {
            room.act(token, "leave", json!({})).await.ok();
        } else {
            room.act(token, "kick", user("bob")).await.ok();
        }
        assert_eq!(room.membership("bob").await, "leave");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_is_refused() {
    let room = private().await;
    for act in ["invite", "kick", "ban", "unban"] {
        room.act(&room.bob, act, user("carol")).await.refused(403, "M_FORBIDDEN");
    }
    room.act(&room.alice, "invite", user("bob")).await.ok();
    for act in ["invite", "kick", "ban", "unban"] {
        room.act(&room.bob, act, user("carol")).await.refused(403, "M_FORBIDDEN");
    }
    room.act(&room.bob, "join", json!({})).await.ok();
    for act in ["kick", "ban"] {
        room.act(&room.bob, act, user("alice")).await.refused(403, "M_FORBIDDEN");
    }
    room.act(&room.alice, "kick", user("carol")).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "unban", user("bob")).await.refused(403, "M_FORBIDDEN");
    room.act(&room.carol, "leave", json!({})).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "invite", user("nobody")).await.refused(404, "M_NOT_FOUND");
    let third = json!({"id_server": "x", "id_access_token": "y", "medium": "email", "address": "a@b"});
    room.act(&room.alice, "invite", third).await.refused(403, "M_THREEPID_DENIED");
}

#[tokio::test(start_paused = true)]
async fn outsiders_learn_nothing_of_who_is_in_a_room() {
    let room = private().await;
    room.act(&room.alice, "invite", user("bob")).await.ok();
    room.act(&room.bob, "join", json!({})).await.ok();
    room.act(&room.alice, "ban", user("dave")).await.ok();
    room.api.register("frank").await;
    let block = json!({"default_action": "block"});
    let config = "/v3/user/@carol:localhost/account_data/m.invite_permission_config";
    room.api.put(config, &room.carol, block).await.ok();
    let eve = room.api.register("eve").await;
    for act in ["invite", "kick", "ban", "unban"] {
        let mut answers = Vec::new();
        for name in ["alice", "bob", "carol", "dave", "eve", "frank", "nobody"] {
            let answer = room.act(&eve, act, user(name)).await;
            answer.refused(403, "M_FORBIDDEN");
            answers.push(answer.json);
        }
        let nowhere = room.api.post(&format!("/v3/rooms/!none:localhost/{act}"), &eve, user("bob")).await;
        answers.push(nowhere.json);
        answers.dedup();
        assert_eq!(answers.len(), 1, "{act}: {answers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_holds_until_it_is_ended() {
    let room = private().await;
    room.act(&room.alice, "invite", user("bob")).await.ok();
    room.act(&room.bob, "join", json!({})).await.ok();
    room.act(&room.alice, "ban", json!({"user_id": "@bob:localhost", "reason": "spam"})).await.ok();
    assert_eq!(room.membership("bob").await, "ban");
    room.act(&room.bob, "join", json!({})).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "invite", user("bob")).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "kick", user("bob")).await.refused(403, "M_FORBIDDEN");
    room.act(&room.bob, "leave", json!({})).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "unban", user("bob")).await.ok();
    assert_eq!(room.membership("bob").await, "leave");
    room.act(&room.alice, "invite", user("bob")).await.ok();
    room.act(&room.bob, "join", json!({})).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_knock_is_answered_by_an_invite() {
    let room = private().await;
    let knock = format!("/v3/knock/{}", segment(&room.id));
    room.api.post(&knock, &room.bob, json!({})).await.refused(403, "M_FORBIDDEN");
    room.api.set_state(&room.alice, &room.id, "m.room.join_rules", json!({"join_rule": "knock"})).await;
    let answer = room.api.post(&knock, &room.bob, json!({"reason": "please"})).await.ok();
    assert_eq!(answer, json!({ "room_id": room.id }));
    assert_eq!(room.membership("bob").await, "knock");
    room.act(&room.bob, "join", json!({})).await.refused(403, "M_FORBIDDEN");
    room.act(&room.alice, "invite", user("bob")).await.ok();
    room.act(&room.bob, "join", json!({})).await.ok();
    room.api.post(&knock, &room.bob, json!({})).await.refused(403, "M_FORBIDDEN");
    room.api.post(&knock, &room.carol, json!({})).await.ok();
    room.act(&room.carol, "leave", json!({})).await.ok();
    room.api.post("/v3/knock/!none:localhost", &room.bob, json!({})).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_room_is_joined_by_its_alias() {
    let room = private().await;
    let id = room.api.create_room(&room.alice, json!({"preset": "public_chat", "room_alias_name": "lobby"})).await;
    let alias = format!("/v3/join/{}", segment("#lobby:localhost"));
    let answer = room.api.post(&alias, &room.bob, json!({})).await.ok();
    assert_eq!(answer, json!({ "room_id": id }));
    let by_id = format!("/v3/join/{}", segment(&id));
    let answer = room.api.send(Method::POST, &format!("/_matrix/client{by_id}"), Some(&room.carol), "").await.ok();
    assert_eq!(answer, json!({ "room_id": id }));
    let unknown = format!("/v3/join/{}", segment("#nothing:localhost"));
    room.api.post(&unknown, &room.bob, json!({})).await.refused(404, "M_NOT_FOUND");
    room.api.post("/v3/join/!none:localhost", &room.bob, json!({})).await.refused(404, "M_NOT_FOUND");
    room.api.post("/v3/join/nonsense", &room.bob, json!({})).await.refused(400, "M_INVALID_PARAM");
    room.api.post("/v3/rooms/!none:localhost/join", &room.bob, json!({})).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn members_of_another_room_may_join_a_restricted_one() {
    let room = private().await;
    let space = room.api.public_room(&room.alice).await;
    for version in ["8", "10", "12"] {
        let rule = json!({"join_rule": "restricted", "allow": [
            {"type": "m.room_membership", "room_id": 7},
            {"type": "x", "room_id": "!x:localhost"},
            {"type": "m.room_membership", "room_id": space},
        ]});
        let request = json!({"room_version": version,
            "initial_state": [{"type": "m.room.join_rules", "content": rule}]});
        let id = room.api.create_room(&room.alice, request).await;
        room.api.post(&path(&id, "join"), &room.bob, json!({})).await.refused(403, "M_FORBIDDEN");
        room.api.join(&room.bob, &space).await;
        room.api.join(&room.bob, &id).await;
        let member = room.api.state(&room.alice, &id, "m.room.member/@bob:localhost").await;
        assert_eq!(member["join_authorised_via_users_server"], "@alice:localhost");
        room.api.leave(&room.bob, &space).await;
        room.api.post(&path(&id, "join"), &room.carol, json!({})).await.refused(403, "M_FORBIDDEN");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_may_let_others_in_is_found_among_many_members() {
    let api = Api::open();
    let (zed, bob, carol) = (api.register("zed").await, api.register("bob").await, api.register("carol").await);
    let yan = api.register("yan").await;
    let space = api.public_room(&zed).await;
    for token in [&bob, &carol] {
        api.join(token, &space).await;
    }
    let rule = json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]});
    let levels = json!({"users": {"@zed:localhost": 100, "@gone:localhost": 100}});
    let request = json!({"preset": "public_chat", "room_version": "11", "power_level_content_override": levels});
    let room = api.create_room(&zed, request).await;
    // More than are read at once, and all of them before those who may.
    for number in 0..1_001 {
        api.join(&api.register(&format!("a{number:04}")).await, &room).await;
    }
    api.join(&yan, &room).await;
    api.set_state(&zed, &room, "m.room.join_rules", rule).await;
    api.join(&bob, &room).await;
    let member = api.state(&zed, &room, "m.room.member/@bob:localhost").await;
    assert_eq!(member["join_authorised_via_users_server"], "@zed:localhost");

    // Nobody has a level above the others', but many have one below.
    let below: serde_json::Map<String, Value> =
        (0..1_001).map(|number| (format!("@a{number:04}:localhost"), json!(-1))).collect();
    let mut levels = json!({"invite": 0, "users": below});
    for name in ["zed", "gone"] {
        levels["users"][format!("@{name}:localhost")] = json!(100);
    }
    levels["users"]["@bob:localhost"] = json!(-1);
    api.set_state(&zed, &room, "m.room.power_levels", levels).await;
    api.leave(&zed, &room).await;
    api.join(&carol, &room).await;
    let member = api.state(&carol, &room, "m.room.member/@carol:localhost").await;
    assert_eq!(member["join_authorised_via_users_server"], "@yan:localhost");
}

#[tokio::test(start_paused = true)]
async fn a_left_room_is_forgotten_and_its_history_with_it() {
    let room = private().await;
    let id = room.api.public_room(&room.alice).await;
    room.api.post(&path(&id, "forget"), &room.bob, json!({})).await.refused(404, "M_NOT_FOUND");
    room.api.join(&room.bob, &id).await;
    room.api.post(&path(&id, "forget"), &room.bob, json!({})).await.refused(400, "M_UNKNOWN");
    let said = room.api.say(&room.alice, &id, "for members").await;
    room.api.leave(&room.bob, &id).await;
    room.api.get(&path(&id, "messages?dir=b"), &room.bob).await.ok();
    let event = path(&id, &format!("event/{}", segment(&said)));
    let context = path(&id, &format!("context/{}", segment(&said)));
    let relations = event.replace("/v3/", "/v1/").replace("/event/", "/relations/");
    for target in [&event, &context, &relations] {
        room.api.get(target, &room.bob).await.ok();
    }
    room.api.post(&path(&id, "forget"), &room.bob, json!({})).await.ok();
    room.api.post(&path(&id, "forget"), &room.bob, json!({})).await.ok();
    room.api.get(&path(&id, "messages?dir=b"), &room.bob).await.refused(403, "M_FORBIDDEN");
    for target in [&event, &context, &relations] {
        room.api.get(target, &room.bob).await.refused(404, "M_NOT_FOUND");
    }
    let api = room.api.restart();
    api.get(&path(&id, "state"), &room.bob).await.refused(403, "M_FORBIDDEN");
    api.join(&room.bob, &id).await;
    api.get(&path(&id, "messages?dir=b"), &room.bob).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_user_may_take_no_invites() {
    let room = private().await;
    let config = "/v3/user/@bob:localhost/account_data/m.invite_permission_config";
    room.api.put(config, &room.bob, json!({"default_action": "block"})).await.ok();
    room.act(&room.alice, "invite", user("bob")).await.refused(403, "M_INVITE_BLOCKED");
    let state = path(&room.id, "state/m.room.member/@bob:localhost");
    room.api.put(&state, &room.alice, json!({"membership": "invite"})).await.refused(403, "M_INVITE_BLOCKED");
    let create = room.api.post("/v3/createRoom", &room.alice, json!({"invite": ["@bob:localhost"]})).await;
    create.refused(403, "M_INVITE_BLOCKED");
    room.api.put(config, &room.bob, json!({"default_action": 7})).await.ok();
    room.act(&room.alice, "invite", user("bob")).await.ok();
}

#[tokio::test(start_paused = true)]
async fn memberships_are_changed_by_state_too() {
    let room = private().await;
    let state = |name: &str| path(&room.id, &format!("state/m.room.member/@{name}:localhost"));
    room.api.put(&state("bob"), &room.alice, json!({"membership": "invite", "x": 1})).await.ok();
    room.api.put(&state("bob"), &room.bob, json!({"membership": "join", "displayname": "B"})).await.ok();
    assert_eq!(room.membership("bob").await, "join");
    room.api.put(&state("bob"), &room.bob, json!({"membership": "join", "displayname": "Bee"})).await.ok();
    room.api.put(&state("bob"), &room.alice, json!({"membership": "ban"})).await.ok();
    room.api.put(&state("bob"), &room.bob, json!({"membership": "join"})).await.refused(403, "M_FORBIDDEN");
    room.api.put(&state("carol"), &room.alice, json!({"membership": "join"})).await.refused(403, "M_FORBIDDEN");
    for value in confusions().into_iter().chain([json!("nonsense")]) {
        let body = json!({ "membership": value });
        room.api.put(&state("carol"), &room.alice, body).await.refused(400, "M_BAD_JSON");
    }
    room.api.put(&state("bob"), &room.alice, json!({})).await.refused(400, "M_BAD_JSON");
    let nobody = path(&room.id, "state/m.room.member/carol");
    room.api.put(&nobody, &room.alice, json!({"membership": "invite"})).await.refused(400, "M_BAD_JSON");
}

#[tokio::test(start_paused = true)]
async fn members_are_listed_by_membership_and_by_time() {
    let room = private().await;
    let id = room.api.public_room(&room.alice).await;
    let names = |answer: Value| -> Vec<String> {
        let chunk = answer["chunk"].as_array().unwrap().clone();
        let mut names: Vec<_> = chunk.iter().map(|event| event["state_key"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let (alice, bob, carol) = ("@alice:localhost", "@bob:localhost", "@carol:localhost");
    let page = room.api.get(&path(&id, "messages?dir=b&limit=1"), &room.alice).await.ok();
    let before_bob = page["start"].as_str().unwrap().to_owned();
    room.api.join(&room.bob, &id).await;
    room.api.post(&path(&id, "invite"), &room.alice, user("carol")).await.ok();
    let members = |query: String| {
        let (api, token, target) = (&room.api, &room.alice, path(&id, &format!("members{query}")));
        async move { names(api.get(&target, token).await.ok()) }
    };
    assert_eq!(members(String::new()).await, [alice, bob, carol]);
    assert_eq!(members("?membership=join".to_owned()).await, [alice, bob]);
    assert_eq!(members("?not_membership=join".to_owned()).await, [carol]);
    assert_eq!(members("?membership=ban".to_owned()).await, [""; 0]);
    assert_eq!(members(format!("?at={before_bob}")).await, [alice]);
    room.api.leave(&room.bob, &id).await;
    room.api.join(&room.carol, &id).await;
    assert_eq!(members("?membership=leave".to_owned()).await, [bob]);
    let as_bob = room.api.get(&path(&id, "members?membership=join"), &room.bob).await.ok();
    assert_eq!(names(as_bob), [alice], "as it was when Bob left");

    for (query, status, code) in [
        ("?membership=nonsense", 400, "M_INVALID_PARAM"),
        ("?not_membership=7", 400, "M_INVALID_PARAM"),
        ("?at=nonsense", 400, "M_INVALID_PARAM"),
    ] {
        room.api.get(&path(&id, &format!("members{query}")), &room.alice).await.refused(status, code);
    }
    room.api.get(&path(&room.id, "members"), &room.bob).await.refused(403, "M_FORBIDDEN");
    room.api.get("/v3/rooms/!none:localhost/members", &room.bob).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn joined_members_have_names_and_faces() {
    let room = private().await;
    room.api.put("/v3/profile/@alice:localhost/displayname", &room.alice, json!({"displayname": "Al"})).await.ok();
    let id = room.api.public_room(&room.alice).await;
    room.api.join(&room.bob, &id).await;
    let odd = json!({"membership": "join", "displayname": [], "avatar_url": 7});
    room.api.put(&path(&id, "state/m.room.member/@bob:localhost"), &room.bob, odd).await.ok();
    let answer = room.api.get(&path(&id, "joined_members"), &room.bob).await.ok();
    assert_eq!(answer, json!({"joined": {"@alice:localhost": {"display_name": "Al"}, "@bob:localhost": {}}}));
    room.api.get(&path(&id, "joined_members"), &room.carol).await.refused(403, "M_FORBIDDEN");
    room.api.leave(&room.bob, &id).await;
    room.api.get(&path(&id, "joined_members"), &room.bob).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn bodies_of_any_type_are_answered() {
    let room = private().await;
    for act in ["join", "leave", "invite", "kick", "ban", "unban", "forget"] {
        for field in ["user_id", "reason", "third_party_signed"] {
            for value in confusions() {
                let answer = room.act(&room.bob, act, json!({field: value})).await;
                assert!(matches!(answer.status, 200 | 400 | 403 | 404), "{act} {field} = {value}: {}", answer.json);
            }
        }
        for body in ["[]", "7", "null"] {
            let target = format!("/_matrix/client{}", path(&room.id, act));
            room.api.send(Method::POST, &target, Some(&room.bob), body).await.refused(400, "M_BAD_JSON");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn members_of_a_time_are_for_those_who_may_see_it() {
    let api = Api::open();
    let (alice, bob, carol) = (api.register("alice").await, api.register("bob").await, api.register("carol").await);
    let settings = json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]);
    let id = api.create_room(&alice, json!({"preset": "public_chat", "initial_state": settings})).await;
    api.join(&carol, &id).await;
    let now = async |user: &str| api.get("/v3/sync", user).await.ok()["next_batch"].as_str().unwrap().to_owned();
    let early = now(&bob).await;
    api.leave(&carol, &id).await;
    api.join(&bob, &id).await;
    let at = |token: &str| path(&id, &format!("members?membership=join&at={token}"));
    api.get(&at(&early), &bob).await.refused(403, "M_FORBIDDEN");
    api.get(&at(&early), &alice).await.ok();
    api.get(&at(&now(&bob).await), &bob).await.ok();
    let open = json!({"history_visibility": "world_readable"});
    api.set_state(&alice, &id, "m.room.history_visibility", open).await;
    let dan = api.register("dan").await;
    api.get(&at(&now(&dan).await), &dan).await.ok();
    api.get(&at(&early), &dan).await.refused(403, "M_FORBIDDEN");
}
