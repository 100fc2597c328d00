//! Who sees what: random histories of a room, against a small model of the specification's rules.

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{
    api::Api,
    rooms::{path, segment},
};

/// What may happen in a room in which Alice is the creator and Bob comes and goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Message,
    Set(&'static str),
    Invite,
    Join,
    Leave,
    Kick,
    Ban,
    Unban,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Message),
        1 => Just(Step::Set("world_readable")),
        1 => Just(Step::Set("shared")),
        1 => Just(Step::Set("invited")),
        1 => Just(Step::Set("joined")),
        2 => Just(Step::Invite),
        3 => Just(Step::Join),
        1 => Just(Step::Leave),
        1 => Just(Step::Kick),
        1 => Just(Step::Ban),
        1 => Just(Step::Unban),
    ];
    prop::collection::vec(step, 1..14)
}

/// One event of the room as the model knows it: what held for Bob before and after it.
struct Known {
    id: String,
    before: (&'static str, &'static str),
    after: (&'static str, &'static str),
}

struct Story {
    events: Vec<Known>,
    setting: &'static str,
    bob: &'static str,
}

impl Story {
    fn note(&mut self, id: String, setting: &'static str, bob: &'static str) {
        let before = (self.setting, self.bob);
        (self.setting, self.bob) = (setting, bob);
        self.events.push(Known { id, before, after: (setting, bob) });
    }

    /// Whether Bob sees the event at `at`, by the five rules.
    fn sees(&self, at: usize) -> bool {
        let joins_later = self.events[at + 1..].iter().any(|event| event.before.1 != "join" && event.after.1 == "join");
        let event = &self.events[at];
        [event.before, event.after].into_iter().any(|(setting, bob)| {
            setting == "world_readable"
                || bob == "join"
                || (setting == "shared" && joins_later)
                || (setting == "invited" && bob == "invite")
        })
    }

    /// Whether Bob may ask for the room's history at all: he is or was in it, or anybody may.
    fn may_ask(&self) -> bool {
        self.setting == "world_readable" || self.events.iter().any(|event| event.after.1 == "join")
    }
}

async fn tell(api: &Api, (alice, bob): (&str, &str), room: &str, steps: &[Step]) -> Story {
    let mut story = Story { events: Vec::new(), setting: "shared", bob: "leave" };
    let user = json!({"user_id": "@bob:localhost"});
    for step in steps {
        let (setting, now) = (story.setting, story.bob);
        let (answer, setting, bob) = match step {
            Step::Message => {
                let id = api.say(alice, room, "x").await;
                story.note(id, setting, now);
                continue;
            }
            Step::Set(setting) if *setting == story.setting => continue,
            Step::Set(setting) => {
                let content = json!({ "history_visibility": setting });
                let id = api.set_state(alice, room, "m.room.history_visibility", content).await;
                story.note(id, setting, now);
                continue;
            }
            Step::Invite => (api.post(&path(room, "invite"), alice, user.clone()).await, setting, "invite"),
            Step::Join if now == "join" => continue,
            Step::Join => (api.post(&path(room, "join"), bob, json!({})).await, setting, "join"),
            Step::Leave if now == "leave" => continue,
            Step::Leave => (api.post(&path(room, "leave"), bob, json!({})).await, setting, "leave"),
            Step::Kick => (api.post(&path(room, "kick"), alice, user.clone()).await, setting, "leave"),
            Step::Ban => (api.post(&path(room, "ban"), alice, user.clone()).await, setting, "ban"),
            Step::Unban => (api.post(&path(room, "unban"), alice, user.clone()).await, setting, "leave"),
        };
        if answer.status == 200 {
            let target = path(room, "state/m.room.member/@bob:localhost?format=event");
            let id = api.get(&target, alice).await.ok()["event_id"].as_str().unwrap().to_owned();
            story.note(id, setting, bob);
        }
    }
    story
}

#[test]
fn what_is_seen_is_what_the_specification_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(check(&steps));
            Ok(())
        })
        .unwrap();
}

