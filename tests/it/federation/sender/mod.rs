//! What other servers are sent, when, and what becomes of it when they do not answer.

mod again;
mod answers;
mod failing;
mod membership;
mod news;
mod receiver;

use std::time::Duration;

use serde_json::json;

use self::receiver::{House, Mode};

const SECOND: Duration = Duration::from_secs(1);

/// Lets what is under way happen.
async fn settle() {
    tokio::time::sleep(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn events_arrive_in_order_as_they_are_stored() {
    let house = House::with(&["there"]).await;
    let there = house.receiver("there");
    let ids = house.say_all(1..=120).await;
    settle().await;
    assert_eq!(there.event_ids(), ids);
    let transactions = there.transactions();
    assert!(transactions.iter().all(|one| one.events().len() <= 50), "a transaction has at most 50 events");
    let mut names: Vec<&str> = transactions.iter().map(|one| one.id.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), transactions.len(), "ids of transactions are unique");
    let first = &transactions[0];
    assert_eq!(first.body["origin"], "here.org");
    assert!(first.body["origin_server_ts"].is_u64() && first.body.get("edus").is_none());
    assert_eq!(first.events()[0], house.stored(&ids[0]));
    assert_eq!(house.numbers().events, 120);
}

#[tokio::test(start_paused = true)]
async fn one_transaction_at_a_time_is_on_its_way_to_a_server() {
    let house = House::with(&["slow", "quick"]).await;
    house.receiver("slow").set(Mode::After(10 * SECOND));
    house.say("first").await;
    settle().await;
    let ids = house.say_all(1..=60).await;
    settle().await;
    let (slow, quick) = (house.receiver("slow"), house.receiver("quick"));
    assert_eq!(slow.tried(), 1, "the others wait");
    assert_eq!(quick.event_ids().len(), 61, "nobody waits for the slow one");
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(slow.event_ids()[1..], ids);
    assert_eq!(slow.transactions().iter().map(|one| one.events().len()).collect::<Vec<_>>(), [1, 50, 10]);
}

#[tokio::test(start_paused = true)]
async fn events_of_others_are_not_sent_on() {
    let house = House::with(&["there", "third"]).await;
    house.receive("there", "m.room.message", None, json!({"body": "theirs", "msgtype": "m.text"}), false).await;
    settle().await;
    assert_eq!((house.receiver("there").tried(), house.receiver("third").tried()), (0, 0));
    // What we have countersigned is ours to tell, but not to its own server.
    let content = json!({"body": "countersigned", "msgtype": "m.text"});
    let id = house.receive("there", "m.room.message", None, content, true).await;
    settle().await;
    assert_eq!((house.receiver("there").tried(), house.receiver("third").event_ids()), (0, vec![id]));
}

#[tokio::test(start_paused = true)]
async fn who_says_something_waits_for_nobody() {
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let house = House::with(&names).await;
    house.receivers().for_each(|receiver| receiver.set(Mode::Never));
    let before = tokio::time::Instant::now();
    house.say_all(1..=20).await;
    assert_eq!(tokio::time::Instant::now(), before, "nobody has waited, though nobody answers");
    settle().await;
    assert!(house.receivers().all(|receiver| receiver.tried() == 1));
    tokio::time::sleep(30 * SECOND).await;
    let numbers = house.numbers();
    assert_eq!((numbers.failing, numbers.waiting, numbers.on_the_way), (100, 0, 0), "and nothing is queued");
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_not_talked_with_get_nothing() {
    let house = House::configured("[federation]\ndenied_servers = [\"denied.org\"]", &["denied.org", "there"]).await;
    house.say("hello").await;
    settle().await;
    assert_eq!((house.receiver("denied.org").tried(), house.receiver("there").event_ids().len()), (0, 1));
    assert_eq!(house.numbers().failing, 0);
}
