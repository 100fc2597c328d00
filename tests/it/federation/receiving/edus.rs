//! EDUs of other servers.

use myelin::event::Pdu;
use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::{Stage, rest, transaction};

impl Stage {
    /// What Alice's client is told of the room beside events.
    async fn ephemeral(&self) -> Vec<Value> {
        let answer = self.scene.server.get("/v3/sync").by(&self.scene.alice).send().await.ok();
        let events = answer["rooms"]["join"][self.scene.room.as_str()]["ephemeral"]["events"].clone();
        events.as_array().cloned().unwrap_or_default()
    }

    async fn typing(&self) -> Vec<String> {
        let events = self.ephemeral().await;
        let typing = events.iter().find(|event| event["type"] == "m.typing");
        let users = typing.map(|event| event["content"]["user_ids"].as_array().unwrap().clone()).unwrap_or_default();
        users.iter().map(|user| user.as_str().unwrap().to_owned()).collect()
    }

    async fn edus(&self, txn_id: &str, edus: &[Value]) {
        self.put(txn_id, &transaction(&[], edus)).await.ok();
        rest().await;
    }

    fn typing_edu(&self, user: &str, typing: bool) -> Value {
        json!({
            "edu_type": "m.typing",
            "content": {"room_id": self.scene.room, "user_id": user, "typing": typing},
        })
    }

    fn receipt_edu(&self, user: &str, event_id: &OwnedEventId, data: Value) -> Value {
        let receipt = json!({user: {"event_ids": [event_id], "data": data}});
        json!({"edu_type": "m.receipt", "content": {self.scene.room.as_str(): {"m.read": receipt}}})
    }
}

#[tokio::test(start_paused = true)]
async fn users_of_the_server_that_sends_it_type() {
    let stage = Stage::new().await;
    let odd = [json!({"edu_type": 5}), json!({"edu_type": "m.typing", "content": []}), json!(null)];
    stage.edus("1", &odd).await;
    stage.edus("2", &[stage.typing_edu("@bob:p.q", true)]).await;
    assert_eq!(stage.typing().await, ["@bob:p.q"]);
    stage.edus("3", &[stage.typing_edu("@bob:p.q", false)]).await;
    assert_eq!(stage.typing().await, Vec::<String>::new());
    // Not of others, and not who is not in the room.
    let others = ["@alice:a.b", "@carol:p.q", "@x:c.d"].map(|user| stage.typing_edu(user, true));
    stage.edus("4", &others).await;
    assert_eq!(stage.typing().await, Vec::<String>::new());
    // A notice that is not repeated ends.
    stage.edus("5", &[stage.typing_edu("@bob:p.q", true)]).await;
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    assert_eq!(stage.typing().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn who_goes_types_no_more() {
    let stage = Stage::new().await;
    stage.edus("1", &[stage.typing_edu("@bob:p.q", true)]).await;
    let bob = stage.scene.user("bob").to_string();
    let leave = stage.event("m.room.member", Some(&bob), json!({"membership": "leave"}), None);
    stage.send("2", &[&leave]).await;
    assert_eq!(stage.typing().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn receipts_come_from_the_users_own_server() {
    let stage = Stage::new().await;
    let said = stage.scene.says("hello").await;
    let ts = crate::harness::START - 5;
    stage
        .edus(
            "1",
            &[
                stage.receipt_edu("@alice:a.b", &said, json!({"ts": ts})),
                stage.receipt_edu("@carol:p.q", &said, json!({"ts": ts})),
                stage.receipt_edu("@bob:p.q", &said, json!({"ts": ts, "thread_id": "main"})),
                json!({"edu_type": "m.receipt", "content": {"!x:y": 5, "odd": {}}}),
            ],
        )
        .await;
    let receipts: Vec<Value> =
        stage.ephemeral().await.into_iter().filter(|event| event["type"] == "m.receipt").collect();
    let read = json!({"@bob:p.q": {"ts": ts, "thread_id": "main"}});
    assert_eq!(receipts, [json!({"type": "m.receipt", "content": {said.as_str(): {"m.read": read}}})]);
}

#[tokio::test(start_paused = true)]
async fn what_the_room_keeps_out_is_not_heard() {
    let stage = Stage::new().await;
    let said = stage.scene.says("hello").await;
    stage.scene.sets("m.room.server_acl", "", json!({"allow": ["*"], "deny": ["p.q"]})).await;
    let edus = [stage.typing_edu("@bob:p.q", true), stage.receipt_edu("@bob:p.q", &said, json!({"ts": 5}))];
    stage.edus("1", &edus).await;
    assert_eq!(stage.typing().await, Vec::<String>::new());
    assert!(stage.ephemeral().await.iter().all(|event| event["type"] != "m.receipt"));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_may_come_with_its_event_or_before_it() {
    let stage = Stage::new().await;
    let (first, second) = (stage.says("first", None), stage.says("second", None));
    let receipt = |event: &Pdu, ts: u64| stage.receipt_edu("@bob:p.q", &event.event_id().to_owned(), json!({"ts": ts}));
    let read = async || -> Vec<String> {
        let events = stage.ephemeral().await.into_iter().filter(|event| event["type"] == "m.receipt");
        events.flat_map(|event| event["content"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()).collect()
    };
    stage.put("1", &transaction(&[super::as_json(&first)], &[receipt(&first, 5)])).await.ok();
    rest().await;
    assert_eq!(read().await, [first.event_id().as_str()]);
    stage.edus("2", &[receipt(&second, 6)]).await;
    assert_eq!(read().await, [first.event_id().as_str()], "it waits");
    stage.send("3", &[&second]).await;
    assert_eq!(read().await, [second.event_id().as_str()]);
}
