//! Ephemeral news: who types, who has read.

use myelin::{
    ephemeral::typing,
    rooms::receipts::{self, ReceiptError, ReceiptType, Thread},
    store::Batch,
};
use ruma::{EventId, UserId};
use serde_json::{Value, json};

use super::{
    SECOND,
    receiver::{House, Mode},
    settle,
};

async fn types(house: &House, typing: bool) {
    let path = format!("/v3/rooms/{}/typing/@alice:here.org", house.room_id);
    let body = json!({"typing": typing, "timeout": 60_000});
    house.server.put(&path).by(&house.alice).json(&body).send().await.ok();
}

fn typing_message(house: &House, typing: bool) -> Value {
    json!({"edu_type": "m.typing", "content": {
        "room_id": house.room_id, "user_id": "@alice:here.org", "typing": typing,
    }})
}

#[tokio::test(start_paused = true)]
async fn typing_is_told_repeated_and_ended() {
    let mut house = House::with(&["there"]).await;
    let outside = house.open("outside");
    types(&house, true).await;
    settle().await;
    let there = house.receiver("there");
    assert_eq!(there.news(), [typing_message(&house, true)]);
    tokio::time::sleep(35 * SECOND).await;
    assert_eq!(there.news(), [typing_message(&house, true)], "others forget it after a while");
    types(&house, false).await;
    settle().await;
    assert_eq!(there.news(), [typing_message(&house, false)]);
    types(&house, true).await;
    tokio::time::sleep(typing::LONGEST).await;
    let news = there.news();
    assert_eq!(news.last(), Some(&typing_message(&house, false)), "also when the client says nothing more");
    assert_eq!(outside.tried(), 0);
}

#[tokio::test(start_paused = true)]
async fn typing_of_others_is_not_sent_on() {
    let house = House::with(&["there", "third"]).await;
    house.server.app().typing.start(house.room, ruma::user_id!("@user:there"), 10 * SECOND);
    settle().await;
    assert_eq!((house.receiver("there").tried(), house.receiver("third").tried()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn typing_is_not_kept_for_who_does_not_answer() {
    let house = House::configured("[federation]\nfirst_retry = \"10s\"", &["there"]).await;
    house.receiver("there").set(Mode::Status(500));
    let last = house.say("hello").await;
    settle().await;
    types(&house, true).await;
    settle().await;
    types(&house, false).await;
    house.receiver("there").set(Mode::Take);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!((house.receiver("there").event_ids(), house.receiver("there").news().len()), (vec![last], 0));
}

async fn reads(house: &House, kind: &str, event: &str, thread: Option<&str>) {
    let path = format!("/v3/rooms/{}/receipt/{kind}/{event}", house.room_id);
    let body = thread.map_or(json!({}), |thread| json!({"thread_id": thread}));
    house.server.post(&path).by(&house.alice).json(&body).send().await.ok();
}

fn told(house: &House, news: &[Value]) -> Vec<(String, Option<String>)> {
    let receipts = news.iter().filter(|one| one["edu_type"] == "m.receipt");
    let of = |one: &Value| {
        let user = &one["content"][&house.room_id]["m.read"]["@alice:here.org"];
        assert!(user["data"]["ts"].is_u64(), "{one}");
        let thread = user["data"]["thread_id"].as_str().map(str::to_owned);
        (user["event_ids"][0].as_str().unwrap().to_owned(), thread)
    };
    receipts.map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn public_receipts_are_told_with_their_thread() {
    let mut house = House::with(&["there"]).await;
    let outside = house.open("outside");
    let ids = house.say_all(1..=3).await;
    settle().await;
    let there = house.receiver("there");
    reads(&house, "m.read.private", &ids[2], None).await;
    settle().await;
    assert_eq!(there.news(), [Value::Null; 0], "what is private stays here");
    reads(&house, "m.read", &ids[0], None).await;
    settle().await;
    assert_eq!(told(&house, &there.news()), [(ids[0].clone(), None)]);
    reads(&house, "m.read", &ids[1], Some("main")).await;
    settle().await;
    assert_eq!(told(&house, &there.news()), [(ids[1].clone(), Some("main".to_owned()))]);
    assert_eq!(outside.tried(), 0);
}

#[tokio::test(start_paused = true)]
async fn receipts_that_wait_become_one_and_outlive_an_absence() {
    let house = House::configured("[federation]\nfirst_retry = \"10s\"", &["there"]).await;
    let ids = house.say_all(1..=5).await;
    settle().await;
    let there = house.receiver("there");
    there.set(Mode::Status(503));
    there.tried();
    for id in &ids {
        reads(&house, "m.read", id, None).await;
        settle().await;
    }
    assert_eq!(there.tried(), 1, "who does not answer is not tried for each of them");
    there.set(Mode::Take);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(told(&house, &there.news()), [(ids[4].clone(), None)]);
}

#[tokio::test(start_paused = true)]
async fn receipts_that_come_while_others_are_on_their_way_are_told() {
    let house = House::with(&["there"]).await;
    let ids = house.say_all(1..=3).await;
    settle().await;
    let there = house.receiver("there");
    there.set(Mode::After(10 * SECOND));
    there.tried();
    reads(&house, "m.read", &ids[0], None).await;
    settle().await;
    reads(&house, "m.read", &ids[1], None).await;
    settle().await;
    reads(&house, "m.read", &ids[2], None).await;
    tokio::time::sleep(40 * SECOND).await;
    assert_eq!(told(&house, &there.news()), [(ids[0].clone(), None), (ids[2].clone(), None)]);
    assert_eq!((there.tried(), house.numbers().active), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_learns_no_more_who_reads_and_types() {
    for what in ["kick", "nothing"] {
        let house = House::with(&["there"]).await;
        let there = house.receiver("there");
        there.set(Mode::After(10 * SECOND));
        let id = house.say("hello").await;
        settle().await;
        reads(&house, "m.read", &id, None).await;
        types(&house, true).await;
        settle().await;
        assert_eq!(there.tried(), 1, "news wait");
        if what == "kick" {
            house.change("kick", "@user:there").await;
        }
        tokio::time::sleep(30 * SECOND).await;
        assert_eq!(there.news().len(), if what == "kick" { 0 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_absence_our_receipts_are_told_however_many_others_have_read() {
    let house = House::configured("[federation]\nfirst_retry = \"10s\"", &["there"]).await;
    house.receiver("there").set(Mode::Status(503));
    let id = house.say("hello").await;
    settle().await;
    let (app, room) = (house.server.app(), house.room);
    let (event_id, mut batch) = (EventId::parse(&id).unwrap(), Batch::new());
    app.store
        .read_blocking::<_, ReceiptError>(|view| {
            for number in 0..600 {
                let user = UserId::parse(format!("@user{number}:there")).unwrap();
                let receipt = (ReceiptType::Read, &Thread::Unthreaded, &*event_id, 7);
                assert!(receipts::put(app.graph.reader(), view, &mut batch, (room, &user), receipt)?);
            }
            Ok(())
        })
        .unwrap();
    receipts::record(&mut batch, room);
    app.store.commit(batch).await.unwrap();
    reads(&house, "m.read", &id, None).await;
    house.receiver("there").set(Mode::Take);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(told(&house, &house.receiver("there").news()), [(id, None)]);
}
