//! `PUT /send`: what is taken, what is answered, what survives.

use std::time::Duration;

use http::Method;
use myelin::{event::Pdu, store::engine::faulty::Fault};
use serde_json::{Value, json};

use super::{Stage, as_json, rest, transaction};

fn errors(answer: &Value) -> Vec<(String, Option<String>)> {
    let pdus = answer["pdus"].as_object().unwrap();
    pdus.iter().map(|(id, result)| (id.clone(), result["error"].as_str().map(str::to_owned))).collect()
}

#[tokio::test(start_paused = true)]
async fn events_are_answered_and_then_seen_in_their_order() {
    let stage = Stage::new().await;
    let chain = stage.chain(30);
    let answer = stage.send("1", &chain.iter().collect::<Vec<_>>()).await;
    assert_eq!(answer["pdus"].as_object().unwrap().len(), 30);
    assert!(errors(&answer).iter().all(|(_, error)| error.is_none()));
    let ids: Vec<_> = chain.iter().map(|pdu| pdu.event_id().to_owned()).collect();
    let synced = stage.synced().await;
    assert_eq!(synced[synced.len() - 30..], ids);
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
    assert_eq!(stage.asked(), Vec::<String>::new(), "nothing had to be fetched");
}

#[tokio::test(start_paused = true)]
async fn one_bad_event_spoils_no_other() {
    let stage = Stage::new().await;
    let good = [stage.says("one", None), stage.says("two", None), stage.says("three", None)];
    let bad = |change: &dyn Fn(&mut Value)| {
        let mut bad = as_json(&stage.says("bad", None));
        change(&mut bad);
        bad
    };
    let pdus = [
        json!(null),
        bad(&|pdu| pdu["depth"] = json!(-1)),
        as_json(&good[0]),
        bad(&|pdu| pdu["content"]["float"] = json!(1.5)),
        bad(&|pdu| pdu["room_id"] = json!("!unknown")),
        bad(&|pdu| pdu["type"] = json!("x".repeat(256))),
        as_json(&good[1]),
        bad(&|pdu| drop(pdu["signatures"]["p.q"].take())),
        bad(&|pdu| pdu["prev_events"] = json!(vec!["$a"; 21])),
        json!({"room_id": 5}),
        as_json(&good[2]),
    ];
    let answer = stage.put("1", &transaction(&pdus, &[])).await.ok();
    rest().await;
    let errors = errors(&answer);
    for event in &good {
        assert!(stage.is_seen(event).await);
        assert!(errors.contains(&(event.event_id().to_string(), None)), "{errors:?}");
    }
    let reasons: Vec<&str> = errors.iter().filter_map(|(_, error)| error.as_deref()).collect();
    assert_eq!(reasons.len(), 6, "those that are objects are told of: {errors:?}");
    assert!(reasons.contains(&"the room is not known here"));
    // The one whose signature is missing was thrown away later.
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_transaction_is_refused() {
    let stage = Stage::new().await;
    let of_other = json!({"origin": "c.d", "origin_server_ts": 0, "pdus": []});
    stage.put("1", &of_other).await.refused(400, "M_INVALID_PARAM");
    let event = as_json(&stage.says("x", None));
    stage.put("2", &transaction(&vec![event.clone(); 51], &[])).await.refused(400, "M_INVALID_PARAM");
    let edu = json!({"edu_type": "m.x", "content": {}});
    stage.put("3", &transaction(&[], &vec![edu.clone(); 101])).await.refused(400, "M_INVALID_PARAM");
    stage.put("4", &json!({"origin": "p.q", "pdus": {}})).await.refused(400, "M_BAD_JSON");
    stage.put("5", &transaction(&[], &vec![edu; 100])).await.ok();
    let target = "/_matrix/federation/v1/send/6";
    let unsigned = stage.scene.server.request(Method::PUT, target).json(&transaction(&[], &[])).send().await;
    unsigned.refused(401, "M_UNAUTHORIZED");
    assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_the_room_keeps_out_sends_nothing_there() {
    let stage = Stage::new().await;
    let before = stage.says("before", None);
    stage.send("1", &[&before]).await;
    stage.scene.sets("m.room.server_acl", "", json!({"allow": ["*"], "deny": ["P.q"]})).await;
    let after = stage.says("after", None);
    let answer = stage.send("2", &[&after]).await;
    let why = "the room's access control list does not let your server in";
    assert_eq!(errors(&answer), [(after.event_id().to_string(), Some(why.to_owned()))]);
    assert!(stage.is_seen(&before).await && !stage.is_seen(&after).await);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_we_left_takes_nothing() {
    let stage = Stage::new().await;
    let room = super::super::reads::encoded(stage.scene.room.as_str());
    stage.scene.server.post(&format!("/v3/rooms/{room}/leave")).by(&stage.scene.alice).send().await.ok();
    let event = stage.says("hello?", None);
    let answer = stage.send("1", &[&event]).await;
    let why = "this server is not in the room";
    assert_eq!(errors(&answer), [(event.event_id().to_string(), Some(why.to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn the_same_transaction_is_answered_from_the_record() {
    let stage = Stage::new().await;
    let (one, other) = (stage.says("one", None), stage.says("other", None));
    let (first, again) = {
        let body = transaction(&[as_json(&one)], &[]);
        let (first, again) = tokio::join!(stage.put("t", &body), stage.put("t", &body));
        (first.ok(), again.ok())
    };
    assert_eq!(first, again);
    // Another body under the same id is not looked at, also after a restart.
    assert_eq!(stage.send("t", &[&other]).await, first);
    let Stage { scene, respond } = stage;
    let scene = super::Scene { server: scene.server.restart().await, ..scene };
    let stage = Stage { scene, respond };
    assert_eq!(stage.send("t", &[&other]).await, first);
    assert!(stage.is_seen(&one).await && !stage.is_seen(&other).await);
    // Another server has ids of its own; and after a day all is forgotten.
    tokio::time::sleep(Duration::from_hours(26)).await;
    assert_eq!(errors(&stage.send("t", &[&other]).await), [(other.event_id().to_string(), None)]);
    assert!(stage.is_seen(&other).await);
}

/// Whatever write fails: what was acknowledged is judged in the end, once.
#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_every_crash() {
    for good in 0.. {
        let stage = Stage::new().await;
        let chain = stage.chain(3);
        let pdus: Vec<Value> = chain.iter().map(as_json).collect();
        stage.scene.server.fail_after(good, Fault::Refused);
        let target = "/_matrix/federation/v1/send/t";
        let body = transaction(&pdus, &[]);
        let header = stage.header(target, &body);
        let request = stage.scene.server.request(Method::PUT, target).header("authorization", &header);
        let answer = request.json(&body).send_anyhow().await;
        rest().await;
        let has_failed = stage.scene.server.has_failed();
        let Stage { scene, respond } = stage;
        let scene = super::Scene { server: scene.server.power_cut(), ..scene };
        let stage = Stage { scene, respond };
        rest().await;
        for event in &chain {
            assert_eq!(stage.is_seen(event).await, answer.status == 200, "{good}");
        }
        assert_eq!(stage.scene.server.app().inbox.staged(), (0, 0), "{good}");
        if !has_failed {
            assert!(good > 2 && answer.status == 200, "several writes were tried");
            return;
        }
    }
}

/// An event that its server has signed, so it says, by a key that nobody gives.
fn by_a_silent_server(event: &Pdu) -> Value {
    let mut event = as_json(event);
    event["sender"] = json!("@x:black.silent");
    event["signatures"] = json!({"black.silent": {"ed25519:k": "c2lnbmF0dXJl"}});
    event
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_gives_hold_up_only_who_sends_such_events() {
    let stage = Stage::new().await;
    let waiting: Vec<Value> = (0..3).map(|at| by_a_silent_server(&stage.says(&at.to_string(), None))).collect();
    stage.put("1", &transaction(&waiting, &[])).await.ok();
    let before = tokio::time::Instant::now();
    // Whoever is here is not held up.
    stage.scene.says("of ours").await;
    let good = stage.says("good", None);
    stage.put("2", &transaction(&[as_json(&good)], &[])).await.ok();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(stage.scene.server.app().inbox.staged().0, 4, "what the same server sent waits for its keys");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(stage.is_seen(&good).await);
    assert_eq!(stage.scene.server.app().inbox.staged().0, 3, "those are tried again");
    tokio::time::sleep(Duration::from_secs(3 * 60 * 60)).await;
    assert_eq!(stage.scene.server.app().inbox.staged().0, 0, "but not for ever");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_in_the_room_sends_only_what_its_own_users_do() {
    let stage = Stage::new().await;
    let bob = stage.scene.user("bob").to_string();
    let leave = stage.event("m.room.member", Some(&bob), json!({"membership": "leave"}), None);
    stage.send("1", &[&leave]).await;
    let of_other = by_a_silent_server(&stage.says("x", None));
    let join = stage.event("m.room.member", Some(&bob), json!({"membership": "join"}), None);
    let answer = stage.put("2", &transaction(&[of_other, as_json(&join)], &[])).await.ok();
    rest().await;
    let reasons: Vec<_> = errors(&answer).into_iter().map(|(_, error)| error).collect();
    assert!(
        reasons.contains(&Some("your server is not in the room".to_owned())) && reasons.contains(&None),
        "{reasons:?}"
    );
    assert!(stage.is_seen(&join).await);
    assert_eq!(stage.scene.server.app().inbox.staged().0, 0);
}
