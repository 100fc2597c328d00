//! Branches that arrive late, as clients see them: by `/sync` in the order of arrival, behind it in that of the graph.

use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::Stage;

impl Stage {
    /// The room in a sync that wants this many events, since a token or from the beginning.
    async fn told(&self, limit: usize, since: Option<&str>) -> (Value, String) {
        let filter = format!("{{\"room\":{{\"timeline\":{{\"limit\":{limit},\"not_types\":[\"filtered\"]}}}}}}");
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let answer = self.scene.server.get(&format!("/v3/sync?filter={filter}{since}")).by(&self.scene.alice).send();
        let answer = answer.await.ok();
        let room = answer["rooms"]["join"][self.scene.room.as_str()].clone();
        (room, answer["next_batch"].as_str().unwrap().to_owned())
    }

    /// The timeline, and what paging back from it brings, oldest first; only what is among `wanted`.
    async fn history(&self, timeline: &Value, wanted: &[OwnedEventId]) -> Vec<OwnedEventId> {
        let mut found = ids(&timeline["events"]);
        let mut from = timeline["prev_batch"].as_str().map(str::to_owned);
        while from.is_some() {
            let (older, end) = self.page(from.as_deref(), 2).await;
            found.splice(0..0, older.into_iter().rev());
            from = end;
        }
        found.retain(|id| wanted.contains(id));
        found
    }
}

fn ids(events: &Value) -> Vec<OwnedEventId> {
    let events = events.as_array().unwrap();
    events.iter().map(|event| event["event_id"].as_str().unwrap().try_into().unwrap()).collect()
}

/// An event that cites an old one stands before those that arrived earlier, in the order of the graph.
#[tokio::test(start_paused = true)]
async fn a_late_branch_hides_nothing_from_who_pages_back_behind_it() {
    let stage = Stage::new().await;
    let (_, begin) = stage.told(1, None).await;
    let late = stage.says("late", None);
    let mut said = Vec::new();
    for number in 0..4 {
        said.push(stage.scene.says(&number.to_string()).await);
    }
    stage.send("1", &[&late]).await;
    for number in 4..7 {
        said.push(stage.scene.says(&number.to_string()).await);
    }
    let with_late = |at: usize| [&said[..at], &[late.event_id().to_owned()], &said[at..]].concat();
    let (arrived, graph) = (with_late(4), with_late(1));
    for limit in 1..=7 {
        let (room, _) = stage.told(limit, None).await;
        let timeline = &room["timeline"];
        assert_eq!((ids(&timeline["events"]).len(), &timeline["limited"]), (limit, &json!(true)));
        let history = stage.history(timeline, &graph).await;
        if limit < 7 {
            assert_eq!(history, graph, "{limit}: what is told first is the end of the graph");
        } else {
            assert_eq!(history, arrived, "what is told together is in the order of arrival");
        }

        let (room, _) = stage.told(limit, Some(&begin)).await;
        let timeline = &room["timeline"];
        assert_eq!(ids(&timeline["events"]), arrived[8 - limit..], "{limit}: what is new is what arrived last");
        let mut history = stage.history(timeline, &graph).await;
        let mut expected = graph.clone();
        history.sort_unstable();
        expected.sort_unstable();
        assert_eq!(history, expected, "{limit}: each once");
    }
}

/// Both new events are of old branches; what arrived before them stands behind the first of them.
#[tokio::test(start_paused = true)]
async fn two_late_branches_hide_nothing_either() {
    let stage = Stage::new().await;
    let (_, begin) = stage.told(1, None).await;
    let (one, two) = (stage.says("one", None), stage.says("two", None));
    let said = [stage.scene.says("first").await, stage.scene.says("second").await];
    stage.send("1", &[&one, &two]).await;
    let late = [one.event_id().to_owned(), two.event_id().to_owned()];
    let (room, _) = stage.told(2, Some(&begin)).await;
    assert_eq!(ids(&room["timeline"]["events"]), late);
    let mut all = [said, late].concat();
    let mut history = stage.history(&room["timeline"], &all).await;
    all.sort_unstable();
    history.sort_unstable();
    assert_eq!(history, all, "each once");
}

/// State of a late branch that is not in the timeline is in the state.
#[tokio::test(start_paused = true)]
async fn state_of_a_late_branch_is_told_in_the_one_place_or_the_other() {
    let stage = Stage::new().await;
    stage.scene.sets("m.room.power_levels", "", json!({"state_default": 0})).await;
    let name = stage.event("m.room.topic", Some(""), json!({"topic": "of the branch"}), None);
    stage.scene.says("one").await;
    let two = stage.scene.says("two").await;
    stage.send("1", &[&name]).await;
    let room = stage.scene.room.clone();
    let filtered = format!("/v3/rooms/{room}/send/filtered/1");
    stage.scene.server.put(&filtered).by(&stage.scene.alice).json(&json!({})).send().await.ok();

    let (room, token) = stage.told(1, None).await;
    assert_eq!(ids(&room["timeline"]["events"]), [two]);
    let is_name = |id: &OwnedEventId| *id == name.event_id();
    assert_eq!(ids(&room["state"]["events"]).iter().filter(|id| is_name(id)).count(), 1);
    let (room, _) = stage.told(20, None).await;
    assert_eq!(ids(&room["timeline"]["events"]).iter().filter(|id| is_name(id)).count(), 1);
    assert!(!ids(&room["state"]["events"]).iter().any(is_name));
    assert_eq!(stage.told(1, Some(&token)).await.0, Value::Null, "nothing of it comes again");
}
