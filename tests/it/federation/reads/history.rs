//! Walking back: `/backfill`, `/get_missing_events`, `/timestamp_to_event`.

use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::{Draft, Scene, encoded, ids_of};

async fn many(scene: &Scene, count: usize) -> Vec<OwnedEventId> {
    let mut said = Vec::new();
    for number in 0..count {
        said.push(scene.says(&format!("message {number}")).await);
    }
    said
}

#[tokio::test(start_paused = true)]
async fn backfill_gives_what_is_asked_for_and_what_was_before_it() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let said = many(&scene, 120).await;
    let newest_first = |range: std::ops::Range<usize>| said[range].iter().rev().cloned().collect::<Vec<_>>();
    assert_eq!(ids_of(&scene, &scene.backfill(&said[9], 5).await), newest_first(5..10));
    assert!(scene.backfill(&said[9], 0).await.is_empty());
    for limit in [100, 101, 1_000_000] {
        assert_eq!(ids_of(&scene, &scene.backfill(&said[119], limit).await), newest_first(20..120), "{limit}");
    }
    let whole = scene.backfill(&said[5], 100).await;
    assert_eq!(whole.last().unwrap()["type"], "m.room.create", "it ends where the room began");

    let room = encoded(scene.room.as_str());
    let two = format!("/backfill/{room}?v={}&v={}&limit=2", encoded(said[3].as_str()), encoded(said[50].as_str()));
    let two = scene.get(&two).await.ok();
    assert_eq!(ids_of(&scene, two["pdus"].as_array().unwrap()), [said[50].clone(), said[49].clone()]);
    for bad in ["v=%24x", "limit=5", "v=%24x&limit=-1", "v=%24x&limit=x"] {
        let answer = scene.get(&format!("/backfill/{room}?{bad}")).await;
        // Naming no event at all is not malformed, it only gives none.
        assert!(answer.status == 400 || answer.json["pdus"] == json!([]), "{bad}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_events_lie_between_the_earliest_and_the_latest() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let said = many(&scene, 40).await;
    let ask = async |earliest: &[usize], latest: &[usize], more: Value| {
        let pick = |indexes: &[usize]| indexes.iter().map(|index| said[*index].clone()).collect::<Vec<_>>();
        let mut body = json!({"earliest_events": pick(earliest), "latest_events": pick(latest)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ids_of(&scene, scene.missing(&body).await.ok()["events"].as_array().unwrap())
    };
    assert_eq!(ask(&[2], &[6], json!({})).await, said[3..6]);
    assert_eq!(ask(&[], &[30], json!({})).await, said[20..30], "10 by default");
    assert_eq!(ask(&[], &[30], json!({"limit": 3})).await, said[27..30]);
    assert!(ask(&[], &[30], json!({"limit": 0})).await.is_empty());
    for limit in [20, 21, 1_000_000] {
        assert_eq!(ask(&[], &[39], json!({"limit": limit})).await, said[19..39], "{limit}");
    }
    assert!(ask(&[6], &[6], json!({})).await.is_empty(), "what a server has is not walked from");
    assert_eq!(ask(&[10], &[5, 12], json!({"limit": 4})).await.len(), 4, "both are walked from");
    let depth = scene.event(&said[25]).await["depth"].as_u64().unwrap();
    assert_eq!(ask(&[], &[30], json!({"limit": 20, "min_depth": depth})).await, said[25..30]);
}

#[tokio::test(start_paused = true)]
async fn both_branches_of_a_fork_are_walked() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let root = scene.says("root").await;
    let left = scene.says("left").await;
    let content = json!({"msgtype": "m.text", "body": "right"});
    let prev = Some(vec![root.clone()]);
    let sender = scene.user("eve");
    let right = scene.accepted(Draft { sender, kind: "m.room.message", state_key: None, content, prev }).await;
    let merged = scene.says("merged").await;
    let body = json!({"earliest_events": [root], "latest_events": [merged]});
    let mut missing = ids_of(&scene, scene.missing(&body).await.ok()["events"].as_array().unwrap());
    let mut both = vec![left, right];
    missing.sort();
    both.sort();
    assert_eq!(missing, both);
    let back = ids_of(&scene, &scene.backfill(&merged, 4).await);
    assert_eq!((back.first(), back.last()), (Some(&merged), Some(&root)));
    assert!(both.iter().all(|id| back.contains(id)));
}

#[tokio::test(start_paused = true)]
async fn a_request_may_not_name_a_million_events() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    let names = |count: usize| (0..count).map(|number| format!("$e{number}")).collect::<Vec<_>>();
    for (latest, earliest) in [(101, 0), (0, 1_001)] {
        let body = json!({"latest_events": names(latest), "earliest_events": names(earliest)});
        scene.missing(&body).await.refused(413, "M_TOO_LARGE");
    }
    let body = json!({"latest_events": names(100), "earliest_events": names(1_000)});
    assert_eq!(scene.missing(&body).await.ok(), json!({"events": []}));
}

#[tokio::test(start_paused = true)]
async fn the_event_nearest_to_a_time() {
    let scene = Scene::new("shared").await;
    scene.member("eve", "join").await;
    tokio::time::advance(std::time::Duration::from_secs(100)).await;
    let first = scene.says("first").await;
    tokio::time::advance(std::time::Duration::from_secs(100)).await;
    let second = scene.says("second").await;
    let times = [&first, &second].map(|id| (id.clone(), scene.event(id)));
    let mut known = Vec::new();
    for (id, event) in times {
        known.push((id, event.await["origin_server_ts"].as_u64().unwrap()));
    }
    let room = encoded(scene.room.as_str());
    let ask = async |ts: u64, dir: &str| scene.get(&format!("/timestamp_to_event/{room}?ts={ts}&dir={dir}")).await;
    let (between, answer) =
        (known[0].1 + 1, |index: usize| json!({"event_id": known[index].0, "origin_server_ts": known[index].1}));
    assert_eq!(ask(between, "b").await.ok(), answer(0));
    assert_eq!(ask(between, "f").await.ok(), answer(1));
    assert_eq!(ask(known[1].1, "f").await.ok(), answer(1));
    ask(known[1].1 + 1, "f").await.refused(404, "M_NOT_FOUND");
    ask(0, "b").await.refused(404, "M_NOT_FOUND");
    assert_eq!(ask(0, "x").await.status, 400);
}
