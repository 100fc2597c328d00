//! Aliases and the published directory.

use http::Method;
use serde_json::{Value, json};

use super::{
    api::{Api, confusions},
    rooms::{path, segment},
};

fn alias(name: &str) -> String {
    format!("/v3/directory/room/{}", segment(&format!("#{name}:localhost")))
}

#[tokio::test(start_paused = true)]
async fn an_alias_is_given_found_and_taken_away() {
    let api = Api::open();
    let (alice, bob, carol) = (api.register("alice").await, api.register("bob").await, api.register("carol").await);
    let room = api.public_room(&alice).await;
    api.join(&bob, &room).await;
    api.put(&alias("a"), &alice, json!({ "room_id": room })).await.ok();
    api.put(&alias("b"), &bob, json!({ "room_id": room })).await.ok();
    let found = api.anonymous(Method::GET, &alias("a"), Value::Null).await.ok();
    assert_eq!(found, json!({"room_id": room, "servers": ["localhost"]}));
    let aliases = api.get(&path(&room, "aliases"), &bob).await.ok();
    assert_eq!(aliases, json!({"aliases": ["#a:localhost", "#b:localhost"]}));

    api.put(&alias("a"), &alice, json!({ "room_id": room })).await.refused(409, "M_UNKNOWN");
    api.put(&alias("c"), &carol, json!({ "room_id": room })).await.refused(403, "M_FORBIDDEN");
    api.put(&alias("c"), &carol, json!({"room_id": "!none:localhost"})).await.refused(404, "M_NOT_FOUND");
    let elsewhere = format!("/v3/directory/room/{}", segment("#x:elsewhere.example"));
    api.put(&elsewhere, &alice, json!({ "room_id": room })).await.refused(400, "M_INVALID_PARAM");
    api.put(&alias("with space"), &alice, json!({ "room_id": room })).await.refused(400, "M_INVALID_PARAM");
    api.put("/v3/directory/room/none", &alice, json!({ "room_id": room })).await.refused(400, "M_INVALID_PARAM");
    for value in confusions() {
        let answer = api.put(&alias("d"), &alice, json!({ "room_id": value })).await;
        assert_eq!(answer.status, 400, "{value}");
    }
    api.get(&path(&room, "aliases"), &carol).await.refused(403, "M_FORBIDDEN");

    api.delete(&alias("a"), &bob, json!({})).await.refused(403, "M_FORBIDDEN");
    api.delete(&alias("b"), &alice, json!({})).await.ok();
    let api = api.restart();
    api.delete(&alias("a"), &alice, json!({})).await.ok();
    api.delete(&alias("a"), &alice, json!({})).await.refused(404, "M_NOT_FOUND");
    api.get(&alias("a"), &alice).await.refused(404, "M_NOT_FOUND");
    assert_eq!(api.get(&path(&room, "aliases"), &alice).await.ok(), json!({"aliases": []}));
    api.put(&alias("a"), &alice, json!({ "room_id": room })).await.ok();
}

