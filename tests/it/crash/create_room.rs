//! Creating rooms.

use std::collections::BTreeSet;

use myelin::store::engine::faulty::Fault;
use serde_json::{Value, json};

use super::{FAULTS, acknowledged, for_every_write};
use crate::{
    harness::{TestServer, TestUser},
    sync::{say, sync},
};

const ALIAS: &str = "%23home:localhost";
/// So many invites that they do not fit into the commit that begins the room.
const MANY: usize = 60;

/// A room with one of everything.
fn furnished(preset: &str, invite: &[&TestUser]) -> Value {
    json!({
        "preset": preset,
        "name": "Home",
        "topic": "sweet",
        "room_alias_name": "home",
        "visibility": "public",
        "is_direct": true,
        "invite": invite.iter().map(|user| &user.user_id).collect::<Vec<_>>(),
        "initial_state": [
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "forbidden"}},
            {"type": "org.example.colour", "state_key": "wall", "content": {"colour": "green"}},
        ],
    })
}

/// Types and keys of the state that a furnished room begins with, without who is invited.
fn furniture(creator: &TestUser) -> BTreeSet<(String, String)> {
    let mut keys: BTreeSet<_> = [
        "m.room.create",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.encryption",
        "m.room.name",
        "m.room.topic",
    ]
    .map(|kind| (kind.to_owned(), String::new()))
    .into();
    keys.insert(("org.example.colour".to_owned(), "wall".to_owned()));
    keys.insert(("m.room.member".to_owned(), creator.user_id.clone()));
    keys
}

/// What a user sees of their rooms: joined, invited to.
async fn rooms(server: &TestServer, user: &TestUser) -> (Vec<String>, Vec<String>) {
    let answer = sync(server, user, "").await;
    let names = |section: &str| {
        let rooms = answer["rooms"][section].as_object();
        rooms.map(|rooms| rooms.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    (names("join"), names("invite"))
}

/// The room, if there is one, is whole; who of `invited` is invited.
async fn whole(server: &TestServer, creator: &TestUser, invited: &[TestUser]) -> Option<(String, usize)> {
    let (joined, _) = rooms(server, creator).await;
    let directory = server.get("/v3/publicRooms").by(creator).send().await.ok();
    let published: Vec<_> = directory["chunk"].as_array().unwrap().iter().collect();
    let alias = server.get(&format!("/v3/directory/room/{ALIAS}")).by(creator).send().await;
    let Some(room) = joined.first().cloned() else {
        alias.refused(404, "M_NOT_FOUND");
        assert_eq!(published, Vec::<&Value>::new());
        for user in invited {
            assert_eq!(rooms(server, user).await, (vec![], vec![]), "{} is invited to nothing", user.user_id);
        }
        return None;
    };
    assert_eq!(joined, std::slice::from_ref(&room));
    assert_eq!(alias.ok()["room_id"], room);
    assert_eq!(published.len(), 1);
    assert_eq!((&published[0]["room_id"], &published[0]["name"]), (&json!(room), &json!("Home")));
    let state = server.get(&format!("/v3/rooms/{room}/state")).by(creator).send().await.ok();
    let mut wanted = furniture(creator);
    let mut invites = 0;
    for user in invited {
        let (joined, asked) = rooms(server, user).await;
        assert_eq!(joined, [] as [&str; 0]);
        if asked == std::slice::from_ref(&room) {
            invites += 1;
            wanted.insert(("m.room.member".to_owned(), user.user_id.clone()));
        } else {
            assert_eq!(asked, [] as [&str; 0]);
        }
    }
    let found: BTreeSet<_> = crate::sync::keys(&state).into_iter().collect();
    assert_eq!(found, wanted);
    Some((room, invites))
}

/// Creates a room on a disk that fails after so many writes. Whether the disk lasted.
async fn create(preset: &str, invitees: usize, (writes, fault): (usize, Fault)) -> bool {
    // Whoever talks to no other servers does not keep how far those were told, either.
    let server = TestServer::configured("[federation]\nenabled = false\n[registration]\nmode = \"open\"\n");
    let alice = server.register_user("alice").await;
    let mut invited = Vec::new();
    for number in 0..invitees {
        invited.push(server.register_user(&format!("guest{number}")).await);
    }
    let body = furnished(preset, &invited.iter().collect::<Vec<_>>());
    server.fail_after(writes, fault);
    let created = acknowledged(&server, server.post("/v3/createRoom").by(&alice).json(&body)).await;
    let lasted = !server.has_failed();

    let server = server.power_cut();
    let room = whole(&server, &alice, &invited).await;
    match (&created, &room) {
        (Some(created), room) => {
            let acknowledged = (created["room_id"].as_str().unwrap().to_owned(), invitees);
            assert_eq!(room.as_ref(), Some(&acknowledged), "after {writes} writes");
        }
        (None, None) => {}
        // It was written and then could not be acknowledged, or the invites that follow it could not be written.
        (None, Some(_)) => {
            assert!(fault == Fault::Applied || (invitees == MANY && writes > 0), "after {writes} writes")
        }
    }
    // And on from there.
    let room = match room {
        Some((room, _)) => room,
        None => {
            let answer = server.post("/v3/createRoom").by(&alice).json(&body).send().await.ok();
            answer["room_id"].as_str().unwrap().to_owned()
        }
    };
    say(&server, &alice, &room, "at home").await;
    let guest = &invited[0];
    if rooms(&server, guest).await.1.is_empty() {
        let body = json!({"user_id": guest.user_id});
        server.post(&format!("/v3/rooms/{room}/invite")).by(&alice).json(&body).send().await.ok();
    }
    server.post(&format!("/v3/join/{room}")).by(guest).json(&json!({})).send().await.ok();
    say(&server, guest, &room, "thanks").await;
    assert!(!lasted || created.is_some());
    lasted
}

#[tokio::test(start_paused = true)]
async fn a_room_is_there_with_all_of_its_state_or_not_at_all() {
    for preset in ["private_chat", "trusted_private_chat", "public_chat"] {
        for fault in FAULTS {
            let writes = for_every_write(fault, async |writes| create(preset, 2, (writes, fault)).await).await;
            assert_eq!(writes, 1, "{preset}: the room, its alias and its place in the directory are one commit");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_invites_follow_a_room_that_is_whole_without_them() {
    for fault in FAULTS {
        let writes = for_every_write(fault, async |writes| create("public_chat", MANY, (writes, fault)).await).await;
        assert!(writes > 1, "{MANY} invites do not fit into one commit");
    }
}
