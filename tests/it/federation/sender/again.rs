//! A transaction without an answer: it is sent again under the same id, and nothing else before (server-server API,
//! `PUT /send`).

use super::{
    SECOND,
    receiver::{House, Mode, Transaction},
    settle,
};

const RETRY: &str = "[federation]\nfirst_retry = \"10s\"\nlongest_retry = \"1h\"";

async fn house() -> House {
    House::configured(RETRY, &["there"]).await
}

fn texts(transaction: &Transaction) -> Vec<String> {
    let text = |event: &serde_json::Value| match event["content"]["membership"].as_str() {
        Some(membership) => format!("{membership} {}", event["state_key"].as_str().unwrap()),
        None => event["content"]["body"].as_str().unwrap().to_owned(),
    };
    transaction.events().iter().map(text).collect()
}

/// The first `same` attempts are one transaction; what is told after it.
fn after_the_same(house: &House, same: usize) -> Vec<Vec<String>> {
    let attempts = house.receiver("there").attempts();
    let (first, rest) = (&attempts[0], &attempts[same..]);
    for attempt in &attempts[..same] {
        assert_eq!((&attempt.id, &attempt.body), (&first.id, &first.body));
    }
    assert!(rest.iter().all(|other| other.id != first.id), "an id means one transaction");
    rest.iter().map(texts).collect()
}

#[tokio::test(start_paused = true)]
async fn it_is_sent_again_as_it_was_and_then_what_came_later() {
    let house = house().await;
    house.receiver("there").set(Mode::Silent);
    house.say("one").await;
    settle().await;
    house.say("two").await;
    house.say("three").await;
    // The first is over after 30 s, the second after 30 more and a pause of about 10.
    tokio::time::sleep(75 * SECOND).await;
    house.receiver("there").set(Mode::Take);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(after_the_same(&house, 3), [["three"]], "of what came later, what is the last");
    assert_eq!((house.numbers().failing, house.numbers().active), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_twice_under_another_id() {
    let house = house().await;
    house.receiver("there").set(Mode::Silent);
    house.say("one").await;
    tokio::time::sleep(31 * SECOND).await;
    house.receiver("there").set(Mode::Take);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(after_the_same(&house, 2), [[""; 0]; 0]);
    assert_eq!((house.numbers().failing, house.numbers().active), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_crash_keep_its_id() {
    let house = house().await;
    house.receiver("there").set(Mode::Silent);
    house.say("one").await;
    tokio::time::sleep(32 * SECOND).await;
    let house = house.restarted().await;
    house.say("two").await;
    tokio::time::sleep(45 * SECOND).await;
    let house = house.crashed();
    house.receiver("there").set(Mode::Take);
    tokio::time::sleep(120 * SECOND).await;
    let tried = house.receiver("there").attempts().len();
    assert!(tried >= 3, "{tried}");
    assert_eq!(after_the_same(&house, tried - 1), [["two"]]);
}

#[tokio::test(start_paused = true)]
async fn who_lives_again_does_not_wait_for_those_that_do_not() {
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let house = House::configured(RETRY, &names).await;
    house.receivers().for_each(|receiver| receiver.set(Mode::Never));
    house.say("hello").await;
    tokio::time::sleep(31 * SECOND).await;
    house.receivers().for_each(|receiver| assert_eq!(receiver.tried(), 1));
    // All are due again; 64 are tried, for 30 s.
    tokio::time::sleep(14 * SECOND).await;
    assert_eq!((house.numbers().failing, house.numbers().on_the_way), (200, 64));
    let waits = names.iter().find(|name| house.receiver(name).tried() == 0).unwrap();
    house.receiver(waits).set(Mode::Take);
    house.is_asked_by(waits).await;
    settle().await;
    assert_eq!(house.receiver(waits).event_ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn that_an_invite_is_taken_back_is_told_whenever_its_server_is_back() {
    let mut house = House::configured(RETRY, &["there"]).await;
    let guest = house.open("guest");
    for user in ["@one:guest", "@two:guest", "@three:guest"] {
        house.sets_member(user, "invite").await;
    }
    guest.set(Mode::Status(500));
    house.sets_member("@one:guest", "leave").await;
    settle().await;
    assert_eq!(house.numbers().failing, 1);
    house.sets_member("@two:guest", "leave").await;
    settle().await;
    let house = house.crashed();
    house.sets_member("@three:guest", "leave").await;
    house.say("not for them").await;
    settle().await;
    let house = house.restarted().await;
    house.receiver("guest").set(Mode::Take);
    tokio::time::sleep(120 * SECOND).await;
    let told: Vec<String> = house.receiver("guest").transactions().iter().flat_map(texts).collect();
    assert_eq!(told, ["leave @one:guest", "leave @two:guest", "leave @three:guest"]);
    assert_eq!((house.numbers().failing, house.numbers().active), (0, 0));
    // And is not told again.
    let house = house.restarted().await;
    settle().await;
    assert_eq!(house.receiver("guest").transactions().iter().flat_map(texts).count(), 3);
}