#[tokio::test(start_paused = true)]
async fn published_rooms_are_listed_the_largest_first() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let request = json!({"visibility": "public", "name": "Small", "topic": "About Things", "room_alias_name": "small"});
    let small = api.create_room(&alice, request).await;
    let large = api.create_room(&alice, json!({"visibility": "public", "creation_content": {"type": "m.space"}})).await;
    let hidden = api.public_room(&alice).await;
    api.join(&bob, &large).await;
    let left = api.create_room(&alice, json!({"visibility": "public"})).await;
    api.leave(&alice, &left).await;
    let ids = |answer: &Value| -> Vec<String> {
        let chunk = answer["chunk"].as_array().unwrap();
        chunk.iter().map(|entry| entry["room_id"].as_str().unwrap().to_owned()).collect()
    };
    let all = api.anonymous(Method::GET, "/v3/publicRooms", Value::Null).await.ok();
    assert_eq!(ids(&all), [large.clone(), small.clone()]);
    assert_eq!(
        all["chunk"][1],
        json!({"room_id": small, "num_joined_members": 1, "world_readable": false, "guest_can_join": false,
            "name": "Small", "topic": "About Things", "canonical_alias": "#small:localhost", "join_rule": "public"})
    );
    let first = api.anonymous(Method::GET, "/v3/publicRooms?limit=1", Value::Null).await.ok();
    let next = first["next_batch"].as_str().unwrap();
    let second = api.anonymous(Method::GET, &format!("/v3/publicRooms?limit=1&since={next}"), Value::Null).await.ok();
    assert_eq!((ids(&first), ids(&second)), (vec![large.clone()], vec![small.clone()]));
    assert_eq!(second.get("next_batch"), None);

    for (body, expected) in [
        (json!({}), vec![&large, &small]),
        (json!({"filter": {"generic_search_term": "THINGS"}}), vec![&small]),
        (json!({"filter": {"generic_search_term": "nothing"}}), vec![]),
        (json!({"filter": {"room_types": ["m.space"]}}), vec![&large]),
        (json!({"filter": {"room_types": [null]}}), vec![&small]),
        (json!({"limit": 0}), vec![]),
        (json!({"limit": 1_000_000}), vec![&large, &small]),
        (json!({"third_party_instance_id": "irc"}), vec![]),
    ] {
        let answer = api.post("/v3/publicRooms", &bob, body.clone()).await.ok();
        assert_eq!(ids(&answer), expected.into_iter().cloned().collect::<Vec<_>>(), "{body}");
    }
    for body in [
        json!({"limit": -1}),
        json!({"filter": 7}),
        json!({"since": "x"}),
        json!({"filter": {"room_types": 7}}),
        json!({"filter": {"room_types": vec!["t"; 101]}}),
        json!({"filter": {"generic_search_term": "x".repeat(1_025)}}),
    ] {
        assert_eq!(api.post("/v3/publicRooms", &bob, body.clone()).await.status, 400, "{body}");
    }
    api.post("/v3/publicRooms?server=not..a..server:x", &bob, json!({})).await.refused(400, "M_INVALID_PARAM");

    let entry = |room: &str| format!("/v3/directory/list/room/{}", segment(room));
    assert_eq!(api.get(&entry(&large), &bob).await.ok(), json!({"visibility": "public"}));
    assert_eq!(api.get(&entry(&hidden), &bob).await.ok(), json!({"visibility": "private"}));
    api.get(&entry("!none:localhost"), &bob).await.refused(404, "M_NOT_FOUND");
    api.put(&entry("!none:localhost"), &bob, json!({})).await.refused(404, "M_NOT_FOUND");
    api.put(&entry(&large), &bob, json!({"visibility": "private"})).await.refused(403, "M_FORBIDDEN");
    api.put(&entry(&large), &alice, json!({"visibility": "chaos"})).await.refused(400, "M_INVALID_PARAM");
    api.put(&entry(&large), &alice, json!({"visibility": "private"})).await.ok();
    api.put(&entry(&hidden), &alice, json!({})).await.ok();
    let answer = api.post("/v3/publicRooms", &bob, json!({})).await.ok();
    assert_eq!(ids(&answer).len(), 2);
    assert!(!ids(&answer).contains(&large));
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_is_deleted_is_not_the_rooms_name_any_more() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let room = api.create_room(&alice, json!({"preset": "public_chat", "room_alias_name": "one"})).await;
    api.join(&bob, &room).await;
    let alias = |name: &str| format!("/v3/directory/room/{}", segment(&format!("#{name}:localhost")));
    for (who, name) in [(&alice, "two"), (&bob, "three")] {
        api.put(&alias(name), who, json!({"room_id": room})).await.ok();
    }
    let named = json!({"alias": "#one:localhost", "alt_aliases": ["#two:localhost", "#three:localhost"], "x": 1});
    api.set_state(&alice, &room, "m.room.canonical_alias", named).await;
    let canonical = async || api.state(&alice, &room, "m.room.canonical_alias").await;
    api.delete(&alias("one"), &alice, json!({})).await.ok();
    assert_eq!(canonical().await, json!({"alt_aliases": ["#two:localhost", "#three:localhost"], "x": 1}));
    // Whoever may not change the state may delete their own alias all the same.
    api.delete(&alias("three"), &bob, json!({})).await.ok();
    assert_eq!(canonical().await["alt_aliases"], json!(["#two:localhost", "#three:localhost"]));
    api.delete(&alias("two"), &alice, json!({})).await.ok();
    assert_eq!(canonical().await, json!({"alt_aliases": ["#three:localhost"], "x": 1}));
}
