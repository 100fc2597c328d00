//! `/upgrade`: rooms that replace others.

use serde_json::{Value, json};

use super::{
    api::Api,
    rooms::{path, segment},
};

async fn upgrade(api: &Api, token: &str, room: &str, body: Value) -> String {
    let answer = api.post(&path(room, "upgrade"), token, body).await.ok();
    answer["replacement_room"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_room_is_replaced_by_one_with_its_state_and_its_names() {
    for (from, to) in [("6", "10"), ("10", "11"), ("10", "12"), ("12", "12"), ("12", "11"), ("11", "6")] {
        let api = Api::open();
        let (alice, bob) = (api.register("alice").await, api.register("bob").await);
        let old = api
            .create_room(
                &alice,
                json!({
                    "preset": "public_chat", "room_version": from, "visibility": "public", "name": "N", "topic": "T",
                    "room_alias_name": "here", "creation_content": {"m.federate": false, "type": "org.example.kind"},
                    "initial_state": [
                        {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
                        {"type": "org.example.other", "content": {}},
                    ],
                }),
            )
            .await;
        let canonical = json!({"alias": "#here:localhost", "alt_aliases": ["#here:localhost"]});
        api.set_state(&alice, &old, "m.room.canonical_alias", canonical.clone()).await;
        let ban = json!({"user_id": "@eve:localhost", "reason": "spam"});
        api.register("eve").await;
        api.post(&path(&old, "ban"), &alice, ban).await.ok();
        api.join(&bob, &old).await;
        let last = api.say(&alice, &old, "last").await;

        let new = upgrade(&api, &alice, &old, json!({"new_version": to})).await;
        let create = api.state(&alice, &new, "m.room.create").await;
        let mut predecessor = json!({"room_id": old});
        if to != "12" {
            predecessor["event_id"] = json!(last);
        }
        assert_eq!(create["predecessor"], predecessor, "{from} to {to}");
        assert_eq!(
            (&create["room_version"], &create["type"], &create["m.federate"]),
            (&json!(to), &json!("org.example.kind"), &json!(false))
        );
        assert_eq!(create.get("creator").is_some(), matches!(to, "6" | "10"));
        for kind in
            ["m.room.name", "m.room.topic", "m.room.encryption", "m.room.join_rules", "m.room.history_visibility"]
        {
            assert_eq!(api.state(&alice, &new, kind).await, api.state(&alice, &old, kind).await, "{kind}");
        }
        assert_eq!(api.state(&alice, &new, "m.room.canonical_alias").await, canonical);
        assert_eq!(api.state(&alice, &old, "m.room.canonical_alias").await, json!({}));
        let answer = api.get(&path(&new, "state/org.example.other"), &alice).await;
        answer.refused(404, "M_NOT_FOUND");
        let ban = api.get(&path(&new, "state/m.room.member/@eve:localhost"), &alice).await.ok();
        assert_eq!((&ban["membership"], &ban["reason"]), (&json!("ban"), &json!("spam")));
        api.get(&path(&new, "state/m.room.member/@bob:localhost"), &alice).await.refused(404, "M_NOT_FOUND");

        let levels = api.state(&alice, &new, "m.room.power_levels").await;
        let expected = if to == "12" { json!({}) } else { json!({"@alice:localhost": 100}) };
        assert_eq!(levels["users"], expected, "{from} to {to}");
        assert_eq!(levels["events"]["m.room.tombstone"], if to == "12" || from == "12" { 150 } else { 100 });

        let tombstone = api.state(&bob, &old, "m.room.tombstone").await;
        assert_eq!(tombstone["replacement_room"], *new);
        let closed = api.state(&alice, &old, "m.room.power_levels").await;
        assert_eq!((&closed["events_default"], &closed["invite"]), (&json!(50), &json!(50)));
        let target = path(&old, "send/m.room.message/late");
        api.put(&target, &bob, json!({"body": "x", "msgtype": "m.text"})).await.refused(403, "M_FORBIDDEN");

        let named = api.get(&format!("/v3/directory/room/{}", segment("#here:localhost")), &bob).await.ok();
        assert_eq!(named["room_id"], *new);
        assert_eq!(api.get(&path(&old, "aliases"), &alice).await.ok()["aliases"], json!([]));
        let listed = api.get("/v3/publicRooms", &bob).await.ok();
        let listed: Vec<_> = listed["chunk"].as_array().unwrap().iter().map(|entry| entry["room_id"].clone()).collect();
        assert_eq!(listed, [json!(new)]);
        api.join(&bob, &new).await;
        let bob_says = api.say(&bob, &new, "here now").await;
        assert_eq!(api.event(&alice, &new, &bob_says).await["content"]["body"], "here now");
        let api = api.restart();
        assert_eq!(api.state(&bob, &new, "m.room.create").await["predecessor"]["room_id"], *old);
    }
}

#[tokio::test(start_paused = true)]
async fn only_who_may_end_a_room_may_replace_it() {
    let api = Api::open();
    let (alice, bob, carol) = (api.register("alice").await, api.register("bob").await, api.register("carol").await);
    let old = api.create_room(&alice, json!({"preset": "public_chat", "room_version": "11"})).await;
    api.join(&bob, &old).await;
    let target = path(&old, "upgrade");
    for (who, body, status, code) in [
        (&bob, json!({"new_version": "12"}), 403, "M_FORBIDDEN"),
        (&carol, json!({"new_version": "12"}), 403, "M_FORBIDDEN"),
        (&alice, json!({"new_version": "99"}), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (&alice, json!({"new_version": "x y"}), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (&alice, json!({}), 400, "M_MISSING_PARAM"),
        (&alice, json!({"new_version": 12}), 400, "M_BAD_JSON"),
        (&alice, json!({"new_version": "12", "additional_creators": "@bob:localhost"}), 400, "M_INVALID_PARAM"),
        (&alice, json!({"new_version": "12", "additional_creators": ["bob"]}), 400, "M_INVALID_PARAM"),
    ] {
        let answer = api.post(&target, who, body.clone()).await;
        assert_eq!((answer.status, &answer.json["errcode"]), (status, &json!(code)), "{body}: {answer:?}");
    }
    api.get(&path(&old, "state/m.room.tombstone"), &alice).await.refused(404, "M_NOT_FOUND");
    let mut levels = api.state(&alice, &old, "m.room.power_levels").await;
    levels["users"]["@bob:localhost"] = json!(100);
    levels["users"]["@carol:localhost"] = json!(50);
    api.set_state(&alice, &old, "m.room.power_levels", levels).await;
    let body = json!({"new_version": "12", "additional_creators": ["@carol:localhost", "@bob:localhost"]});
    let new = upgrade(&api, &bob, &old, body).await;
    let create = api.state(&bob, &new, "m.room.create").await;
    assert_eq!(create["additional_creators"], json!(["@carol:localhost"]), "the sender is one by itself");
    let levels = api.state(&bob, &new, "m.room.power_levels").await;
    assert_eq!(levels["users"], json!({"@alice:localhost": 100}));
}

#[tokio::test(start_paused = true)]
async fn who_may_little_in_the_old_room_may_little_in_the_new_one_but_it_is_whole() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let levels = json!({"users": {"@alice:localhost": 100, "@bob:localhost": 40}, "events": {"m.room.tombstone": 40}});
    let room =
        json!({"preset": "public_chat", "room_version": "10", "name": "N", "power_level_content_override": levels});
    let old = api.create_room(&alice, room).await;
    api.join(&bob, &old).await;
    let new = upgrade(&api, &bob, &old, json!({"new_version": "11"})).await;
    assert_eq!(api.state(&bob, &new, "m.room.name").await["name"], "N");
    assert_eq!(api.state(&bob, &new, "m.room.power_levels").await["users"], levels["users"]);
    api.put(&path(&new, "state/m.room.name"), &bob, json!({"name": "x"})).await.refused(403, "M_FORBIDDEN");
    // What bob may not change in the old room stays.
    assert_eq!(api.state(&bob, &old, "m.room.power_levels").await["users"], levels["users"]);
    assert_eq!(api.state(&bob, &old, "m.room.tombstone").await["replacement_room"], *new);
}

#[tokio::test(start_paused = true)]
async fn what_a_user_has_set_for_a_room_is_carried_over() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let old = api.create_room(&alice, json!({"preset": "public_chat", "room_version": "10"})).await;
    api.join(&bob, &old).await;
    let of_bob = |room: &str| format!("/v3/user/@bob:localhost/rooms/{}/tags", segment(room));
    api.put(&format!("{}/u.mine", of_bob(&old)), &bob, json!({})).await.ok();
    let of_user = "/v3/user/@alice:localhost";
    api.put(&format!("{of_user}/rooms/{}/tags/m.favourite", segment(&old)), &alice, json!({"order": 0.5})).await.ok();
    api.put(&format!("{of_user}/account_data/m.direct"), &alice, json!({"@bob:localhost": [old]})).await.ok();
    let rule = |kind: &str, id: &str| format!("/v3/pushrules/global/{kind}/{}", segment(id));
    api.put(&rule("room", &old), &alice, json!({"actions": ["notify"]})).await.ok();
    let condition = json!({"kind": "event_match", "key": "room_id", "pattern": old});
    api.put(&rule("override", &old), &alice, json!({"actions": [], "conditions": [condition]})).await.ok();
    api.put(&format!("{}/enabled", rule("room", &old)), &alice, json!({"enabled": false})).await.ok();
    // By hand, as clients did before there was an endpoint.
    let claims = json!({"creation_content": {"predecessor": {"room_id": old}}, "preset": "public_chat"});
    let by_hand = api.create_room(&alice, claims.clone()).await;
    let upgraded = upgrade(&api, &alice, &old, json!({"new_version": "12"})).await;
    let false_claim = api.create_room(&alice, claims).await;
    for room in [&false_claim, &upgraded] {
        api.join(&bob, room).await;
    }
    assert_eq!(api.get(&of_bob(&upgraded), &bob).await.ok(), json!({"tags": {"u.mine": {}}}));
    assert_eq!(api.get(&of_bob(&false_claim), &bob).await.ok(), json!({"tags": {}}), "the old room does not name it");
    for new in [&upgraded, &by_hand] {
        let tags = api.get(&format!("{of_user}/rooms/{}/tags", segment(new)), &alice).await.ok();
        assert_eq!(tags, json!({"tags": {"m.favourite": {"order": 0.5}}}));
        let of_room = api.get(&rule("room", new), &alice).await.ok();
        assert_eq!((&of_room["actions"], &of_room["enabled"]), (&json!(["notify"]), &json!(false)));
        let silent = api.get(&rule("override", new), &alice).await.ok();
        assert_eq!(silent["conditions"][0]["pattern"], **new);
    }
    let direct = api.get(&format!("{of_user}/account_data/m.direct"), &alice).await.ok();
    assert_eq!(direct, json!({"@bob:localhost": [old, by_hand, upgraded]}));
}

#[tokio::test(start_paused = true)]
async fn a_space_keeps_its_children() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let old = api.create_room(&alice, json!({"creation_content": {"type": "m.space"}, "room_version": "10"})).await;
    for number in 0..60 {
        let content = if number == 7 { json!({}) } else { json!({"via": ["localhost"], "order": "a"}) };
        let target = path(&old, &format!("state/m.space.child/{}", segment(&format!("!{number}:x"))));
        api.put(&target, &alice, content).await.ok();
    }
    let new = upgrade(&api, &alice, &old, json!({"new_version": "12"})).await;
    let state = api.get(&path(&new, "state"), &alice).await.ok();
    let children = state.as_array().unwrap().iter().filter(|event| event["type"] == "m.space.child");
    assert_eq!(children.count(), 59);
}
