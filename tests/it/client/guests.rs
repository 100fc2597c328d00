//! What guests may ask for: nothing but what the specification lists for them, whatever else there is.

use std::collections::BTreeSet;

use http::Method;
use myelin::{rooms::guest_access, store::ReadError};
use serde_json::{Value, json};

use super::{
    api::Api,
    rooms::{path, segment},
};
use crate::harness::{TestServer, token};

/// Client-server API, "Guest access", "Client behaviour"; and logging out, which it forgets. Without version; of what
/// this server has.
const OPEN: [&str; 21] = [
    "GET account/whoami",
    "GET devices",
    "GET devices/{device_id}",
    "GET rooms/{room_id}/context/{event_id}",
    "GET rooms/{room_id}/event/{event_id}",
    "GET rooms/{room_id}/initialSync",
    "GET rooms/{room_id}/members",
    "GET rooms/{room_id}/messages",
    "GET rooms/{room_id}/state",
    "GET rooms/{room_id}/state/{type}",
    "GET rooms/{room_id}/state/{type}/",
    "GET rooms/{room_id}/state/{type}/{key}",
    "GET sync",
    "POST join/{room_id_or_alias}",
    "POST rooms/{room_id}/join",
    "POST rooms/{room_id}/leave",
    "PUT devices/{device_id}",
    "PUT rooms/{room_id}/send/{type}/{txn_id}",
    "PUT rooms/{room_id}/state/{type}",
    "PUT rooms/{room_id}/state/{type}/",
    "PUT rooms/{room_id}/state/{type}/{key}",
];

#[tokio::test(start_paused = true)]
async fn guests_may_what_is_listed_and_nothing_else() {
    let server = TestServer::configured("[registration]\nmode = \"open\"\nguests = true\n");
    let answer = server.post("/v3/register?kind=guest").json(&json!({})).send().await.ok();
    let guest = token(&answer);
    let patterns: Vec<(Method, String)> =
        server.site().routes().patterns().map(|(method, pattern)| (method.clone(), pattern.to_owned())).collect();
    assert!(patterns.len() > 100);
    let (mut open, mut refusals) = (BTreeSet::new(), 0);
    for (method, pattern) in patterns {
        // Ends the session: asked for at the end.
        if pattern.contains("/logout") {
            continue;
        }
        let path: Vec<&str> =
            pattern.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment }).collect();
        let path = path.join("/");
        let request = || server.request(method.clone(), path.clone()).json(&json!({}));
        let answer = request().token(&guest).send().await;
        if answer.json["errcode"] == "M_GUEST_ACCESS_FORBIDDEN" {
            answer.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
            refusals += 1;
        } else if request().send().await.json["errcode"] == "M_MISSING_TOKEN" {
            let rest = pattern.trim_start_matches("/_matrix/client/").split_once('/').map_or("", |(_, rest)| rest);
            open.insert(format!("{method} {rest}"));
        }
    }
    assert!(refusals > 50, "{refusals}");
    assert_eq!(open, OPEN.map(str::to_owned).into());
    server.get("/versions").token(&guest).send().await.ok();
    let refused = ["account/password", "account/deactivate", "createRoom", "rooms/x/invite"];
    for path in refused.map(|path| format!("/v3/{path}")) {
        server.post(&path).token(&guest).json(&json!({})).send().await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    let profile = format!("/v3/profile/{}", answer["user_id"].as_str().unwrap());
    let name = server.put(&format!("{profile}/displayname")).token(&guest).json(&json!({"displayname": "Guest"}));
    name.send().await.ok();
    let avatar = server.put(&format!("{profile}/avatar_url")).token(&guest).json(&json!({"avatar_url": "mxc://a/b"}));
    avatar.send().await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    server.post("/v3/logout").token(&guest).json(&json!({})).send().await.ok();
}

/// A room that lets guests in, by its event `access`, with a guest in it.
struct Open {
    api: Api,
    alice: String,
    guest: String,
    guest_id: String,
    room: String,
    access: String,
}

