//! Who gets an event: whoever is in the room then, and who is removed by it.

use serde_json::json;

use super::{
    SECOND,
    receiver::{House, Mode},
    settle,
};

fn bodies(house: &House, name: &str) -> Vec<String> {
    let text = |event: &serde_json::Value| match event["content"]["membership"].as_str() {
        Some(membership) => format!("{membership} {}", event["state_key"].as_str().unwrap()),
        None => event["content"]["body"].as_str().unwrap_or_default().to_owned(),
    };
    house.receiver(name).events().iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn who_joins_gets_what_comes_later() {
    let mut house = House::with(&["there"]).await;
    house.open("late");
    house.say("before").await;
    house.join("late").await;
    house.say("after").await;
    settle().await;
    assert_eq!(bodies(&house, "late"), ["after"]);
    assert_eq!(bodies(&house, "there"), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_kick_reaches_the_removed_server_and_nothing_after_it_does() {
    for what in ["kick", "ban"] {
        let house = House::with(&["there", "stays"]).await;
        house.say("before").await;
        house.change(what, "@user:there").await;
        house.say("after").await;
        settle().await;
        let removed = if what == "ban" { "ban @user:there" } else { "leave @user:there" };
        assert_eq!(bodies(&house, "there"), ["before", removed], "{what}");
        assert_eq!(bodies(&house, "stays"), ["before", removed, "after"], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_while_away_learns_of_it_later() {
    let house = House::configured("[federation]\nfirst_retry = \"10s\"", &["there"]).await;
    house.receiver("there").set(Mode::Status(500));
    house.say("before").await;
    house.change("kick", "@user:there").await;
    house.say("after").await;
    settle().await;
    let house = house.restarted().await;
    house.receiver("there").set(Mode::Take);
    tokio::time::sleep(60 * SECOND).await;
    let missed = ["before", "leave @user:there"];
    assert_eq!(bodies(&house, "there"), missed, "it may not ask for what is before the kick");
    house.say("long after").await;
    settle().await;
    assert_eq!(bodies(&house, "there"), missed);
}

#[tokio::test(start_paused = true)]
async fn in_one_commit_as_well() {
    use myelin::graph::Proposal;
    use ruma::{canonical_json::try_from_json_map, user_id};
    let house = House::with(&["there"]).await;
    let content = |value: serde_json::Value| try_from_json_map(value.as_object().unwrap().clone()).unwrap();
    let alice = user_id!("@alice:here.org").to_owned();
    let say = |text: &str| {
        Proposal::message(alice.clone(), "m.room.message", content(json!({"body": text, "msgtype": "m.text"})))
    };
    let kick = Proposal::state(alice.clone(), "m.room.member", "@user:there", content(json!({"membership": "leave"})));
    let events = vec![say("before"), kick, say("after")];
    house.server.app().graph.send(house.room, events).await.unwrap();
    settle().await;
    assert_eq!(bodies(&house, "there"), ["before", "leave @user:there"]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_by_itself_and_comes_back_gets_what_it_may() {
    let house = House::with(&["there"]).await;
    house.say("one").await;
    settle().await;
    house.leave("there").await;
    house.say("without them").await;
    settle().await;
    house.join("there").await;
    house.say("two").await;
    settle().await;
    assert_eq!(bodies(&house, "there"), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_back_before_its_kick_was_told_learns_of_it() {
    let house = House::with(&["there"]).await;
    house.receiver("there").set(Mode::Never);
    house.change("kick", "@user:there").await;
    house.join("there").await;
    // What was not acknowledged is looked at again, when the server is in the room since a later commit.
    let house = house.crashed();
    house.receiver("there").set(Mode::Take);
    house.say("after").await;
    settle().await;
    assert_eq!(bodies(&house, "there"), ["leave @user:there", "after"]);
}

#[tokio::test(start_paused = true)]
async fn an_invite_that_is_taken_back_is_told_to_whoever_was_invited() {
    let mut house = House::with(&["there"]).await;
    let guest = house.open("guest");
    house.sets_member("@user:guest", "invite").await;
    settle().await;
    assert_eq!(guest.tried(), 0, "invites go another way");
    house.sets_member("@user:guest", "leave").await;
    house.say("not for them").await;
    settle().await;
    assert_eq!(bodies(&house, "guest"), ["leave @user:guest"]);
}

#[tokio::test(start_paused = true)]
async fn the_access_control_list_says_who_may_send_not_who_is_sent_to() {
    let house = House::with(&["there"]).await;
    let path = format!("/v3/rooms/{}/state/m.room.server_acl", house.room_id);
    let body = json!({"allow": ["*"], "deny": ["there"], "allow_ip_literals": true});
    house.server.put(&path).by(&house.alice).json(&body).send().await.ok();
    house.say("after").await;
    settle().await;
    assert_eq!(house.receiver("there").events().len(), 2);
}
