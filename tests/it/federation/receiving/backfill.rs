//! History that is fetched when somebody pages back to a hole.

use std::time::Duration;

use myelin::{event::Pdu, federation::transport::Outbound};
use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::{
    Stage, as_jsons,
    missing::{event_of, ids},
};

/// A room with a chain of events of which only the last few are here, and a peer that has all of them.
async fn holed(length: usize, given: usize) -> (Stage, Vec<Pdu>) {
    let stage = Stage::new().await;
    let chain = stage.chain(length);
    let (events, all, state) = (as_jsons(&chain), ids(&chain), stage.state_ids());
    stage.answers(move |request| match endpoint(request)? {
        "get_missing_events" => Some((200, json!({"events": events[length - 1 - given..length - 1]}))),
        "event" => event_of(request, &events, &all),
        "state_ids" => Some((200, json!({"pdu_ids": state, "auth_chain_ids": []}))),
        "backfill" => {
            let from = all.iter().position(|id| request.target.contains(&id.as_str().replace('$', "%24")))?;
            let pdus: Vec<Value> = events[from.saturating_sub(9)..=from].iter().rev().cloned().collect();
            Some((200, json!({"origin": "p.q", "origin_server_ts": 0, "pdus": pdus})))
        }
        _ => None,
    });
    stage.send("1", &[chain.last().unwrap()]).await;
    stage.asked();
    (stage, chain)
}

fn endpoint(request: &Outbound) -> Option<&str> {
    request.target.split(['/', '?']).nth(4)
}

impl Stage {
    /// A page back: event ids, and where it goes on.
    pub(super) async fn page(&self, from: Option<&str>, limit: usize) -> (Vec<OwnedEventId>, Option<String>) {
        let room = super::super::reads::encoded(self.scene.room.as_str());
        let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
        let path = format!("/v3/rooms/{room}/messages?dir=b&limit={limit}{from}");
        let page = self.scene.server.get(&path).by(&self.scene.alice).send().await.ok();
        let chunk = page["chunk"].as_array().unwrap();
        let ids = chunk.iter().map(|event| event["event_id"].as_str().unwrap().try_into().unwrap());
        (ids.collect(), page["end"].as_str().map(str::to_owned))
    }

    /// All pages.
    async fn whole_history(&self, limit: usize) -> Vec<OwnedEventId> {
        let (mut all, mut from) = (Vec::new(), None);
        for _ in 0..100 {
            let (ids, end) = self.page(from.as_deref(), limit).await;
            all.extend(ids);
            from = end;
            if from.is_none() {
                return all;
            }
        }
        panic!("the pages do not end");
    }
}

#[tokio::test(start_paused = true)]
async fn paging_back_brings_what_is_missing_and_sync_does_not() {
    let (stage, chain) = holed(40, 3).await;
    let synced = stage.synced().await;
    assert!(!stage.is_seen(&chain[20]).await);
    let whole = stage.whole_history(7).await;
    let of_chain: Vec<OwnedEventId> =
        whole.iter().filter(|id| chain.iter().any(|pdu| pdu.event_id() == **id)).cloned().collect();
    assert_eq!(of_chain, ids(&chain).into_iter().rev().collect::<Vec<_>>(), "in their order, each once");
    // Nothing of it is new; but there is no hole any more that hid what had arrived before.
    let now = stage.synced().await;
    let earlier = now.strip_suffix(&*synced).unwrap();
    assert!(earlier.iter().all(|id| !chain.iter().any(|pdu| pdu.event_id() == *id)), "{earlier:?}");
    let asked = stage.asked();
    assert!(asked.iter().filter(|line| line.contains("backfill")).count() <= 5, "{asked:?}");
    let gaps = stage.scene.read(|reader, view, no, _| reader.gaps(view, no, 0, u64::MAX, 10));
    assert_eq!(gaps, []);
    assert!(stage.scene.tips().contains(&chain.last().unwrap().event_id().to_owned()));
    // What is here is not fetched again.
    assert_eq!(stage.whole_history(50).await, whole);
    assert_eq!(stage.asked(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn context_at_a_hole_brings_what_is_missing() {
    let (stage, chain) = holed(20, 3).await;
    let room = super::super::reads::encoded(stage.scene.room.as_str());
    let at = super::super::reads::encoded(chain[17].event_id().as_str());
    let path = format!("/v3/rooms/{room}/context/{at}?limit=12");
    let around = stage.scene.server.get(&path).by(&stage.scene.alice).send().await.ok();
    let before = around["events_before"].as_array().unwrap();
    let before: Vec<&str> = before.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(before, ids(&chain[11..17]).iter().rev().map(|id| id.as_str()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn many_readers_at_once_ask_once() {
    let (stage, chain) = holed(12, 3).await;
    let pages = futures_util::future::join_all((0..8).map(|_| stage.page(None, 10))).await;
    for (ids, _) in &pages {
        assert_eq!(ids.len(), 10);
        assert_eq!(*ids, pages[0].0);
        assert_eq!(ids[9], chain[2].event_id());
    }
    assert_eq!(stage.asked().iter().filter(|line| line.contains("backfill")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_history_costs_little_and_loses_none() {
    let (stage, chain) = holed(12, 3).await;
    stage.answers(|_| None);
    let (ids, end) = stage.page(None, 30).await;
    assert_eq!(ids[..4], super::missing::ids(&chain[8..]).into_iter().rev().collect::<Vec<_>>());
    assert!(end.is_some(), "there is more, if not here");
    assert_eq!(stage.page(end.as_deref(), 30).await, (Vec::new(), None));
    stage.page(None, 30).await;
    assert_eq!(
        stage.asked(),
        ["p.q GET backfill/ROOM?v=GAP&limit=100"]
            .map(|line| line.replace("GAP", &chain[6].event_id().as_str().replace('$', "%24")))
    );
    tokio::time::sleep(Duration::from_secs(61)).await;
    stage.page(None, 30).await;
    assert_eq!(stage.asked().len(), 1, "after a while it is tried again");
}

/// A liar gives events of another room, unsigned ones and ones that cite each other: nothing of it is taken.
#[tokio::test(start_paused = true)]
async fn lies_about_history_are_not_believed() {
    let (stage, chain) = holed(12, 3).await;
    let good = as_jsons(&chain[6..7]);
    let mut unsigned = as_jsons(&chain[5..6]).remove(0);
    unsigned["signatures"] = json!({});
    let mut elsewhere = as_jsons(&chain[4..5]).remove(0);
    elsewhere["room_id"] = json!("!other:p.q");
    let pdus = vec![good[0].clone(), unsigned, elsewhere, json!(5), json!({"room_id": stage.scene.room})];
    let (state, real) = (stage.state_ids(), chain[6].event_id().to_string());
    stage.answers(move |request| match endpoint(request)? {
        "backfill" => Some((200, json!({"origin": "p.q", "origin_server_ts": 0, "pdus": pdus}))),
        "state_ids" if request.target.contains(&real.replace('$', "%24")) => {
            Some((200, json!({"pdu_ids": state, "auth_chain_ids": []})))
        }
        _ => None,
    });
    stage.page(None, 30).await;
    assert!(stage.is_seen(&chain[6]).await);
    assert!(!stage.is_seen(&chain[5]).await && !stage.is_seen(&chain[4]).await);
    assert!(stage.asked().iter().all(|line| !is_of(line, "event")), "nothing else was fetched");
}

fn is_of(line: &str, endpoint: &str) -> bool {
    line.contains(&format!(" GET {endpoint}/"))
}
