//! Where in the history of a room a time is.

use std::time::Duration;

use serde_json::json;

use super::{api::Api, rooms::segment};

#[tokio::test(start_paused = true)]
async fn the_nearest_event_that_the_user_may_see_is_told() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let since_join = json!({"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}});
    let room = api.create_room(&alice, json!({"preset": "public_chat", "initial_state": [since_join]})).await;
    let mut sent = Vec::new();
    for number in 0..3 {
        tokio::time::advance(Duration::from_secs(10)).await;
        let event_id = api.say(&alice, &room, &number.to_string()).await;
        sent.push((api.event(&alice, &room, &event_id).await["origin_server_ts"].as_u64().unwrap(), event_id));
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    let target = |ts: u64, dir: &str| format!("/v1/rooms/{}/timestamp_to_event?ts={ts}&dir={dir}", segment(&room));
    let [first, second, third] = &*sent else { unreachable!() };
    for (ts, dir, expected) in [
        (second.0, "f", second),
        (second.0, "b", second),
        (second.0 + 1, "f", third),
        (second.0 + 1, "b", second),
        (second.0 - 1, "f", second),
        (second.0 - 1, "b", first),
        (u64::MAX, "b", third),
    ] {
        let found = api.get(&target(ts, dir), &alice).await.ok();
        assert_eq!(found, json!({"event_id": expected.1, "origin_server_ts": expected.0}), "{ts} {dir}");
    }
    api.get(&target(third.0 + 1, "f"), &alice).await.refused(404, "M_NOT_FOUND");
    api.get(&target(0, "b"), &alice).await.refused(404, "M_NOT_FOUND");

    api.get(&target(first.0, "f"), &bob).await.refused(403, "M_FORBIDDEN");
    api.join(&bob, &room).await;
    let found = api.get(&target(first.0, "f"), &bob).await.ok();
    let seen = api.event(&bob, &room, found["event_id"].as_str().unwrap()).await;
    assert_eq!(seen["content"]["membership"], "join", "nothing of before: {seen}");

    for (query, code) in [
        ("ts=1", "M_MISSING_PARAM"),
        ("dir=f", "M_MISSING_PARAM"),
        ("ts=1&dir=x", "M_INVALID_PARAM"),
        ("ts=-1&dir=f", "M_INVALID_PARAM"),
        ("ts=x&dir=f", "M_INVALID_PARAM"),
    ] {
        let target = format!("/v1/rooms/{}/timestamp_to_event?{query}", segment(&room));
        api.get(&target, &alice).await.refused(400, code);
    }
    let unknown = "/v1/rooms/!none:localhost/timestamp_to_event?ts=1&dir=f";
    api.get(unknown, &alice).await.refused(403, "M_FORBIDDEN");
}
