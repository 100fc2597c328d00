//! Invites by servers that may be anybody: what is taken of them, what is shown, and what they may undo.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use myelin::{
    event::{Pdu, Template, build, json, version},
    graph::{
        Membership,
        keys::{OUTSIDE, OUTSIDE_OF_USER, USER_ROOM},
        outside::{By, MOST_OF_SERVER, MOST_PENDING, Outside, Standing, Stood},
    },
    store::{Batch, Key, KeyOf, Keyspace, ReadError, Value as Stored, View},
};
use ruma::{OwnedEventId, RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use super::{
    reads::{Scene, encoded},
    rooms::{act, create, join, pdu, post, server, stripped, sync, sync_since},
    strangers::{Elsewhere, as_json, invite, member},
};
use crate::harness::{Answer, Network, Peer, START, TestServer, TestUser, reply};

/// The rooms that a user is shown as invited to.
fn shown(synced: &Value) -> Vec<String> {
    let rooms = synced["rooms"]["invite"].as_object();
    rooms.into_iter().flatten().map(|(room, _)| room.clone()).collect()
}

fn state_id(scene: &Scene, kind: &str, key: &str) -> OwnedEventId {
    super::rooms::state(&scene.server, &scene.room)[&(kind.to_owned(), key.to_owned())].clone()
}

/// Server-server API, "Server Access Control Lists": `/invite` is protected. And what the room forbids is not signed.
#[tokio::test(start_paused = true)]
async fn an_invite_to_a_room_that_is_here_is_held_to_its_rules() {
    let scene = Scene::new("shared").await;
    let carol = scene.server.register_user("carol").await;
    let create = as_json(&pdu(&scene.server, &state_id(&scene, "m.room.create", "")));
    let room_version = create["content"]["room_version"].clone();
    let invites = async |version: &Value| {
        let event = member(&scene, "@bob:p.q", &carol.user_id, json!({"membership": "invite"}));
        let body = json!({"room_version": version, "event": as_json(&event), "invite_room_state": [create]});
        invite(&scene, (scene.room.as_str(), event.event_id().as_str()), &body).await
    };
    invites(&room_version).await.refused(403, "M_FORBIDDEN");
    scene.member("bob", "join").await;
    let other = if room_version == "11" { "10" } else { "11" };
    let answer = invites(&json!(other)).await;
    assert_eq!(answer.status, 400, "it is of another version: {answer:?}");
    scene.sets("m.room.power_levels", "", json!({"invite": 50})).await;
    invites(&room_version).await.refused(403, "M_FORBIDDEN");
    scene.sets("m.room.power_levels", "", json!({"invite": 0})).await;
    let signed = invites(&room_version).await.ok();
    assert!(signed["event"]["signatures"]["a.b"].is_object(), "{signed}");
    scene.sets("m.room.server_acl", "", json!({"allow": ["*"], "deny": ["p.q"]})).await;
    invites(&room_version).await.refused(403, "M_FORBIDDEN");
    scene.sets("m.room.server_acl", "", json!({"allow": ["*"]})).await;
    scene.sets("m.room.member", "@bob:p.q", json!({"membership": "ban"})).await;
    invites(&room_version).await.refused(403, "M_FORBIDDEN");
}

async fn blocks(scene: &Scene, user: &TestUser, config: Value) {
    let path = format!("/v3/user/{}/account_data/m.invite_permission_config", super::rooms::encoded(&user.user_id));
    scene.server.put(&path).by(user).json(&config).send().await.ok();
}

/// Client-server API, "Invite permission": blocked invites are not served, neither those that are there already nor those
/// that come with the events of a room.
#[tokio::test(start_paused = true)]
async fn blocked_invites_are_not_synced_until_they_are_not_blocked_any_more() {
    let scene = Scene::new("shared").await;
    let carol = scene.server.register_user("carol").await;
    scene.member("bob", "join").await;
    scene.sets("m.room.power_levels", "", json!({"invite": 0})).await;
    let room = Elsewhere::new(&scene, "!theirs:p.q");
    let event = room.invite(&scene, "@bob:p.q", &carol.user_id, "invite");
    invite(&scene, (room.id, event.event_id().as_str()), &room.body(&event)).await.ok();
    let before = sync(&scene.server, &carol).await;
    assert_eq!(shown(&before), [room.id]);

    blocks(&scene, &carol, json!({"default_action": "block"})).await;
    let draft = super::reads::Draft {
        sender: scene.user("bob"),
        kind: "m.room.member",
        state_key: Some(carol.user_id.to_string()),
        content: json!({"membership": "invite"}),
        prev: None,
    };
    scene.accepted(draft).await;
    assert_eq!(shown(&sync_since(&scene.server, &carol, &before).await), [""; 0]);
    assert_eq!(shown(&sync(&scene.server, &carol).await), [""; 0]);

    blocks(&scene, &carol, json!({})).await;
    let after = shown(&sync(&scene.server, &carol).await);
    assert_eq!((after.len(), after.contains(&scene.room.to_string())), (2, true), "{after:?}");
}

/// An event of a room of version 12, whose id its create event has.
fn twelfth(scene: &Scene, room: Option<&RoomId>, (kind, sender, key): (&str, &str, &str), content: Value) -> Pdu {
    let rules = version::rules(&RoomVersionId::V12).unwrap();
    let template = Template {
        room_id: room.map(ToOwned::to_owned),
        event_id: None,
        sender: UserId::parse(sender).unwrap(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        auth_events: Vec::new(),
        content: json::parse(content.to_string().as_bytes()).unwrap(),
        redacts: None,
        origin_server_ts: START,
        prev_events: Vec::new(),
        depth: 1,
    };
    build::build(template, rules, &scene.peer.key()).unwrap()
}

/// Server-server API, `PUT /v2/invite`: from version 12 on, what is told of the room must be whole, signed, and of the room.
#[tokio::test(start_paused = true)]
async fn what_is_told_of_a_room_of_version_12_is_whole_or_the_invite_is_refused() {
    let scene = Scene::new("shared").await;
    let alice = scene.alice.user_id.to_string();
    let create = twelfth(&scene, None, ("m.room.create", "@bob:p.q", ""), json!({"room_version": "12"}));
    let id = create.room_id().to_owned();
    let other = twelfth(&scene, None, ("m.room.create", "@eve:p.q", ""), json!({"room_version": "12"}));
    let event = twelfth(&scene, Some(&id), ("m.room.member", "@bob:p.q", &alice), json!({"membership": "invite"}));
    let name = |room: &RoomId| twelfth(&scene, Some(room), ("m.room.name", "@bob:p.q", ""), json!({"name": "Whole"}));
    let good = as_json(&name(&id));
    let invites = async |told: Value| {
        let body = json!({"room_version": "12", "event": as_json(&event), "invite_room_state": told});
        invite(&scene, (id.as_str(), event.event_id().as_str()), &body).await
    };
    let mut unsigned = good.clone();
    unsigned["signatures"] = json!({});
    let mut forged = good.clone();
    forged["signatures"] = as_json(&name(other.room_id()))["signatures"].clone();
    let stripped = json!({"type": "m.room.name", "sender": "@bob:p.q", "state_key": "", "content": {"name": "Short"}});
    let wrong = [unsigned, forged, stripped, as_json(&name(other.room_id())), as_json(&other), json!(5)];
    for wrong in wrong {
        invites(json!([as_json(&create), wrong])).await.refused(400, "M_INVALID_PARAM");
    }
    invites(json!([good])).await.refused(400, "M_INVALID_PARAM");
    assert_eq!(shown(&sync(&scene.server, &scene.alice).await), [""; 0]);
    invites(json!([as_json(&create), good])).await.ok();
    let synced = sync(&scene.server, &scene.alice).await;
    let told = synced["rooms"]["invite"][id.as_str()]["invite_state"]["events"].to_string();
    assert!(told.contains("Whole"), "{told}");
}

/// A user whose decline would be signed for a room of another version than the invite was of.
#[tokio::test(start_paused = true)]
async fn a_leave_is_signed_for_the_version_of_the_invite_alone() {
    let scene = Scene::new("shared").await;
    let room = Elsewhere::new(&scene, "!theirs:p.q");
    let event = room.invite(&scene, "@bob:p.q", &scene.alice.user_id, "invite");
    let keys = scene.peer.document(START + 24 * 60 * 60 * 1_000, |_| ());
    let alice = scene.alice.user_id.to_string();
    for (version, is_sent) in [("3", false), ("10", true)] {
        invite(&scene, (room.id, event.event_id().as_str()), &room.body(&event)).await.ok();
        let (keys, alice) = (keys.clone(), alice.clone());
        scene.network.script("p.q", move |request| {
            if request.target.starts_with("/_matrix/key/") {
                return reply(200, &keys);
            }
            let template = json!({
                "type": "m.room.member", "room_id": "!theirs:p.q", "sender": alice, "state_key": alice,
                "content": {"membership": "leave"}, "prev_events": [], "auth_events": [], "depth": 5,
                "origin_server_ts": START, "origin": "p.q",
            });
            match request.target.contains("make_leave") {
                true => reply(200, &json!({"room_version": version, "event": template})),
                false => reply(200, &json!({})),
            }
        });
        scene.network.sent();
        act(&scene.server, &scene.alice, &RoomId::parse(room.id).unwrap(), "leave", json!({})).await.ok();
        let sent = scene.network.sent();
        assert!(sent.iter().any(|request| request.contains("make_leave")), "{sent:?}");
        assert_eq!(sent.iter().any(|request| request.contains("send_leave")), is_sent, "{version}: {sent:?}");
        assert_eq!(shown(&sync(&scene.server, &scene.alice).await), [""; 0]);
    }
}

/// A client that goes away while another server signs its invite: the invite is in the room all the same.
#[tokio::test(start_paused = true)]
async fn an_invite_that_another_server_has_signed_is_one_of_the_room() {
    let scene = Scene::new("shared").await;
    let (keys, signer) = (scene.peer.document(START + 24 * 60 * 60 * 1_000, |_| ()), Arc::new(scene.peer.key()));
    let rules = scene.rules();
    scene.network.answer("p.q", move |request| {
        let (keys, signer) = (keys.clone(), Arc::clone(&signer));
        async move {
            if request.target.starts_with("/_matrix/key/") {
                return reply(200, &keys);
            }
            if !request.target.contains("/v2/invite/") {
                return reply(200, &json!({}));
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let mut event = json::parse(body["event"].to_string().as_bytes()).unwrap();
            signer.sign_event(&mut event, rules).unwrap();
            reply(200, &json!({"event": serde_json::to_value(event).unwrap()}))
        }
    });
    let invites = act(&scene.server, &scene.alice, &scene.room, "invite", json!({"user_id": "@bob:p.q"}));
    let gone = tokio::time::timeout(Duration::from_secs(1), invites).await;
    assert!(gone.is_err(), "the client goes away in the middle");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let invited = super::rooms::membership(&scene.server, &scene.room, "@bob:p.q");
    assert_eq!(invited, Some(Membership::Invite));
}

/// An invite (or what else) by a user of a peer to a room of which nobody knows more than this.
fn said_by(peer: &Peer, room: &str, sender: &str, what: (&str, &str), content: Value) -> Pdu {
    said_at(if what.1 == "leave" { 8 } else { 7 }, peer, room, sender, what, content)
}

fn said_at(depth: u64, peer: &Peer, room: &str, sender: &str, (of, membership): (&str, &str), content: Value) -> Pdu {
    let rules = version::rules(&RoomVersionId::V10).unwrap();
    let mut content = json::parse(content.to_string().as_bytes()).unwrap();
    content.insert("membership".to_owned(), membership.into());
    let before: OwnedEventId = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".try_into().unwrap();
    let template = Template {
        room_id: Some(RoomId::parse(room).unwrap()),
        event_id: None,
        sender: UserId::parse(sender).unwrap(),
        kind: "m.room.member".to_owned(),
        state_key: Some(of.to_owned()),
        auth_events: vec![before.clone().into()],
        content,
        redacts: None,
        origin_server_ts: START,
        prev_events: vec![before.into()],
        depth,
    };
    build::build(template, rules, &peer.key()).unwrap()
}

/// `PUT /invite` of a peer, with what it tells of the room.
async fn invite_by(server: &TestServer, peer: &Peer, event: &Pdu, told: Value) -> Answer {
    let (room, id) = (encoded(event.room_id().as_str()), encoded(event.event_id().as_str()));
    let body = json!({"room_version": "10", "event": as_json(event), "invite_room_state": told});
    put_by(server, peer, &format!("/_matrix/federation/v2/invite/{room}/{id}"), &body).await
}

async fn put_by(server: &TestServer, peer: &Peer, target: &str, body: &Value) -> Answer {
    let header = peer.header(server.app().server_name.as_str(), "PUT", target, &body.to_string());
    let request = server.request(Method::PUT, target.to_owned()).header("authorization", &header);
    request.json(body).send_anyhow().await
}

/// A transaction of a peer with one event.
async fn sends(server: &TestServer, peer: &Peer, event: &Pdu) {
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let target = format!("/_matrix/federation/v1/send/{}", SENT.fetch_add(1, Ordering::Relaxed));
    let body = json!({"origin": peer.name, "origin_server_ts": START, "pdus": [as_json(event)]});
    put_by(server, peer, &target, &body).await.ok();
}

/// What the user is told of their own standing with an invite or knock, as `sender`.
fn inviter(synced: &Value, what: &str, room: &str, user: &TestUser) -> Value {
    let events = &synced["rooms"][what][room][format!("{what}_state")];
    if events.is_null() {
        return Value::Null;
    }
    stripped(events, "m.room.member", &user.user_id)["sender"].clone()
}

fn fsck(server: &TestServer) -> Vec<String> {
    let mut problems = Vec::new();
    let check = |view: &View<'_>| myelin::graph::fsck::check(view, &mut |problem| problems.push(problem));
    server.app().store.read_blocking::<_, ReadError>(check).unwrap();
    problems
}

/// Threat: a server that is not in a room invites there, and takes that back, to end what others have said.
#[tokio::test(start_paused = true)]
async fn an_invite_is_taken_back_by_its_own_server_and_by_no_other() {
    let scene = Scene::new("shared").await;
    let (server, alice, room) = (&scene.server, &scene.alice, "!theirs:p.q");
    let evil = scene.other_peer("m.n");
    let invites = |peer: &Peer, who: &str| said_by(peer, room, who, (&alice.user_id, "invite"), json!({}));
    let takes_back =
        |peer: &Peer, who: &str| said_by(peer, room, who, (&alice.user_id, "leave"), json!({"reason": who}));
    for (first, second) in [("good", "evil"), ("evil", "good")] {
        let whose = |name: &str| if name == "good" { (&scene.peer, "@bob:p.q") } else { (&evil, "@eve:m.n") };
        for name in [first, second] {
            let (peer, who) = whose(name);
            invite_by(server, peer, &invites(peer, who), json!([])).await.ok();
        }
        let synced = sync(server, alice).await;
        assert_eq!(inviter(&synced, "invite", room, alice), whose(first).1, "the oldest is shown");
        scene.network.sent();
        server.post(&format!("/v3/join/{}", encoded(room))).by(alice).json(&json!({})).send_anyhow().await;
        let sent = scene.network.sent();
        for asked in ["p.q GET /_matrix/federation/v1/make_join", "m.n GET /_matrix/federation/v1/make_join"] {
            assert!(sent.iter().any(|request| request.starts_with(asked)), "{asked}: {sent:?}");
        }
        sends(server, &evil, &takes_back(&evil, "@eve:m.n")).await;
        let left = sync(server, alice).await;
        assert_eq!(inviter(&left, "invite", room, alice), "@bob:p.q", "evil's invite is gone, and nothing else is");
        assert_eq!(fsck(server), [""; 0]);
        // A leave that was before the invite, and comes late, does not end it.
        let old = said_at(6, &scene.peer, room, "@bob:p.q", (&alice.user_id, "leave"), json!({}));
        sends(server, &scene.peer, &old).await;
        assert_eq!(shown(&sync(server, alice).await), [room]);
        sends(server, &scene.peer, &takes_back(&scene.peer, "@bob:p.q")).await;
        let gone = sync_since(server, alice, &left).await;
        assert_eq!(gone["rooms"]["leave"][room]["timeline"]["events"][0]["content"]["reason"], "@bob:p.q");
        assert_eq!(shown(&sync(server, alice).await), [""; 0]);
        assert_eq!(fsck(server), [""; 0]);
    }
}

/// A standing of the kind that a knock through a server has made.
async fn stands(server: &TestServer, user: &TestUser, peer: &Peer, (room, membership): (&str, Membership)) -> Stood {
    let user_id = UserId::parse(&user.user_id).unwrap();
    let pdu = said_by(peer, room, &format!("@bob:{}", peer.name), (&user.user_id, membership.as_str()), json!({}));
    let outside = Outside::new(&pdu, RoomVersionId::V10, Vec::new(), vec![peer.name.clone()]).unwrap();
    let by = if membership == Membership::Knock { By::User } else { By::Server };
    let standing = Standing { user_id, membership, outside, by, instead_of: None };
    server.app().graph.stand_outside(standing).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_knock_outlives_an_invite_that_is_taken_back() {
    let scene = Scene::new("shared").await;
    let (server, alice, room) = (&scene.server, &scene.alice, "!theirs:p.q");
    let evil = scene.other_peer("m.n");
    stands(server, alice, &scene.peer, (room, Membership::Knock)).await;
    let event = said_by(&evil, room, "@eve:m.n", (&alice.user_id, "invite"), json!({}));
    invite_by(server, &evil, &event, json!([])).await.ok();
    assert_eq!(inviter(&sync(server, alice).await, "invite", room, alice), "@eve:m.n");
    sends(server, &evil, &said_by(&evil, room, "@eve:m.n", (&alice.user_id, "leave"), json!({}))).await;
    let synced = sync(server, alice).await;
    assert_eq!((shown(&synced).len(), inviter(&synced, "knock", room, alice)), (0, json!("@bob:p.q")));
    assert_eq!(fsck(server), [""; 0]);
    lost(server, &OUTSIDE).await;
    lost(server, &OUTSIDE_OF_USER).await;
    lost(server, &USER_ROOM).await;
}

/// fsck misses a row.
async fn lost<K: Key + KeyOf<K>, V: Stored>(server: &TestServer, keyspace: &Keyspace<K, V>) {
    let store = &server.app().store;
    let last = |view: &View<'_>| view.first(&keyspace.span(&()).reversed());
    let (key, value) = store.read_blocking::<_, ReadError>(last).unwrap().unwrap();
    let mut batch = Batch::new();
    batch.delete(keyspace, &key);
    store.commit(batch).await.unwrap();
    assert_ne!(fsck(server), [""; 0], "a row of {}", keyspace.info().name);
    let mut batch = Batch::new();
    batch.put(keyspace, &key, &value);
    store.commit(batch).await.unwrap();
    assert_eq!(fsck(server), [""; 0]);
}

/// Threat: one server invites one user to everything.
#[tokio::test(start_paused = true)]
async fn a_server_invites_a_user_so_often_and_no_more() {
    let scene = Scene::new("shared").await;
    let (server, alice, carol) = (&scene.server, &scene.alice, scene.server.register_user("carol").await);
    let invites = async |peer: &Peer, number: usize, whom: &TestUser| {
        let (room, sender) = (format!("!r{number}:p.q"), format!("@bob:{}", peer.name));
        let event = said_by(peer, &room, &sender, (&whom.user_id, "invite"), json!({}));
        invite_by(server, peer, &event, json!([])).await
    };
    for number in 0..MOST_OF_SERVER {
        invites(&scene.peer, number, alice).await.ok();
    }
    let full = sync(server, alice).await;
    assert_eq!(shown(&full).len(), MOST_OF_SERVER);
    invites(&scene.peer, 50, alice).await.refused(429, "M_LIMIT_EXCEEDED");
    // Others are not held to that, neither those who invite nor those who are invited.
    invites(&scene.other_peer("m.n"), 51, alice).await.ok();
    invites(&scene.peer, 52, &carol).await.ok();
    // Who goes on slowly pushes out their own, the oldest first.
    tokio::time::advance(Duration::from_secs(20)).await;
    invites(&scene.peer, 53, alice).await.ok();
    let next = sync_since(server, alice, &full).await;
    assert_eq!(next["rooms"]["leave"]["!r0:p.q"]["timeline"]["events"][0]["content"]["membership"], "leave");
    let now = shown(&sync(server, alice).await);
    assert_eq!(now.len(), MOST_OF_SERVER + 1, "and one of another server");
    assert!(now.contains(&"!r51:p.q".to_owned()) && now.contains(&"!r53:p.q".to_owned()), "{now:?}");
    assert_eq!(fsck(server), [""; 0]);
}

/// Threat: many servers, which may all be one, invite one user to everything.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_user_is_bounded_and_can_be_declined() {
    let scene = Scene::new("shared").await;
    let (server, alice) = (&scene.server, &scene.alice);
    let peers: Vec<Peer> = (0..11).map(|number| Peer::new(&format!("s{number}.silent"), 3, "k")).collect();
    for number in 0..MOST_PENDING {
        let room = format!("!r{number}:p.q");
        let stood = stands(server, alice, &peers[number % 10], (&room, Membership::Invite)).await;
        assert!(matches!(stood, Stood::Yes), "{number}: {stood:?}");
    }
    let stood = stands(server, alice, &peers[10], ("!more:p.q", Membership::Invite)).await;
    assert!(matches!(stood, Stood::Crowded(None)), "{stood:?}");
    let stood = stands(server, alice, &peers[3], ("!more:p.q", Membership::Invite)).await;
    let Stood::Crowded(Some(oldest)) = stood else { panic!("{stood:?}") };
    assert_eq!(oldest.room_id(), "!r3:p.q");
    let event = said_by(&scene.peer, "!more:p.q", "@bob:p.q", (&alice.user_id, "invite"), json!({}));
    invite_by(server, &scene.peer, &event, json!([])).await.refused(403, "M_FORBIDDEN");
    post(server, alice, "knock", "!more:p.q", &["p.q"], &json!({})).await.refused(403, "M_FORBIDDEN");
    assert_eq!(shown(&sync(server, alice).await).len(), MOST_PENDING);

    // None of those who have sent them ever answers, and declining waits for none of them.
    let begun = tokio::time::Instant::now();
    for some in (0..300).collect::<Vec<_>>().chunks(100) {
        let declines = some.iter().map(async |number| {
            let room = RoomId::parse(format!("!r{number}:p.q")).unwrap();
            act(server, alice, &room, "leave", json!({})).await.ok()
        });
        futures_util::future::join_all(declines).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    for number in 300..303 {
        act(server, alice, &RoomId::parse(format!("!r{number}:p.q")).unwrap(), "leave", json!({})).await.ok();
    }
    let synced = sync(server, alice).await;
    assert_eq!(shown(&synced).len(), MOST_PENDING - 303);
    let reader = server.app().rooms.reader();
    let user_id = UserId::parse(&alice.user_id).unwrap();
    let rooms = server.app().store.read_blocking::<_, ReadError>(|view| reader.user_rooms(view, &user_id)).unwrap();
    assert!(rooms.len() <= 1 + 200 + 200, "of what is over the last 200 are kept: {}", rooms.len());
    assert_eq!(fsck(server), [""; 0]);
    // Somebody else gets through again.
    invite_by(server, &scene.peer, &event, json!([])).await.ok();
}

#[tokio::test(start_paused = true)]
async fn an_invite_is_small() {
    let scene = Scene::new("shared").await;
    let (server, alice, room) = (&scene.server, &scene.alice, "!theirs:p.q");
    let of = |reason: usize| {
        said_by(&scene.peer, room, "@bob:p.q", (&alice.user_id, "invite"), json!({"reason": "x".repeat(reason)}))
    };
    invite_by(server, &scene.peer, &of(20_000), json!([])).await.refused(400, "M_INVALID_PARAM");
    assert_eq!(shown(&sync(server, alice).await), [""; 0]);
    let state = |kind: &str, field: &str| json!({"type": kind, "sender": "@bob:p.q", "state_key": "", "content": {field: "x".repeat(7_000)}});
    let told = json!([
        state("m.room.name", "name"),
        state("m.room.topic", "topic"),
        state("m.room.avatar", "url"),
        state("m.room.join_rules", "join_rule"),
        state("m.room.canonical_alias", "alias"),
    ]);
    invite_by(server, &scene.peer, &of(100), told).await.ok();
    let synced = sync(server, alice).await;
    let told = synced["rooms"]["invite"][room].to_string();
    assert!(told.len() > 8_000 && told.len() < 20_000, "{}", told.len());
}

/// An invite from outside to a room in which this server is by now: the room does not know of it, so nothing holds it.
#[tokio::test(start_paused = true)]
async fn invites_that_a_room_does_not_know_of_end_when_this_server_joins_it() {
    let network = Network::default();
    let (a, b) = (server(&network, "a.b"), server(&network, "c.d"));
    let evil = Peer::new("m.n", 2, "k");
    evil.publish(&network, START + 24 * 60 * 60 * 1_000);
    let (alice, bob, carol) =
        (a.register_user("alice").await, b.register_user("bob").await, b.register_user("carol").await);
    let room_id = create(&a, &alice, json!({"preset": "public_chat", "room_version": "10"})).await;
    // The first time it is new there, the second time it was left.
    for _ in 0..2 {
        for user in [&bob, &carol] {
            let event = said_by(&evil, room_id.as_str(), "@eve:m.n", (&user.user_id, "invite"), json!({}));
            invite_by(&b, &evil, &event, json!([])).await.ok();
        }
        let invited = sync(&b, &bob).await;
        assert_eq!(shown(&invited), [room_id.as_str()]);
        join(&b, &carol, room_id.as_str(), &["a.b"]).await.ok();
        assert_eq!(shown(&sync(&b, &bob).await), [""; 0]);
        let left = sync_since(&b, &bob, &invited).await;
        assert!(left["rooms"]["leave"][room_id.as_str()].is_object(), "{left}");
        assert_eq!(fsck(&b), [""; 0]);
        act(&b, &bob, &room_id, "forget", json!({})).await.ok();
        act(&b, &carol, &room_id, "leave", json!({})).await.ok();
    }
}
