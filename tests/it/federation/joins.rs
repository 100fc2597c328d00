//! Joining rooms of other servers.

use myelin::{event::version, graph::Membership, store::engine::faulty::Fault};
use ruma::RoomVersionId;
use serde_json::json;

use super::{
    receiving::policy::{policy, signature},
    rooms::{act, create, hand_over, join, membership, pdu, room, say, server, set, state, sync, sync_since},
};
use crate::harness::{Network, reply};

#[tokio::test(start_paused = true)]
async fn a_room_of_every_version_is_joined_through_another_server() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    for version in 1..=12 {
        let body = json!({"preset": "public_chat", "room_version": version.to_string(), "name": "A name"});
        let room_id = create(&a, &alice, body).await;
        say(&a, &alice, &room_id, "before").await;
        join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();

        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
        assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Join), "version {version}");
        let (_, there) = room(&a, &room_id).unwrap();
        let (_, here) = room(&b, &room_id).unwrap();
        assert_eq!((here.joined_members, here.is_left, here.max_depth), (2, false, there.max_depth));

        // Both go on from the same event, and understand each other.
        let said = say(&b, &bob, &room_id, "from_b").await;
        assert!(hand_over(&b, &a, &said).await, "version {version}");
        let said = say(&a, &alice, &room_id, "from_a").await;
        assert!(hand_over(&a, &b, &said).await, "version {version}");
        let renamed = set(&a, &alice, &room_id, ("m.room.name", ""), json!({"name": "Another"})).await;
        assert!(hand_over(&a, &b, &renamed).await, "version {version}");
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");

        let sync = sync(&b, &bob).await;
        let joined = &sync["rooms"]["join"][room_id.as_str()];
        let events: Vec<_> = joined["timeline"]["events"].as_array().unwrap().iter().collect();
        let last = events.iter().rposition(|event| event["content"]["body"] == "from_a");
        assert!(last.is_some(), "{joined}");
        assert!(!events.iter().any(|event| event["content"]["body"] == "before"), "not fetched yet");
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_is_found_by_its_alias_and_joined_through_who_is_in_it() {
    let network = Network::default();
    let (a, b, c) = (server(&network, "a.b"), server(&network, "c.d"), server(&network, "e.f"));
    let (alice, bob, carol) =
        (a.register_user("alice").await, b.register_user("bob").await, c.register_user("carol").await);
    let room_id = create(&a, &alice, json!({"preset": "public_chat", "room_alias_name": "lobby"})).await;
    let joined = join(&b, &bob, "#lobby:a.b", &[]).await.ok();
    assert_eq!(joined["room_id"], room_id.as_str());
    network.sent();
    // The first is unknown, the second is not in the room; a server is asked once.
    join(&c, &carol, room_id.as_str(), &["nobody.net", "e.f", "c.d", "c.d"]).await.ok();
    let sent = network.sent();
    let asked =
        |server: &str, what: &str| sent.iter().filter(|line| line.starts_with(server) && line.contains(what)).count();
    assert_eq!((asked("nobody.net", "make_join"), asked("c.d", "send_join"), asked("a.b", "make_join")), (1, 1, 0));
    assert_eq!(asked("e.f", "make_join"), 0, "nobody asks themselves: {sent:?}");
    assert_eq!(state(&b, &room_id), state(&c, &room_id));
    // Whoever is in it already asks nobody.
    join(&c, &carol, room_id.as_str(), &["c.d"]).await.ok();
    assert_eq!(network.sent(), [""; 0]);
    join(&b, &bob, "#nothing:a.b", &[]).await.refused(404, "M_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn why_a_room_cannot_be_joined_is_told() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let private = create(&a, &alice, json!({"preset": "private_chat"})).await;
    join(&b, &bob, private.as_str(), &["a.b"]).await.refused(403, "M_FORBIDDEN");
    join(&b, &bob, "!nothing:a.b", &["a.b"]).await.refused(404, "M_NOT_FOUND");
    join(&b, &bob, "!nothing", &[]).await.refused(404, "M_NOT_FOUND");
    let unreachable = b.post("/v3/join/!r:nobody.net").by(&bob).json(&json!({})).send_anyhow().await;
    unreachable.refused(502, "M_UNKNOWN");
    assert!(room(&b, &private).is_none());
    let list = json!({"allow": ["*"], "deny": ["c.d"]});
    let closed = create(&a, &alice, json!({"preset": "public_chat"})).await;
    set(&a, &alice, &closed, ("m.room.server_acl", ""), list).await;
    join(&b, &bob, closed.as_str(), &["a.b"]).await.refused(403, "M_FORBIDDEN");
    let guest = b.post("/v3/register?kind=guest").json(&json!({})).send().await;
    assert_eq!(guest.status, 403, "guests are off");
}

#[tokio::test(start_paused = true)]
async fn who_comes_second_joins_by_what_is_here() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let alice = a.register_user("alice").await;
    let (bob, bill) = (b.register_user("bob").await, b.register_user("bill").await);
    let room_id = create(&a, &alice, json!({"preset": "public_chat"})).await;
    network.sent();
    let via = ["a.b"];
    let (first, second) = tokio::join!(join(&b, &bob, room_id.as_str(), &via), join(&b, &bill, room_id.as_str(), &via));
    first.ok();
    second.ok();
    assert_eq!(network.sent().iter().filter(|line| line.contains("send_join")).count(), 1);
    assert_eq!(membership(&b, &room_id, &bill.user_id), Some(Membership::Join));
    assert_eq!(room(&b, &room_id).unwrap().1.joined_members, 3);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_was_left_is_joined_again_as_it_is_now() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, anna) = (a.register_user("alice").await, a.register_user("anna").await);
    let bob = b.register_user("bob").await;
    for version in ["1", "6", "12"] {
        let room_id = create(&a, &alice, json!({"preset": "public_chat", "room_version": version})).await;
        join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
        let left_at = sync(&b, &bob).await;
        act(&b, &bob, &room_id, "leave", json!({})).await.ok();
        rest().await;
        assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Leave), "version {version}");
        assert!(room(&b, &room_id).unwrap().1.is_left);

        set(&a, &alice, &room_id, ("m.room.name", ""), json!({"name": "New"})).await;
        join(&a, &anna, room_id.as_str(), &[]).await.ok();
        for number in 0..30 {
            say(&a, &alice, &room_id, &format!("unheard_{number}")).await;
        }
        assert_ne!(state(&a, &room_id), state(&b, &room_id), "nobody tells who is not in it");
        join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
        let (_, here) = room(&b, &room_id).unwrap();
        assert_eq!((here.is_left, here.joined_members, here.extremities.len()), (false, 3, 1));
        let joined = sync_since(&b, &bob, &left_at).await;
        assert!(joined["rooms"]["join"].get(room_id.as_str()).is_some(), "{joined}");
        let said = say(&b, &bob, &room_id, "back").await;
        assert!(hand_over(&b, &a, &said).await);
        let said = say(&a, &anna, &room_id, "hello").await;
        assert!(hand_over(&a, &b, &said).await);
        assert_eq!(state(&a, &room_id), state(&b, &room_id));
    }
}

