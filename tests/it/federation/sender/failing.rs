//! Servers that do not answer.

use super::{
    SECOND,
    receiver::{House, Mode},
    settle,
};

const RETRY: &str = "[federation]\nfirst_retry = \"10s\"\nlongest_retry = \"1h\"";

async fn house() -> House {
    House::configured(RETRY, &["there"]).await
}

#[tokio::test(start_paused = true)]
async fn who_was_away_gets_what_it_did_not_answer_the_last_event_of_each_room_and_then_all() {
    for mode in [Mode::Status(500), Mode::Status(401), Mode::Garbage, Mode::Never] {
        let house = house().await;
        let there = house.receiver("there");
        there.set(mode.clone());
        let unanswered = house.say("unanswered").await;
        tokio::time::sleep(31 * SECOND).await;
        house.say_all(1..=30).await;
        let last = house.say("the last").await;
        settle().await;
        assert_eq!(house.numbers().failing, 1, "{mode:?}");
        there.set(Mode::Take);
        there.tried();
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(there.event_ids(), [&*unanswered, &*last], "{mode:?}");
        let next = house.say("next").await;
        settle().await;
        assert_eq!(there.event_ids(), [unanswered, last, next], "{mode:?}");
        assert_eq!((house.numbers().failing, house.numbers().active), (0, 0), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_tried_ever_more_rarely() {
    let house = house().await;
    let there = house.receiver("there");
    there.set(Mode::Status(502));
    house.say("hello").await;
    for (minutes, least, most) in [(1, 2, 4), (10, 3, 7), (240, 4, 10)] {
        tokio::time::sleep(60 * minutes * SECOND).await;
        house.say("are you there").await;
        let tried = there.tried();
        assert!((least..=most).contains(&tried), "{tried} times in {minutes} minutes");
    }
    assert_eq!(house.numbers().waiting, 0, "nothing is queued for it");
}

#[tokio::test(start_paused = true)]
async fn pauses_outlive_a_restart() {
    let house = house().await;
    house.receiver("there").set(Mode::Status(500));
    let first = house.say("hello").await;
    // At about 0, 10, 30, 70, 150, 310, 630 s.
    tokio::time::sleep(700 * SECOND).await;
    assert!(house.receiver("there").tried() >= 6);
    let house = house.restarted().await;
    house.receiver("there").set(Mode::Take);
    let last = house.say("still away").await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((house.receiver("there").tried(), house.numbers().failing), (0, 1));
    tokio::time::sleep(1_000 * SECOND).await;
    assert_eq!(house.receiver("there").event_ids(), [first, last]);
    let house = house.restarted().await;
    settle().await;
    assert_eq!(house.numbers().failing, 0, "and is forgotten once it is over");
    assert_eq!(house.receiver("there").event_ids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_sent_after_a_crash() {
    let house = house().await;
    house.receiver("there").set(Mode::Never);
    let ids = house.say_all(1..=3).await;
    tokio::time::sleep(5 * SECOND).await;
    let house = house.crashed();
    house.receiver("there").set(Mode::Take);
    settle().await;
    assert_eq!(house.receiver("there").event_ids(), ids);
    // What was acknowledged is not sent again once the cursor is kept.
    tokio::time::sleep(5 * SECOND).await;
    let house = house.crashed();
    settle().await;
    assert_eq!(house.receiver("there").event_ids(), ids);
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_how_far_it_came() {
    let house = house().await;
    let ids = house.say_all(1..=3).await;
    let house = house.restarted().await;
    settle().await;
    assert_eq!(house.receiver("there").event_ids(), ids, "all of it, and once");
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_ends_the_wait() {
    let house = house().await;
    house.receiver("there").set(Mode::Status(500));
    let first = house.say("hello").await;
    tokio::time::sleep(700 * SECOND).await;
    house.receiver("there").set(Mode::Take);
    house.receiver("there").tried();
    let id = house.say("still there?").await;
    settle().await;
    assert_eq!(house.receiver("there").tried(), 0);
    house.is_asked_by("there").await;
    settle().await;
    assert_eq!(house.receiver("there").event_ids(), [first, id]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_all_the_time_and_takes_nothing_is_not_tried_all_the_time() {
    let house = house().await;
    house.receiver("there").set(Mode::Status(500));
    house.say("hello").await;
    tokio::time::sleep(700 * SECOND).await;
    house.receiver("there").tried();
    for _ in 0..60 {
        house.is_asked_by("there").await;
        settle().await;
    }
    let tried = house.receiver("there").tried();
    assert!((3..=7).contains(&tried), "{tried} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn one_event_that_is_refused_does_not_hold_up_the_others() {
    let house = house().await;
    house.receiver("there").set(Mode::After(5 * SECOND));
    house.say("first").await;
    settle().await;
    house.say_all(1..=20).await;
    house.say("poison").await;
    let last = house.say("behind it").await;
    house.receiver("there").set(Mode::Refuse("poison"));
    tokio::time::sleep(10 * SECOND).await;
    let taken = house.receiver("there").events();
    assert_eq!(taken.len(), 22, "all but one");
    assert_eq!(house.receiver("there").event_ids().last(), Some(&last));
    assert!(!taken.iter().any(|event| event["content"]["body"] == "poison"));
    assert_eq!(house.numbers().failing, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_brought_up_to_date_instead() {
    let house = house().await;
    house.receiver("there").set(Mode::After(20 * SECOND));
    house.say("first").await;
    settle().await;
    let path = format!("/v3/rooms/{}/send/m.room.message/", house.room_id);
    for number in 0..1_100 {
        let body = serde_json::json!({"body": number.to_string(), "msgtype": "m.text"});
        house.server.put(&format!("{path}{number}")).by(&house.alice).json(&body).send().await.ok();
    }
    let last = house.say("the last").await;
    tokio::time::sleep(100 * SECOND).await;
    let ids = house.receiver("there").event_ids();
    assert_eq!((ids.len(), ids.last()), (2, Some(&last)));
    assert_eq!(house.numbers().waiting, 0);
}
