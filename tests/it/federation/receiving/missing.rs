//! Events that cite what is not here.

use std::time::Duration;

use myelin::{
    event::Pdu,
    federation::transport::Outbound,
    graph::{Reader, RoomNo, StateKey},
    store::View,
};
use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::{Stage, as_json, as_jsons, rest};

fn body(request: &Outbound) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

pub(super) fn is(request: &Outbound, endpoint: &str) -> bool {
    request.target.starts_with(&format!("/_matrix/federation/v1/{endpoint}/"))
}

pub(super) fn ids(pdus: &[Pdu]) -> Vec<OwnedEventId> {
    pdus.iter().map(|pdu| pdu.event_id().to_owned()).collect()
}

/// The answer to `/event` for one of these.
pub(super) fn event_of(request: &Outbound, pdus: &[Value], ids: &[OwnedEventId]) -> Option<(u16, Value)> {
    let wanted = request.target.rsplit('/').next().unwrap().replace("%24", "$");
    let at = ids.iter().position(|id| id.as_str() == wanted)?;
    Some((200, json!({"origin": "p.q", "origin_server_ts": 0, "pdus": [pdus[at]]})))
}

impl Stage {
    /// The state of the room now, as another server would say it.
    pub(super) fn state_ids(&self) -> Vec<OwnedEventId> {
        self.scene.read(|reader, view, no, head| {
            let state = reader.state(view, no, head.root)?;
            let wanted: Vec<_> = state.into_iter().map(|(_, seq)| (no, seq)).collect();
            Ok(reader.events(view, &wanted)?.into_iter().flatten().map(|event| event.event_id.clone()).collect())
        })
    }