/// What the room was left with holds for nobody any more, its policy server neither; and it is joined, not set state in.
#[tokio::test(start_paused = true)]
async fn a_room_that_was_left_is_only_joined_again_through_who_is_in_it() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let room_id = create(&a, &alice, json!({"preset": "public_chat", "room_version": "11"})).await;
    join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
    let rules = version::rules(&RoomVersionId::V11).unwrap();
    network.script("p.q", move |request| reply(200, &signature(&request.body, rules)));
    set(&a, &alice, &room_id, ("m.room.policy", ""), policy()).await;
    rest().await;
    act(&b, &bob, &room_id, "leave", json!({})).await.ok();
    rest().await;
    let left = state(&b, &room_id);
    assert_eq!(membership(&a, &room_id, &bob.user_id), Some(Membership::Leave));

    set(&a, &alice, &room_id, ("m.room.policy", ""), json!({})).await;
    for (membership, key) in [("join", &bob.user_id), ("knock", &bob.user_id)] {
        let target = format!("/v3/rooms/{room_id}/state/m.room.member/{key}");
        let answer = b.put(&target).by(&bob).json(&json!({"membership": membership})).send().await;
        answer.refused(403, "M_FORBIDDEN");
    }
    assert_eq!(state(&b, &room_id), left);
    join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
    assert_eq!(state(&b, &room_id), state(&a, &room_id));
}

