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

/// Federation was off for so long that the log does not say any more what others have missed.
#[tokio::test(start_paused = true)]
async fn what_the_log_has_forgotten_is_made_good_by_the_last_events() {
    let house = House::configured(RETRY, &["there", "away", "gone"]).await;
    house.receiver("away").set(Mode::Status(500));
    let before = house.say("before").await;
    house.leave("gone").await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(house.receiver("there").event_ids(), std::slice::from_ref(&before));
    let (taken, failing) = (house.receiver("gone").event_ids(), house.numbers().failing);
    assert_eq!((taken.len(), failing), (1, 1));

    let house = house.reconfigured("[federation]\nenabled = false").await;
    house.say("unheard").await;
    let last = house.say("the last").await;
    tokio::time::sleep(9 * 86_400 * SECOND).await;
    let house = house.reconfigured(RETRY).await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(house.receiver("there").event_ids(), [&*before, &*last], "it asks for what lies between");
    assert_eq!(house.receiver("gone").event_ids(), taken, "nothing is for who is not in the room");

    // Who did not answer before is still tried when its time has come, and lacks what it lacked.
    house.receiver("away").set(Mode::Take);
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(house.receiver("away").event_ids(), [before, last], "what it has not answered comes first");
    assert_eq!((house.numbers().failing, house.numbers().active), (0, 0), "all is made good");
    let next = house.say("next").await;
    settle().await;
    for name in ["there", "away"] {
        assert_eq!(house.receiver(name).event_ids().last(), Some(&next), "{name}");
    }
    let count = house.receiver("there").event_ids().len();
    let house = house.restarted().await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(house.receiver("there").event_ids().len(), count, "and only once");
}

/// What a server that does not answer costs: a row, and a time at which it is tried again.
#[tokio::test(start_paused = true)]
async fn dead_servers_cost_a_row_and_a_timer_each() {
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (dead, alone) = (House::configured(RETRY, &names).await, House::configured(RETRY, &[]).await);
    dead.receivers().for_each(|receiver| receiver.set(Mode::Status(502)));
    for house in [&dead, &alone] {
        house.say("hello").await;
        settle().await;
    }
    let numbers = dead.numbers();
    assert_eq!((numbers.failing, numbers.timers, numbers.active, numbers.on_the_way), (200, 200, 0, 0));
    dead.receivers().for_each(|receiver| assert_eq!(receiver.tried(), 1));

    let mut reads = Vec::new();
    for house in [&dead, &alone] {
        let before = house.server.waves();
        house.say_all(1..=30).await;
        tokio::task::yield_now().await;
        reads.push(house.server.waves() - before);
    }
    assert_eq!(reads[0], reads[1], "a send reads the same, however many do not answer");
    let numbers = dead.numbers();
    assert_eq!((numbers.failing, numbers.timers, numbers.waiting), (200, 200, 0), "nothing grows");
    assert!(dead.receivers().all(|receiver| receiver.tried() == 0), "and nobody is tried for it");
    // Each try, and that of ever fewer.
    let before = dead.server.waves();
    tokio::time::sleep(3_600 * SECOND).await;
    let tries: usize = dead.receivers().map(|receiver| receiver.tried()).sum();
    assert!((200 * 6..=200 * 10).contains(&tries), "{tries} in the first hour");
    let reads = dead.server.waves() - before;
    assert!(reads <= 8 * tries as u64 + 200, "{reads} reads for {tries} tries");
    assert_eq!(dead.numbers().timers, 200);
    let dead = dead.crashed();
    settle().await;
    assert_eq!((dead.numbers().failing, dead.numbers().timers), (200, 200), "each has its row");
}

#[tokio::test(start_paused = true)]
async fn a_send_reads_the_same_however_many_servers_hear_of_it() {
    let mut reads = Vec::new();
    for count in [0, 1, 150] {
        let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
        let house = House::with(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        house.receivers().for_each(|receiver| receiver.set(Mode::Never));
        house.say("warm").await;
        settle().await;
        let before = house.server.waves();
        house.say_all(1..=20).await;
        settle().await;
        reads.push(house.server.waves() - before);
        assert_eq!(house.numbers().waiting, 21 * count, "each for each");
    }
    assert!(reads.iter().all(|count| *count == reads[0]), "{reads:?}");
}
