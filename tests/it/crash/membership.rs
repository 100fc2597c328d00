//! Joining, leaving, joining again, accepting and declining invites.

use std::collections::BTreeMap;

use myelin::store::engine::faulty::Fault;
use serde_json::{Value, json};

use super::{FAULTS, acknowledged, for_every_write};
use crate::{
    harness::{TestServer, TestUser},
    sync::{create_room, invite, public_room, say, sync},
};

/// The rooms of the story, and how Bob stands in each by what was acknowledged.
struct Story {
    alice: TestUser,
    bob: TestUser,
    /// By room id; nothing where he never was.
    stands: BTreeMap<String, &'static str>,
    /// What was under way when the disk failed.
    unsure: Option<(String, &'static str)>,
}

struct Rooms {
    public: String,
    /// Bob is invited.
    private: String,
    /// Bob is invited.
    declined: String,
    /// Who is in the public room may join.
    restricted: String,
}

async fn prepare(server: &TestServer) -> (Story, Rooms) {
    let (alice, bob) = (server.register_user("alice").await, server.register_user("bob").await);
    let public = public_room(server, &alice).await;
    let private = create_room(server, &alice, json!({"preset": "private_chat"})).await;
    let declined = create_room(server, &alice, json!({"preset": "private_chat"})).await;
    let rule = json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": public}]});
    let state = json!([{"type": "m.room.join_rules", "content": rule}]);
    let restricted = create_room(server, &alice, json!({"initial_state": state})).await;
    invite(server, &alice, &private, &bob).await;
    invite(server, &alice, &declined, &bob).await;
    let stands = [(private.clone(), "invite"), (declined.clone(), "invite")].into();
    (Story { alice, bob, stands, unsure: None }, Rooms { public, private, declined, restricted })
}

impl Story {
    /// Bob joins or leaves; `None` if the disk fails.
    async fn bob(&mut self, server: &TestServer, verb: &str, room: &str) -> Option<()> {
        let becomes = if verb == "join" { "join" } else { "leave" };
        self.unsure = Some((room.to_owned(), becomes));
        let request = server.post(&format!("/v3/rooms/{room}/{verb}")).by(&self.bob).json(&json!({}));
        acknowledged(server, request).await?;
        self.unsure = None;
        self.stands.insert(room.to_owned(), becomes);
        Some(())
    }

    /// How Bob stands, the same from wherever one looks.
    async fn seen(&self, server: &TestServer, room: &str) -> Option<String> {
        let (alice, bob) = (&self.alice, &self.bob);
        let members = server.get(&format!("/v3/rooms/{room}/members")).by(alice).send().await.ok();
        let member = members["chunk"].as_array().unwrap().iter().find(|event| event["state_key"] == bob.user_id);
        let stands = member.map(|event| event["content"]["membership"].as_str().unwrap().to_owned());
        let target = format!("/v3/rooms/{room}/state/m.room.member/{}", bob.user_id);
        let state = server.get(&target).by(alice).send().await;
        assert_eq!(state.json["membership"].as_str(), stands.as_deref());

        let joined = server.get(&format!("/v3/rooms/{room}/joined_members")).by(alice).send().await.ok();
        assert_eq!(joined["joined"].get(&bob.user_id).is_some(), stands.as_deref() == Some("join"));
        let own = server.get("/v3/joined_rooms").by(bob).send().await.ok();
        let is_joined = own["joined_rooms"].as_array().unwrap().iter().any(|id| id == room);
        assert_eq!(is_joined, stands.as_deref() == Some("join"));

        let include_left = crate::sync::filter(&json!({"room": {"include_leave": true}}));
        let own = sync(server, bob, &include_left).await;
        for section in ["join", "invite", "leave"] {
            let is_in = own["rooms"][section].get(room).is_some();
            assert_eq!(is_in, stands.as_deref() == Some(section), "{section}: {own}");
        }
        // The last that the timeline says of him is the same.
        let history = server.get(&format!("/v3/rooms/{room}/messages?dir=b&limit=100")).by(alice).send().await.ok();
        let history = history["chunk"].as_array().unwrap();
        let of_bob = |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == bob.user_id;
        let id = |event: Option<&Value>| event.map(|event| event["event_id"].clone());
        assert_eq!(id(history.iter().find(of_bob)), id(member));
        stands
    }
}

/// Bob's ways in and out of rooms; goes as far as the disk lets it.
async fn live(server: &TestServer, story: &mut Story, rooms: &Rooms) -> Option<()> {
    story.bob(server, "join", &rooms.public).await?;
    story.bob(server, "join", &rooms.restricted).await?;
    story.bob(server, "leave", &rooms.public).await?;
    story.bob(server, "join", &rooms.public).await?;
    story.bob(server, "join", &rooms.private).await?;
    story.bob(server, "leave", &rooms.private).await?;
    story.bob(server, "leave", &rooms.declined).await
}

/// Tells the story on a disk that fails after so many writes. Whether the disk lasted.
async fn tell(writes: usize, fault: Fault) -> bool {
    let server = TestServer::start();
    let (mut story, rooms) = prepare(&server).await;
    server.fail_after(writes, fault);
    let end = live(&server, &mut story, &rooms).await;
    let lasted = !server.has_failed();
    assert!(!lasted || end.is_some());

    let server = server.power_cut();
    for room in [&rooms.public, &rooms.private, &rooms.declined, &rooms.restricted] {
        let seen = story.seen(&server, room).await;
        let acknowledged = story.stands.get(room).copied();
        let unsure = story.unsure.as_ref().filter(|(at, _)| fault == Fault::Applied && at == room);
        let is_right = seen.as_deref() == acknowledged || unsure.is_some_and(|(_, then)| seen.as_deref() == Some(then));
        assert!(is_right, "{fault:?} after {writes} writes: {seen:?}, not {acknowledged:?} or {unsure:?}");
    }
    // And on from there.
    for room in [&rooms.public, &rooms.restricted] {
        server.post(&format!("/v3/join/{room}")).by(&story.bob).json(&json!({})).send().await.ok();
        assert_eq!(story.seen(&server, room).await.as_deref(), Some("join"));
        say(&server, &story.bob, room, "here again").await;
    }
    lasted
}

#[tokio::test(start_paused = true)]
async fn whoever_joined_or_left_has_and_nobody_else() {
    for fault in FAULTS {
        let writes = for_every_write(fault, async |writes| tell(writes, fault).await).await;
        assert!(writes >= 7, "each of the story's steps is a write");
    }
}