/// Lets what was sent arrive.
async fn rest() {
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn members_of_another_room_may_join() {
    let network = Network::default();
    let (a, b, c) = (server(&network, "a.b"), server(&network, "c.d"), server(&network, "e.f"));
    let (alice, bob, carol) =
        (a.register_user("alice").await, b.register_user("bob").await, c.register_user("carol").await);
    let bill = b.register_user("bill").await;
    for (version, rule) in [("8", "restricted"), ("10", "knock_restricted"), ("12", "restricted")] {
        let lobby = create(&a, &alice, json!({"preset": "public_chat"})).await;
        let allow = json!([{"type": "m.room_membership", "room_id": lobby, "via": ["a.b"]}]);
        let rules = json!({"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}});
        let levels = json!({"invite": 50});
        let body = json!({"preset": "private_chat", "room_version": version, "initial_state": [rules],
            "power_level_content_override": levels});
        let room_id = create(&a, &alice, body).await;
        let id = room_id.as_str();
        join(&b, &bob, id, &["a.b"]).await.refused(403, "M_FORBIDDEN");
        join(&b, &bob, lobby.as_str(), &["a.b"]).await.ok();
        join(&b, &bob, id, &["a.b"]).await.ok();
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
        let event = pdu(&a, &state(&b, &room_id)[&("m.room.member".to_owned(), bob.user_id.clone())]);
        let via: Option<String> = event.content_field("join_authorised_via_users_server");
        assert_eq!(via.as_deref(), Some(&*alice.user_id));
        let signed = event.to_object().unwrap();
        assert_eq!(signed["signatures"].as_object().unwrap().len(), 2, "both servers stand for it");

        // Nobody of the second server may let others in; it asks the first. So does a third one, which hears so.
        join(&b, &bill, lobby.as_str(), &["a.b"]).await.ok();
        join(&b, &bill, id, &[]).await.ok();
        rest().await;
        join(&c, &carol, lobby.as_str(), &["a.b"]).await.ok();
        rest().await;
        if version == "12" {
            // In older versions the room's id names another server that is asked, too.
            join(&c, &carol, id, &["c.d"]).await.refused(400, "M_UNABLE_TO_GRANT_JOIN");
        }
        join(&c, &carol, id, &["c.d", "a.b"]).await.ok();
        rest().await;
        assert_eq!(state(&a, &room_id), state(&c, &room_id), "version {version}");
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_join_that_stops_in_the_middle_leaves_nothing() {
    for fault in [Fault::Refused, Fault::Applied] {
        let mut writes = 0;
        loop {
            let network = Network::default();
            let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
            let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
            let room_id = create(&a, &alice, json!({"preset": "public_chat"})).await;
            b.fail_after(writes, fault);
            let target = format!("/v3/join/{}?via=a.b", super::rooms::encoded(room_id.as_str()));
            let answer = b.post(&target).by(&bob).json(&json!({})).send_anyhow().await;
            let lasted = !b.has_failed();
            let b = b.power_cut();
            assert!(answer.status != 200 || room(&b, &room_id).is_some(), "{fault:?} after {writes} writes");
            rest().await;
            join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
            assert_eq!(state(&a, &room_id), state(&b, &room_id), "{fault:?} after {writes} writes");
            if lasted {
                break;
            }
            writes += 1;
        }
        assert!(writes > 3, "{writes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_before_the_join_gets_its_place_up_to_the_create_event() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    for version in 1..=12 {
        let body = json!({"preset": "public_chat", "room_version": version.to_string()});
        let room_id = create(&a, &alice, body).await;
        let said = say(&a, &alice, &room_id, "before").await;
        join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
        let before = room(&b, &room_id).unwrap().1;
        let mut older: Vec<_> = state(&a, &room_id).into_iter().collect();
        older.retain(|((_, key), _)| *key != bob.user_id);
        let mut older: Vec<_> = older.into_iter().map(|(_, id)| id).chain([said]).collect();
        older.sort_by_key(|id| pdu(&a, id).depth());
        for id in older {
            assert!(hand_over(&a, &b, &id).await, "version {version}: {id}");
        }
        let after = room(&b, &room_id).unwrap().1;
        assert_eq!((after.root, after.extremities), (before.root, before.extremities), "version {version}");
        assert_eq!(state(&a, &room_id), state(&b, &room_id), "version {version}");
    }
}

/// Those that were in the room long ago are asked only by who names nobody.
#[tokio::test(start_paused = true)]
async fn who_names_servers_means_these() {
    let network = Network::default();
    let (a, b, outside) = (server(&network, "a.b"), server(&network, "c.d"), server(&network, "e.f"));
    let (alice, bob) = (a.register_user("alice").await, b.register_user("bob").await);
    let room_id = create(&a, &alice, json!({"preset": "public_chat"})).await;
    join(&b, &bob, room_id.as_str(), &["a.b"]).await.ok();
    act(&b, &bob, &room_id, "leave", json!({})).await.ok();
    network.sent();
    join(&b, &bob, room_id.as_str(), &["e.f"]).await.refused(404, "M_NOT_FOUND");
    let asked: Vec<_> = network.sent().into_iter().filter(|line| line.contains("make_join")).collect();
    assert!(asked.len() == 1 && asked[0].starts_with("e.f "), "{asked:?}");
    join(&b, &bob, room_id.as_str(), &[]).await.ok();
    act(&b, &bob, &room_id, "leave", json!({})).await.ok();
    // Itself is nobody else.
    join(&b, &bob, room_id.as_str(), &["c.d"]).await.ok();
    drop(outside);
}
