//! Servers that sign correctly and want into our rooms, or our users into theirs, by events that are not what they must be.

use http::Method;
use myelin::{
    event::{Pdu, Template, build, json},
    graph::{Membership, Root},
};
use ruma::{OwnedEventId, RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use super::reads::{Draft, Scene, encoded};
use crate::harness::{Answer, Peer};

/// `PUT` of a peer.
pub(super) async fn put(scene: &Scene, peer: &Peer, target: &str, body: &Value) -> Answer {
    let header = peer.header("a.b", "PUT", target, &body.to_string());
    let request = scene.server.request(Method::PUT, target.to_owned()).header("authorization", &header);
    request.json(body).send_anyhow().await
}

/// `PUT /send_join` and its kin: of this event, as if it were of this room and had this id.
async fn send(scene: &Scene, what: &str, (room, event_id): (&RoomId, &str), body: &Value) -> Answer {
    let target = format!("/_matrix/federation/{what}/{}/{}", encoded(room.as_str()), encoded(event_id));
    put(scene, &scene.peer, &target, body).await
}

pub(super) fn as_json(pdu: &Pdu) -> Value {
    serde_json::from_slice(pdu.json()).unwrap()
}

fn root(scene: &Scene) -> Root {
    scene.read(|_, _, _, head| Ok(head.root))
}

/// A membership of one user of the peer, by another (or the same).
pub(super) fn member(scene: &Scene, sender: &str, of: &str, content: Value) -> Pdu {
    let draft = Draft {
        sender: UserId::parse(sender).unwrap(),
        kind: "m.room.member",
        state_key: Some(of.to_owned()),
        content,
        prev: None,
    };
    scene.built_at(100, draft, root(scene))
}

fn members(scene: &Scene) -> Vec<String> {
    scene.read(|reader, view, no, _| {
        let members = reader.members(view, no, &[Membership::Join])?;
        Ok(members.into_iter().map(|(user_id, _)| user_id).collect())
    })
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_in_by_an_event_that_is_no_join() {
    let scene = Scene::new("shared").await;
    let (bob, room) = ("@bob:p.q", scene.room.clone());
    let other =
        scene.server.post("/v3/createRoom").by(&scene.alice).json(&json!({"preset": "public_chat"})).send().await.ok();
    let other = RoomId::parse(other["room_id"].as_str().unwrap()).unwrap();
    let joins = json!({"membership": "join"});
    let good = member(&scene, bob, bob, joins.clone());
    let id = good.event_id().as_str();
    let message = Draft {
        sender: scene.user("bob"),
        kind: "m.room.message",
        state_key: None,
        content: json!({"body": "hi", "membership": "join"}),
        prev: None,
    };
    let unknown: OwnedEventId = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".try_into().unwrap();
    let floating = Draft {
        sender: scene.user("bob"),
        kind: "m.room.member",
        state_key: Some(bob.to_owned()),
        content: joins.clone(),
        prev: Some(vec![unknown]),
    };
    let without = |field: &str| {
        let mut event = as_json(&good);
        event.as_object_mut().unwrap().remove(field);
        event
    };
    let mut tampered = as_json(&good);
    tampered["content"]["displayname"] = json!("Mallory");
    let mut huge = as_json(&good);
    huge["content"]["displayname"] = json!("x".repeat(70_000));
    let told = |pdu: Pdu| (pdu.event_id().to_string(), as_json(&pdu));
    let cases: Vec<(&str, (String, Value), u16)> = vec![
        ("unsigned", (id.to_owned(), without("signatures")), 400),
        ("without hashes", (id.to_owned(), without("hashes")), 400),
        ("without events before", (id.to_owned(), without("prev_events")), 400),
        ("too large", (id.to_owned(), huge), 400),
        ("another content than was hashed", (id.to_owned(), tampered), 400),
        ("a list", (id.to_owned(), json!([])), 400),
        ("a message", told(scene.built_at(100, message, root(&scene))), 400),
        ("of somebody else", told(member(&scene, bob, "@carol:p.q", joins.clone())), 400),
        ("of a user of ours", told(member(&scene, "@alice:a.b", "@alice:a.b", joins.clone())), 400),
        ("a leave", told(member(&scene, bob, bob, json!({"membership": "leave"}))), 400),
        ("a membership that is none", told(member(&scene, bob, bob, json!({"membership": ["join"]}))), 400),
        ("behind what nobody knows", told(scene.built_at(100, floating, root(&scene))), 400),
    ];
    for (what, (event_id, body), status) in &cases {
        for version in ["v1", "v2"] {
            let answer = send(&scene, &format!("{version}/send_join"), (&room, event_id), body).await;
            assert_eq!(answer.status, *status, "{what}, {version}: {answer:?}");
        }
    }
    for (of, event_id, status) in [
        (&*other, id, 400),
        (&*room, "$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", 400),
        (&*RoomId::parse("!nowhere:p.q").unwrap(), id, 404),
    ] {
        let answer = send(&scene, "v2/send_join", (of, event_id), &as_json(&good)).await;
        assert_eq!(answer.status, status, "{of} {event_id}: {answer:?}");
    }
    // As a leave or a knock it is none either.
    for what in ["v2/send_leave", "v1/send_leave", "v1/send_knock"] {
        let answer = send(&scene, what, (&room, id), &as_json(&good)).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
    }
    // Another server may not send it for Bob's.
    let mallory = scene.other_peer("m.n");
    let target = format!("/_matrix/federation/v2/send_join/{}/{}", encoded(room.as_str()), encoded(id));
    assert_eq!(put(&scene, &mallory, &target, &as_json(&good)).await.status, 400);
    assert_eq!(members(&scene), ["@alice:a.b"]);

    let answer = send(&scene, "v2/send_join", (&room, id), &as_json(&good)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(members(&scene), ["@alice:a.b", bob]);
    // An answer that was lost is given again, and nothing happens twice.
    let tips = scene.tips();
    assert_eq!(send(&scene, "v2/send_join", (&room, id), &as_json(&good)).await.ok()["state"], answer.ok()["state"]);
    assert_eq!(scene.tips(), tips);
}

/// Threat: a join that looks back behind the ban; one that was taken once, again; a server that the room does not let in.
#[tokio::test(start_paused = true)]
async fn who_was_put_out_does_not_come_back_by_an_old_event() {
    let scene = Scene::new("shared").await;
    let (bob, room) = ("@bob:p.q", scene.room.clone());
    let before = (root(&scene), scene.tips());
    let joins = json!({"membership": "join"});
    let first = member(&scene, bob, bob, joins.clone());
    send(&scene, "v2/send_join", (&room, first.event_id().as_str()), &as_json(&first)).await.ok();
    scene.sets("m.room.member", bob, json!({"membership": "ban"})).await;
    assert_eq!(members(&scene), ["@alice:a.b"]);

    let draft = Draft {
        sender: scene.user("bob"),
        kind: "m.room.member",
        state_key: Some(bob.to_owned()),
        content: json!({"membership": "join", "displayname": "Again"}),
        prev: Some(before.1),
    };
    let back_dated = scene.built_at(100, draft, before.0);
    let now = member(&scene, bob, bob, joins.clone());
    for event in [&back_dated, &now] {
        let answer = send(&scene, "v2/send_join", (&room, event.event_id().as_str()), &as_json(event)).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    // What was taken once gives nothing to read any more.
    let answer = send(&scene, "v2/send_join", (&room, first.event_id().as_str()), &as_json(&first)).await;
    answer.refused(403, "M_FORBIDDEN");
    assert_eq!(members(&scene), ["@alice:a.b"]);

    scene.sets("m.room.member", bob, json!({"membership": "leave"})).await;
    scene.sets("m.room.join_rules", "", json!({"join_rule": "knock"})).await;
    let knock = member(&scene, bob, bob, json!({"membership": "knock"}));
    let knocks = async || send(&scene, "v1/send_knock", (&room, knock.event_id().as_str()), &as_json(&knock)).await;
    let told = knocks().await.ok();
    assert_eq!(knocks().await.ok(), told, "the first answer may have been lost");
    scene.sets("m.room.member", bob, json!({"membership": "leave"})).await;
    knocks().await.refused(403, "M_FORBIDDEN");
    scene.sets("m.room.join_rules", "", json!({"join_rule": "public"})).await;

    scene.sets("m.room.server_acl", "", json!({"allow": ["*"], "deny": ["p.q"]})).await;
    let event = member(&scene, bob, bob, joins);
    let answer = send(&scene, "v2/send_join", (&room, event.event_id().as_str()), &as_json(&event)).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let made = scene
        .peer
        .get(&scene.server, &format!("/_matrix/federation/v1/make_join/{}/{bob}?ver=11", encoded(room.as_str())))
        .await;
    assert_eq!(made.status, 403, "{made:?}");
    assert_eq!(members(&scene), ["@alice:a.b"]);
}

/// Threat: who lets somebody into a restricted room is made up.
#[tokio::test(start_paused = true)]
async fn a_restricted_room_is_not_joined_by_a_made_up_authorisation() {
    let scene = Scene::new("shared").await;
    let (bob, room) = ("@bob:p.q", scene.room.clone());
    let club = scene.server.post("/v3/createRoom").by(&scene.alice).json(&json!({})).send().await.ok();
    let allow = json!([{"type": "m.room_membership", "room_id": club["room_id"]}]);
    scene.sets("m.room.join_rules", "", json!({"join_rule": "restricted", "allow": allow})).await;
    for via in [json!("@alice:a.b"), json!("@nobody:a.b"), json!("@bob:p.q"), json!("alice"), json!(5), Value::Null] {
        let event = member(&scene, bob, bob, json!({"membership": "join", "join_authorised_via_users_server": via}));
        let answer = send(&scene, "v2/send_join", (&room, event.event_id().as_str()), &as_json(&event)).await;
        assert!(matches!(answer.status, 400 | 403), "{via}: {answer:?}");
    }
    assert_eq!(members(&scene), ["@alice:a.b"]);
}

/// A room of the peer, as far as an invite to it shows it.
pub(super) struct Elsewhere {
    pub(super) id: &'static str,
    pub(super) create: Pdu,
}

impl Elsewhere {
    pub(super) fn new(scene: &Scene, id: &'static str) -> Self {
        let create = made(
            scene,
            id,
            ("m.room.create", "@bob:p.q", ""),
            json!({"creator": "@bob:p.q", "room_version": "10"}),
            &[],
        );
        Self { id, create }
    }

    pub(super) fn invite(&self, scene: &Scene, sender: &str, invitee: &str, membership: &str) -> Pdu {
        let content = json!({"membership": membership});
        made(scene, self.id, ("m.room.member", sender, invitee), content, &[&self.create])
    }

    pub(super) fn body(&self, invite: &Pdu) -> Value {
        json!({"room_version": "10", "event": as_json(invite), "invite_room_state": [as_json(&self.create)]})
    }
}

fn made(scene: &Scene, room: &str, (kind, sender, key): (&str, &str, &str), content: Value, prev: &[&Pdu]) -> Pdu {
    let rules = myelin::event::version::rules(&RoomVersionId::V10).unwrap();
    let ids: Vec<_> = prev.iter().map(|pdu| pdu.event_id().to_owned().into()).collect();
    let template = Template {
        room_id: Some(RoomId::parse(room).unwrap()),
        event_id: None,
        sender: UserId::parse(sender).unwrap(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        auth_events: ids.clone(),
        content: json::parse(content.to_string().as_bytes()).unwrap(),
        redacts: None,
        origin_server_ts: crate::harness::START,
        prev_events: ids,
        depth: u64::try_from(prev.len()).unwrap() + 1,
    };
    build::build(template, rules, &scene.peer.key()).unwrap()
}

pub(super) async fn invite(scene: &Scene, (room, event_id): (&str, &str), body: &Value) -> Answer {
    let target = format!("/_matrix/federation/v2/invite/{}/{}", encoded(room), encoded(event_id));
    put(scene, &scene.peer, &target, body).await
}

#[tokio::test(start_paused = true)]
async fn an_invite_is_signed_only_if_it_is_one() {
    let scene = Scene::new("shared").await;
    let room = Elsewhere::new(&scene, "!theirs:p.q");
    let alice = scene.alice.user_id.to_string();
    let good = room.invite(&scene, "@bob:p.q", &alice, "invite");
    let body = room.body(&good);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut body = body.clone();
        change(&mut body);
        body
    };
    let of = |pdu: &Pdu| (pdu.event_id().to_string(), room.body(pdu));
    let id = good.event_id().to_string();
    let with = |body: Value| (id.clone(), body);
    let cases: Vec<(&str, (String, Value), u16)> = vec![
        ("a version that nobody knows", with(changed(&|body| body["room_version"] = json!("99"))), 400),
        ("a version that it is not of", with(changed(&|body| body["room_version"] = json!("3"))), 400),
        ("a version that is none", with(changed(&|body| body["room_version"] = json!(10))), 400),
        ("no event", with(changed(&|body| body["event"] = Value::Null)), 400),
        ("unsigned", with(changed(&|body| body["event"]["signatures"] = json!({}))), 400),
        ("another content", with(changed(&|body| body["event"]["content"]["reason"] = json!("money"))), 400),
        ("of somebody else's", of(&room.invite(&scene, "@alice:a.b", &alice, "invite")), 400),
        ("for somebody else's", of(&room.invite(&scene, "@bob:p.q", "@carol:p.q", "invite")), 400),
        ("for nobody", of(&room.invite(&scene, "@bob:p.q", "alice", "invite")), 400),
        ("for whom there is not", of(&room.invite(&scene, "@bob:p.q", "@ghost:a.b", "invite")), 403),
        ("a join", of(&room.invite(&scene, "@bob:p.q", &alice, "join")), 400),
        ("a ban", of(&room.invite(&scene, "@bob:p.q", &alice, "ban")), 400),
    ];
    for (what, (event_id, body), status) in &cases {
        let answer = invite(&scene, (room.id, event_id), body).await;
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
        assert!(!answer.json["event"]["signatures"]["a.b"].is_object(), "{what}: nothing is signed");
    }
    for (to, event_id) in [("!other:p.q", id.as_str()), (room.id, "$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB")] {
        assert_eq!(invite(&scene, (to, event_id), &body).await.status, 400, "{to} {event_id}");
    }
    let synced = scene.server.get("/v3/sync").by(&scene.alice).send().await.ok();
    assert!(synced["rooms"]["invite"].as_object().is_none_or(serde_json::Map::is_empty));
}

/// Threat: what is told of the room is odd: it is for the user's eyes, and never breaks a sync.
#[tokio::test(start_paused = true)]
async fn what_an_invite_tells_of_its_room_is_cleaned() {
    let scene = Scene::new("shared").await;
    let room = Elsewhere::new(&scene, "!theirs:p.q");
    let other = Elsewhere::new(&scene, "!other:p.q");
    let alice = scene.alice.user_id.to_string();
    let good = room.invite(&scene, "@bob:p.q", &alice, "invite");
    let name = |name: Value| {
        let pdu = made(&scene, room.id, ("m.room.name", "@bob:p.q", ""), json!({"name": name}), &[&room.create]);
        as_json(&pdu)
    };
    let mut forged = name(json!("Forged"));
    forged["signatures"] = json!({});
    let odd = [
        Value::Null,
        json!({}),
        json!("all"),
        json!([]),
        json!([null, 5, "x", {}, {"type": 5}]),
        json!([as_json(&other.create)]),
        json!(vec![as_json(&room.create); 2_000]),
    ];
    for state in odd {
        let mut body = room.body(&good);
        body["invite_room_state"] = state.clone();
        let answer = invite(&scene, (room.id, good.event_id().as_str()), &body).await;
        assert!(answer.status == 200 || answer.status == 400, "{answer:?}");
        let synced = scene.server.get("/v3/sync").by(&scene.alice).send().await.ok();
        let shown = &synced["rooms"]["invite"][room.id]["invite_state"]["events"];
        assert_eq!(shown.is_array(), answer.status == 200);
        assert!(
            shown.as_array().is_none_or(|shown| shown.len() < 100),
            "it is bounded: {}",
            shown.as_array().unwrap().len()
        );
        assert!(!shown.to_string().contains("!other:p.q"));
    }
    let mut body = room.body(&good);
    let told = [as_json(&room.create), name(json!({"a": 1})), forged, json!(7), name(json!("x".repeat(60_000)))];
    body["invite_room_state"] = json!(told);
    let signed = invite(&scene, (room.id, good.event_id().as_str()), &body).await.ok();
    assert!(signed["event"]["signatures"]["a.b"].is_object(), "{signed}");
    let synced = scene.server.get("/v3/sync").by(&scene.alice).send().await.ok();
    let shown = synced["rooms"]["invite"][room.id]["invite_state"]["events"].as_array().unwrap().clone();
    assert!(shown.iter().any(|event| event["type"] == "m.room.create"));
    assert!(shown.iter().any(|event| event["type"] == "m.room.member" && event["state_key"] == json!(alice)));
    assert!(shown.iter().all(|event| event["type"].is_string() && event["content"].is_object()));
}
