//! What an answer means: taken, refused for good, later, or no answer of a Matrix server at all.

use serde_json::json;

use super::{
    SECOND,
    receiver::{House, Mode},
    settle,
};

const RETRY: &str = "[federation]\nfirst_retry = \"10s\"\nlongest_retry = \"1h\"";

async fn house() -> House {
    House::configured(RETRY, &["there"]).await
}

fn bodies(house: &House) -> Vec<String> {
    let events = house.receiver("there").events();
    events.iter().map(|event| event["content"]["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_read_only_so_far_and_counts() {
    let house = house().await;
    let there = house.receiver("there");
    let long = json!({"pdus": {"$e": {"error": "x".repeat(1 << 20)}}}).to_string();
    there.set(Mode::Raw(200, long));
    house.say("hello").await;
    settle().await;
    let attempts = there.attempts();
    assert_eq!((attempts.len(), house.numbers().failing, house.numbers().arrived), (1, 0, 1));
    assert!(attempts[0].most_bytes <= 64 << 10, "{} bytes of an answer are read", attempts[0].most_bytes);
    // What is long and no answer of a Matrix server is none.
    there.set(Mode::Raw(200, format!("<html>{}", "x".repeat(1 << 20))));
    house.say("hello again").await;
    settle().await;
    assert_eq!(house.numbers().failing, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_something_else_than_a_matrix_server_discards_nothing() {
    let html = "<html>The plain HTTP request was sent to HTTPS port</html>";
    for (status, body) in [(400, html), (410, "{}"), (421, html), (425, html), (422, "{\"errcode\":\"M_X\"}")] {
        let house = house().await;
        let there = house.receiver("there");
        there.set(Mode::Raw(status, body.to_owned()));
        house.say("one").await;
        let last = house.say("two").await;
        settle().await;
        assert_eq!((there.tried(), house.numbers().failing), (1, 1), "{status} {body}");
        there.set(Mode::Take);
        tokio::time::sleep(30 * SECOND).await;
        assert_eq!(there.event_ids().last(), Some(&last), "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_for_a_proxy_comes_in_parts() {
    let house = house().await;
    let there = house.receiver("there");
    there.set(Mode::After(5 * SECOND));
    let first = house.say("first").await;
    settle().await;
    let mut ids = house.say_all(1..=40).await;
    ids.insert(0, first);
    there.set(Mode::AtMost(10_000));
    tokio::time::sleep(7 * SECOND).await;
    assert_eq!((there.event_ids(), house.numbers().failing), (ids, 0));
}

#[tokio::test(start_paused = true)]
async fn who_refuses_everything_does_not_answer() {
    let house = house().await;
    let there = house.receiver("there");
    there.set(Mode::After(5 * SECOND));
    house.say("first").await;
    settle().await;
    house.say_all(1..=60).await;
    let last = house.say("last").await;
    there.set(Mode::Status(400));
    there.tried();
    tokio::time::sleep(7 * SECOND).await;
    let tried = there.tried();
    assert!(tried <= 10, "{tried} requests at once to a server that wants nothing");
    assert_eq!(house.numbers().failing, 1);
    there.set(Mode::Take);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(there.event_ids().last(), Some(&last), "nothing is given up for good");
}

#[tokio::test(start_paused = true)]
async fn after_an_absence_a_refused_event_costs_only_itself() {
    let mut house = house().await;
    house.receiver("there").set(Mode::Status(500));
    house.say("lost").await;
    settle().await;
    for text in ["good 1", "poison", "good 2", "good 3"] {
        house.another_room(&["there"]).await;
        house.say(text).await;
    }
    house.receiver("there").set(Mode::Refuse("poison"));
    tokio::time::sleep(60 * SECOND).await;
    let mut taken = bodies(&house);
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken, ["good 1", "good 2", "good 3", "lost"]);
    assert_eq!((house.numbers().failing, house.numbers().active), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_says_later_is_asked_then_and_gets_all() {
    let house = house().await;
    let there = house.receiver("there");
    there.set(Mode::Busy(20_000));
    let ids = house.say_all(1..=5).await;
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!((there.tried(), house.numbers().failing, house.numbers().waiting), (1, 0, 5));
    there.set(Mode::Take);
    tokio::time::sleep(8 * SECOND).await;
    assert_eq!(there.event_ids(), ids, "each of them, not only the last");
    let (first, second) = (&there.attempts()[0], &there.attempts()[1]);
    assert_eq!((&first.id, first.events()), (&second.id, second.events()), "as it was refused");
}

#[tokio::test(start_paused = true)]
async fn who_says_later_for_ever_does_not_answer() {
    let house = house().await;
    let there = house.receiver("there");
    // An eternity.
    there.set(Mode::Busy(u64::MAX));
    house.say("hello").await;
    tokio::time::sleep(20 * 60 * SECOND).await;
    assert_eq!(house.numbers().failing, 1, "the log is not kept for it");
    let last = house.say("last").await;
    there.set(Mode::Take);
    tokio::time::sleep(2 * 3_600 * SECOND).await;
    assert_eq!(there.event_ids().last(), Some(&last));
}

#[tokio::test(start_paused = true)]
async fn a_panic_on_the_way_is_a_failure() {
    let house = house().await;
    let there = house.receiver("there");
    there.set(Mode::Panic);
    house.say("hello").await;
    settle().await;
    assert_eq!((there.tried(), house.numbers().failing, house.numbers().on_the_way), (1, 1, 0));
    there.set(Mode::Take);
    let last = house.say("last").await;
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(there.event_ids().last(), Some(&last));
}
