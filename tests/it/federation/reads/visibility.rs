//! Which events are given whole.

use serde_json::{Value, json};

use super::{Scene, event_id, ids_of};

/// Whether the text of a message is in what the peer gets, the same by every endpoint that gives events.
async fn is_shown(scene: &Scene, message: &ruma::OwnedEventId) -> bool {
    let event = scene.event(message).await;
    assert_eq!(event["type"], "m.room.message");
    assert_eq!(
        ids_of(scene, std::slice::from_ref(&event)),
        std::slice::from_ref(message),
        "redacted or not, it is the same event"
    );
    let shown = event["content"]["body"].is_string();
    assert_eq!(event["content"] == json!({}), !shown);
    assert_eq!(scene.backfill(message, 1).await, std::slice::from_ref(&event));
    let missing = scene.missing(&json!({"latest_events": scene.tips(), "earliest_events": [], "limit": 20})).await.ok();
    let events: &Vec<Value> = missing["events"].as_array().unwrap();
    assert!(events.contains(&event) || scene.tips().contains(message));
    shown
}

#[tokio::test(start_paused = true)]
async fn by_each_setting() {
    for (setting, before_it_came) in [("world_readable", true), ("shared", true), ("invited", false), ("joined", false)]
    {
        let scene = Scene::new(setting).await;
        let before = scene.says("before").await;
        scene.member("eve", "join").await;
        let during = scene.says("during").await;
        scene.member("eve", "leave").await;
        let after = scene.says("after").await;
        scene.member("eve", "join").await;
        scene.says("last").await;
        assert_eq!(is_shown(&scene, &before).await, before_it_came, "{setting}: before");
        assert!(is_shown(&scene, &during).await, "{setting}: during");
        assert_eq!(is_shown(&scene, &after).await, before_it_came, "{setting}: while nobody was there");
    }
}

#[tokio::test(start_paused = true)]
async fn one_user_who_was_there_is_enough() {
    let scene = Scene::new("joined").await;
    let before = scene.says("before").await;
    scene.member("adam", "join").await;
    let during = scene.says("during").await;
    scene.member("eve", "join").await;
    scene.member("adam", "leave").await;
    scene.says("last").await;
    assert!(!is_shown(&scene, &before).await);
    assert!(is_shown(&scene, &during).await, "adam was there, although only eve is now");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_setting_counts_from_then_on() {
    let scene = Scene::new("joined").await;
    let hidden = scene.says("hidden").await;
    let open = scene.sets("m.room.history_visibility", "", json!({"history_visibility": "shared"})).await;
    let shown = scene.says("shown").await;
    let closed = scene.sets("m.room.history_visibility", "", json!({"history_visibility": "joined"})).await;
    let again = scene.says("again").await;
    let join = scene.member("eve", "join").await;
    assert!(!is_shown(&scene, &hidden).await);
    assert!(is_shown(&scene, &shown).await);
    assert!(!is_shown(&scene, &again).await);
    // These are seen as they stand on either side.
    for (id, setting) in [(open, "shared"), (closed, "joined")] {
        assert_eq!(scene.event(&id).await["content"], json!({"history_visibility": setting}));
    }
    assert_eq!(scene.event(&join).await["content"], json!({"membership": "join"}));
}

#[tokio::test(start_paused = true)]
async fn invited_users_see_what_is_for_the_invited() {
    for (setting, shown) in [("invited", true), ("joined", false)] {
        let scene = Scene::new(setting).await;
        scene.member("adam", "join").await;
        let invite = super::Draft {
            sender: scene.user("adam"),
            kind: "m.room.member",
            state_key: Some(scene.user("eve").to_string()),
            content: json!({"membership": "invite"}),
            prev: None,
        };
        scene.sets("m.room.power_levels", "", json!({"users": {}, "invite": 0})).await;
        scene.accepted(invite).await;
        scene.member("adam", "leave").await;
        let said = scene.says("to the invited").await;
        scene.member("eve", "join").await;
        assert_eq!(is_shown(&scene, &said).await, shown, "{setting}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_redacted_is_not_given_whole() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let said = scene.says("regretted").await;
    assert!(is_shown(&scene, &said).await);
    let path = format!("/v3/rooms/{}/redact/{said}/1", scene.room);
    event_id(&scene.server.put(&path).by(&scene.alice).json(&json!({})).send().await.ok());
    assert!(!is_shown(&scene, &said).await);
}