    pub(super) fn topic(&self) -> Option<OwnedEventId> {
        let read = |reader: &Reader, view: &View<'_>, no: RoomNo, root| {
            reader.state_events(view, no, root, &[StateKey::new("m.room.topic", "")])
        };
        let events = self.scene.read(|reader, view, no, head| read(reader, view, no, head.root));
        events.into_iter().flatten().next().map(|event| event.event_id.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_filled_by_who_made_it() {
    let stage = Stage::new().await;
    let (chain, tips) = (stage.chain(6), stage.scene.tips());
    let (missing, last) = (as_jsons(&chain[..5]), chain[5].event_id().to_owned());
    stage.answers(move |request| {
        let expected = json!({"earliest_events": tips, "latest_events": [last], "limit": 20});
        (is(request, "get_missing_events") && body(request) == expected).then(|| (200, json!({"events": missing})))
    });
    stage.send("1", &[&chain[5]]).await;
    let synced = stage.synced().await;
    assert_eq!(synced[synced.len() - 6..], ids(&chain), "in their order");
    assert_eq!(stage.asked(), ["p.q POST get_missing_events/ROOM"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_the_wrong_order_needs_nobody() {
    let stage = Stage::new().await;
    let chain = stage.chain(5);
    stage.send("1", &[&chain[4], &chain[2], &chain[3], &chain[1], &chain[0]]).await;
    for event in &chain {
        assert!(stage.is_seen(event).await);
    }
    assert_eq!(stage.asked(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_long_hole_is_filled_in_rounds() {
    let stage = Stage::new().await;
    let chain = stage.chain(70);
    let (events, all) = (as_jsons(&chain), ids(&chain));
    stage.answers(move |request| {
        let latest = body(request)["latest_events"][0].as_str().unwrap().to_owned();
        let at = all.iter().position(|id| *id == latest)?;
        Some((200, json!({"events": events[at.saturating_sub(20)..at]})))
    });
    stage.send("1", &[chain.last().unwrap()]).await;
    for event in &chain {
        assert!(stage.is_seen(event).await);
    }
    assert_eq!(stage.asked(), ["p.q POST get_missing_events/ROOM"; 4]);
}

/// Only where what is given at once ends is another server's word taken for the state; what it says stands beside ours.
#[tokio::test(start_paused = true)]
async fn a_hole_that_is_too_long_becomes_a_gap() {
    let stage = Stage::new().await;
    let topic = stage.scene.sets("m.room.topic", "", json!({"topic": "ours"})).await;
    let state = stage.state_ids();
    let chain = stage.chain(12);
    let (events, all) = (as_jsons(&chain), ids(&chain));
    let (claimed, near) = (state.clone(), all[8].clone());
    stage.answers(move |request| match request.target.split('/').nth(4)? {
        "get_missing_events" => Some((200, json!({"events": events[9..11]}))),
        "event" => event_of(request, &events, &all),
        "state_ids"
            if request.target.contains(&near.as_str().replace('$', "%24"))
                || request.target.contains(near.as_str()) =>
        {
            Some((200, json!({"pdu_ids": claimed, "auth_chain_ids": claimed})))
        }
        _ => None,
    });
    // Ours goes on beside it.
    let ours = stage.scene.says("meanwhile").await;
    stage.send("1", &[&chain[11]]).await;
    for (at, event) in chain.iter().enumerate() {
        assert_eq!(stage.is_seen(event).await, at >= 8, "{at}");
    }
    let asked: Vec<String> =
        stage.asked().iter().map(|line| line.split(['/', '?']).next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["p.q POST get_missing_events", "p.q GET event", "p.q GET state_ids"]);
    assert_eq!(stage.scene.tips().len(), 2);
    assert!(stage.scene.tips().contains(&ours));
    assert_eq!(stage.topic(), Some(topic));
    let gaps = stage.scene.read(|reader, view, no, _| reader.gaps(view, no, 0, u64::MAX, 10));
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].2.missing, [chain[7].event_id().as_str()]);
    // What clients are told begins behind the hole, and they know that something is missing.
    let answer = stage.scene.server.get("/v3/sync?filter={\"room\":{\"timeline\":{\"limit\":50}}}");
    let answer = answer.by(&stage.scene.alice).send().await.ok();
    let timeline = &answer["rooms"]["join"][stage.scene.room.as_str()]["timeline"];
    assert_eq!((&timeline["limited"], &timeline["events"][0]["event_id"]), (&json!(true), &json!(chain[8].event_id())));
}

/// Whoever leaves out an event that the state consists of has just that left out, after some tries to get it. Where what is cited
/// can't be had, the history begins anew behind it.
#[tokio::test(start_paused = true)]
async fn of_a_state_with_holes_only_what_is_given_counts() {
    let stage = Stage::new().await;
    let bob = stage.scene.user("bob").to_string();
    let join = |name: &str, prev: Option<&[&Pdu]>| {
        stage.event("m.room.member", Some(&bob), json!({"membership": "join", "displayname": name}), prev)
    };
    // Each renames behind the one before, but is authorised by the join: B is what is never given.
    let first = join("A", None);
    let second = join("B", Some(&[&first]));
    let third = stage.says("C", Some(&[&second]));
    let last = stage.says("D", Some(&[&third]));
    let mut state = stage.state_ids();
    state.push(second.event_id().to_owned());
    let (events, all) = (as_jsons(&[first.clone(), third.clone()]), ids(&[first.clone(), third.clone()]));
    stage.answers(move |request| match request.target.split('/').nth(4)? {
        "get_missing_events" => Some((200, json!({"events": [events[1]]}))),
        "event" => event_of(request, &events, &all),
        "state_ids" => Some((200, json!({"pdu_ids": state, "auth_chain_ids": []}))),
        _ => None,
    });
    stage.send("1", &[&last]).await;
    assert!(!stage.is_seen(&third).await, "it may still come");
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(!stage.is_seen(&second).await && stage.is_seen(&third).await && stage.is_seen(&last).await);
    let gaps = stage.scene.read(|reader, view, no, _| reader.gaps(view, no, 0, u64::MAX, 10));
    assert_eq!(gaps.iter().map(|gap| gap.2.missing.clone()).collect::<Vec<_>>(), [[second.event_id().as_str()]]);
    // The room goes on.
    let other = stage.says("E", None);
    stage.send("2", &[&other]).await;
    assert!(stage.is_seen(&other).await);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_what_an_event_cites_has_it_ignored_until_it_is_there() {
    let stage = Stage::new().await;
    let chain = stage.chain(3);
    stage.send("1", &[&chain[1]]).await;
    assert_eq!(stage.asked(), ["p.q POST get_missing_events/ROOM"], "no state is asked for");
    stage.send("2", &[&chain[2]]).await;
    assert_eq!(stage.asked(), ["p.q POST get_missing_events/ROOM"], "the next one is asked for by itself");
    assert!(!stage.is_seen(&chain[1]).await);
    stage.send("3", &[&chain[0]]).await;
    assert!(stage.is_seen(&chain[0]).await);
    // Sent again, it is judged again, at once.
    stage.send("4", &[&chain[1]]).await;
    assert!(stage.is_seen(&chain[1]).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stage.is_seen(&chain[2]).await, "and what waited for it, a moment later");
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_never_given_is_given_up() {
    let stage = Stage::new().await;
    let chain = stage.chain(2);
    stage.send("1", &[&chain[1]]).await;
    assert_eq!(stage.scene.server.app().inbox.staged().0, 1);
    tokio::time::sleep(Duration::from_hours(6)).await;
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
    assert_eq!(stage.asked().len(), 6);
}

/// Threat: 10,000 events each of which cites what nobody knows.
#[tokio::test(start_paused = true)]
async fn a_flood_of_holes_costs_few_requests_and_holds_up_nobody() {
    let stage = Stage::new().await;
    let nobody = stage.chain(1);
    let flood: Vec<Pdu> = (0..200).map(|at| stage.says(&format!("flood {at}"), Some(&[&nobody[0]]))).collect();
    stage.answers(|_| None);
    for (at, some) in flood.chunks(50).enumerate() {
        let pdus: Vec<Value> = some.iter().map(as_json).collect();
        stage.put(&format!("flood {at}").replace(' ', "_"), &super::transaction(&pdus, &[])).await.ok();
    }
    let good = stage.says("good", None);
    stage.put("good", &super::transaction(&[as_json(&good)], &[])).await.ok();
    rest().await;
    assert!(stage.is_seen(&good).await, "while the others wait");
    let asked = stage.asked();
    assert!(asked.len() <= 8, "one of each transaction is fetched for, and the others fail with it: {asked:?}");
}

/// Threat: many forks. They are joined step by step, and none is dropped.
#[tokio::test(start_paused = true)]
async fn many_extremities_are_joined() {
    let stage = Stage::new().await;
    let trunk = stage.says("trunk", None);
    stage.send("1", &[&trunk]).await;
    let forks: Vec<Pdu> = (0..45).map(|at| stage.says(&at.to_string(), Some(&[&trunk]))).collect();
    stage.send("2", &forks.iter().collect::<Vec<_>>()).await;
    for fork in &forks {
        assert!(stage.is_seen(fork).await);
    }
    assert!(stage.scene.tips().len() <= 10, "{}", stage.scene.tips().len());
}

#[tokio::test(start_paused = true)]
async fn missing_auth_events_are_fetched_and_rejected_ones_authorise_nothing() {
    let stage = Stage::new().await;
    let bob = stage.scene.user("bob").to_string();
    // Not allowed: Bob has no power.
    let rejected = stage.event("m.room.power_levels", Some(""), json!({"users": {}}), None);
    stage.send("1", &[&rejected]).await;
    assert!(!stage.is_seen(&rejected).await);
    let citing = |event: Pdu, auth: &[&Pdu]| {
        let mut object = event.to_object().unwrap();
        let ids: Vec<Value> = event.auth_events().iter().map(|id| json!(id)).collect();
        let mut value = serde_json::to_value(&object).unwrap();
        value["auth_events"] =
            json!(ids.into_iter().chain(auth.iter().map(|pdu| json!(pdu.event_id()))).collect::<Vec<_>>());
        object = myelin::event::json::parse(value.to_string().as_bytes()).unwrap();
        object.remove("hashes");
        object.remove("signatures");
        myelin::event::hash::add_content_hash(&mut object).unwrap();
        let rules = stage.scene.rules();
        let redacted = ruma::canonical_json::redact(object.clone(), &rules.redaction, None).unwrap();
        let mut signed = redacted;
        stage.scene.peer.key().sign_json(&mut signed).unwrap();
        object.insert("signatures".to_owned(), signed["signatures"].clone());
        Pdu::from_object(object, rules).unwrap()
    };
    let outlier =
        citing(stage.event("m.room.member", Some(&bob), json!({"membership": "join", "test": 1}), None), &[&rejected]);
    let sent = citing(stage.says("one", None), &[&outlier]);
    let sentinel = stage.says("last", Some(&[&sent]));
    let (chain, id) = (as_json(&outlier), sent.event_id().to_string());
    stage.answers(move |request| {
        (is(request, "event_auth") && request.target.replace("%24", "$").ends_with(&id))
            .then(|| (200, json!({"auth_chain": [chain]})))
    });
    stage.send("2", &[&sent, &sentinel]).await;
    assert!(!stage.is_seen(&outlier).await && !stage.is_seen(&sent).await);
    assert!(stage.is_seen(&sentinel).await, "it may cite a rejected event as previous");
}
