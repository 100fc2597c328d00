//! Stored filters.

use serde_json::json;

use super::api::{Api, confusions};

const FILTER: &str = "/v3/user/@alice:localhost/filter";

#[tokio::test(start_paused = true)]
async fn a_filter_is_stored_and_read() {
    let api = Api::open();
    let alice = api.register("alice").await;
    let filter = json!({"room": {"timeline": {"limit": 5, "types": ["m.room.*"]}}, "org.example": [1]});
    let id = api.post(FILTER, &alice, filter.clone()).await.ok()["filter_id"].as_str().unwrap().to_owned();
    assert_eq!(api.post(FILTER, &alice, filter.clone()).await.ok()["filter_id"], id.as_str(), "the same one");
    let api = api.restart();
    assert_eq!(api.get(&format!("{FILTER}/{id}"), &alice).await.ok(), filter);
    for unknown in ["x", &"x".repeat(300)] {
        api.get(&format!("{FILTER}/{unknown}"), &alice).await.refused(404, "M_NOT_FOUND");
    }
    let bob = api.register("bob").await;
    api.get(&format!("{FILTER}/{id}"), &bob).await.refused(403, "M_FORBIDDEN");
    api.post(FILTER, &bob, json!({})).await.refused(403, "M_FORBIDDEN");
    api.get(&format!("/v3/user/@bob:localhost/filter/{id}"), &bob).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_filter_is_refused_at_once() {
    let api = Api::open();
    let alice = api.register("alice").await;
    for field in ["event_fields", "event_format", "presence", "account_data", "room"] {
        for value in confusions() {
            let answer = api.post(FILTER, &alice, json!({ field: value })).await;
            assert!(answer.status == 200 || answer.status == 400, "{field}: {value}");
        }
    }
    for bad in [
        json!({"room": 1}),
        json!({"room": {"timeline": {"limit": -1}}}),
        json!({"room": {"timeline": {"limit": "5"}}}),
        json!({"room": {"rooms": "!a:b"}}),
        json!({"presence": {"types": [1]}}),
        json!({"event_format": "other"}),
    ] {
        api.post(FILTER, &alice, bad.clone()).await.refused(400, "M_BAD_JSON");
    }
    let rooms: Vec<_> = (0..10_000).map(|number| format!("!room{number}:localhost")).collect();
    api.post(FILTER, &alice, json!({"room": {"rooms": rooms}})).await.refused(413, "M_TOO_LARGE");
}