async fn check(steps: &[Step]) {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let request = json!({"preset": "public_chat", "room_version": "11"});
    let room = api.create_room(&alice, request).await;
    let story = tell(&api, (&alice, &bob), &room, steps).await;
    let (alice_sees, known) = (api.history(&alice, &room, 'f', "limit=100").await, story.events.len());
    assert_eq!(alice_sees.len(), known + 5, "the room begins with five events");
    for (at, event) in story.events.iter().enumerate() {
        let found = api.get(&path(&room, &format!("event/{}", segment(&event.id))), &bob).await;
        assert_eq!(found.status, if story.sees(at) { 200 } else { 404 }, "event {at} of {steps:?}");
        if found.status == 200 {
            assert_eq!(found.json["unsigned"]["membership"], event.after.1, "event {at} of {steps:?}");
        }
    }
    let first_page = api.get(&path(&room, "messages?dir=f&limit=3"), &bob).await;
    if !story.may_ask() {
        first_page.refused(403, "M_FORBIDDEN");
        return;
    }
    let history = api.history(&bob, &room, 'f', "limit=3").await;
    let told = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let shown: Vec<_> =
        told(&history).into_iter().filter(|id| story.events.iter().any(|event| event.id == *id)).collect();
    let expected: Vec<_> = (0..known).filter(|at| story.sees(*at)).map(|at| story.events[at].id.clone()).collect();
    assert_eq!(shown, expected, "{steps:?}");
    let mut backward = told(&api.history(&bob, &room, 'b', "limit=3").await);
    backward.reverse();
    assert_eq!(backward, told(&history), "{steps:?}");
}

#[tokio::test(start_paused = true)]
async fn anybody_peeks_into_what_is_world_readable() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let open = json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}]);
    let room = api.create_room(&alice, json!({"initial_state": open})).await;
    let message = api.say(&alice, &room, "hello").await;
    assert_eq!(api.event(&bob, &room, &message).await["content"]["body"], "hello");
    api.get(&path(&room, "messages?dir=b"), &bob).await.ok();
    api.get(&path(&room, "state"), &bob).await.ok();
    api.get(&path(&room, "members"), &bob).await.ok();
    api.get(&path(&room, &format!("context/{}", segment(&message))), &bob).await.ok();
    api.put(&path(&room, "send/m.room.message/1"), &bob, json!({})).await.refused(403, "M_FORBIDDEN");
    api.set_state(&alice, &room, "m.room.history_visibility", json!({"history_visibility": "shared"})).await;
    let later = api.say(&alice, &room, "not for all").await;
    api.get(&path(&room, &format!("event/{}", segment(&later))), &bob).await.refused(404, "M_NOT_FOUND");
    assert_eq!(api.event(&bob, &room, &message).await["content"]["body"], "hello");
    api.get(&path(&room, "messages?dir=b"), &bob).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn a_peek_shows_the_room_at_once() {
    let api = Api::open();
    let (alice, bob) = (api.register("alice").await, api.register("bob").await);
    let open = json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}]);
    let room = api.create_room(&alice, json!({"initial_state": open, "visibility": "public"})).await;
    for number in 0..5 {
        api.say(&alice, &room, &number.to_string()).await;
    }
    let peek = api.get(&path(&room, "initialSync?limit=3"), &bob).await.ok();
    assert_eq!(super::rooms::bodies(peek["messages"]["chunk"].as_array().unwrap()), ["2", "3", "4"]);
    assert_eq!((&peek["room_id"], &peek["visibility"]), (&json!(room), &json!("public")));
    assert_eq!(peek.get("membership"), None);
    assert_eq!(peek["state"].as_array().unwrap().len(), 5);
    let start = peek["messages"]["start"].as_str().unwrap();
    let back = api.get(&path(&room, &format!("messages?dir=b&limit=2&from={start}")), &bob).await.ok();
    assert_eq!(super::rooms::bodies(back["chunk"].as_array().unwrap()), ["1", "0"]);
    assert_eq!(api.get(&path(&room, "initialSync"), &alice).await.ok()["membership"], "join");
    let closed = api.create_room(&alice, json!({})).await;
    api.get(&path(&closed, "initialSync"), &bob).await.refused(403, "M_FORBIDDEN");
}

#[tokio::test(start_paused = true)]
async fn guests_are_let_in_where_they_may() {
    let api = Api::configured("[registration]\nmode = \"open\"\nguests = true\n");
    let alice = api.register("alice").await;
    let answer = api.anonymous(http::Method::POST, "/v3/register?kind=guest", json!({})).await.ok();
    let guest = super::api::token(&answer);
    let user_id = answer["user_id"].as_str().unwrap();
    let open = json!([{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}]);
    let room = api.create_room(&alice, json!({"preset": "public_chat", "initial_state": open})).await;
    let closed = api.public_room(&alice).await;
    api.post(&path(&closed, "join"), &guest, json!({})).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    let by_state = path(&closed, &format!("state/m.room.member/{user_id}"));
    api.put(&by_state, &guest, json!({"membership": "join"})).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    api.join(&guest, &room).await;
    api.say(&guest, &room, "hello").await;
    api.get(&path(&room, "messages?dir=b"), &guest).await.ok();
    api.post("/v3/createRoom", &guest, json!({})).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    let user = json!({"user_id": "@alice:localhost"});
    for act in ["invite", "kick", "ban", "unban"] {
        api.post(&path(&room, act), &guest, user.clone()).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    api.leave(&guest, &room).await;
}