async fn open() -> Open {
    let api = Api::configured("[registration]\nmode = \"open\"\nguests = true\n");
    let alice = api.register("alice").await;
    let answer = api.anonymous(Method::POST, "/v3/register?kind=guest", json!({})).await.ok();
    let (guest, guest_id) = (token(&answer), answer["user_id"].as_str().unwrap().to_owned());
    let room = api.create_room(&alice, json!({"preset": "public_chat"})).await;
    api.post(&path(&room, "join"), &guest, json!({})).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
    let access = api.set_state(&alice, &room, "m.room.guest_access", json!({"guest_access": "can_join"})).await;
    api.join(&guest, &room).await;
    let bob = api.register("bob").await;
    api.join(&bob, &room).await;
    Open { api, alice, guest, guest_id, room, access }
}

impl Open {
    async fn membership(&self, user_id: &str) -> Value {
        self.api.state(&self.alice, &self.room, &format!("m.room.member/{user_id}")).await["membership"].clone()
    }

    /// Once there is nothing left to do, the guest has left and nobody else has.
    async fn is_closed(&self) {
        settle().await;
        assert_eq!(self.membership(&self.guest_id).await, "leave");
        for user in ["@alice:localhost", "@bob:localhost"] {
            assert_eq!(self.membership(user).await, "join", "{user}");
        }
        self.api.post(&path(&self.room, "join"), &self.guest, json!({})).await.refused(403, "M_GUEST_ACCESS_FORBIDDEN");
        assert_eq!(due(&self.api), 0, "nothing is left to do");
    }
}

/// Lets all tasks go on until they wait for something.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// Rooms in which guests are still to be looked for.
fn due(api: &Api) -> usize {
    let rooms = api.app().store.read_blocking::<_, ReadError>(|view| guest_access::all_due(view, None, 10));
    rooms.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn guests_leave_when_a_room_is_not_for_them_any_more() {
    for content in [json!({"guest_access": "forbidden"}), json!({}), json!({"guest_access": ["can_join"]})] {
        let open = open().await;
        settle().await;
        assert_eq!((open.membership(&open.guest_id).await, due(&open.api)), (json!("join"), 0));
        // What says the same as before, or is another event, changes nothing.
        let same = json!({"guest_access": "can_join", "x": 1});
        open.api.set_state(&open.alice, &open.room, "m.room.guest_access", same).await;
        open.api.set_state(&open.alice, &open.room, "m.room.guest_access/k", json!({})).await;
        settle().await;
        assert_eq!(open.membership(&open.guest_id).await, "join");
        open.api.set_state(&open.alice, &open.room, "m.room.guest_access", content).await;
        open.is_closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn guests_leave_when_what_let_them_in_is_redacted() {
    for by_event in [false, true] {
        let open = open().await;
        if by_event {
            let content = json!({"redacts": open.access});
            open.api.send_event(&open.alice, &open.room, "m.room.redaction", content).await;
        } else {
            let target = path(&open.room, &format!("redact/{}/t", segment(&open.access)));
            open.api.put(&target, &open.alice, json!({})).await.ok();
        }
        open.is_closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn guests_leave_after_a_crash_too() {
    let mut open = open().await;
    settle().await;
    open.api.set_state(&open.alice, &open.room, "m.room.guest_access", json!({"guest_access": "forbidden"})).await;
    // The answer is there, what follows is not.
    assert_eq!((open.membership(&open.guest_id).await, due(&open.api)), (json!("join"), 1));
    open.api = open.api.restart();
    assert_eq!(due(&open.api), 1);
    open.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn all_of_many_guests_leave() {
    let open = open().await;
    for _ in 0..120 {
        let answer = open.api.anonymous(Method::POST, "/v3/register?kind=guest", json!({})).await.ok();
        open.api.join(&token(&answer), &open.room).await;
    }
    open.api.set_state(&open.alice, &open.room, "m.room.guest_access", json!({"guest_access": "forbidden"})).await;
    open.is_closed().await;
    let members = open.api.get(&path(&open.room, "joined_members"), &open.alice).await.ok();
    assert_eq!(members["joined"].as_object().unwrap().len(), 2);
}
