//! Servers that know only the first versions of endpoints which have a second: what they send is taken, and they are asked so where
//! the specification says so.

use std::sync::{Arc, Mutex};

use http::Method;
use myelin::{
    event::{Pdu, Template, build, json, version},
    graph::Membership,
};
use ruma::{EventId, RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use super::{
    reads::{Draft, Scene, encoded},
    rooms,
};
use crate::harness::{Answer, Network, Peer, START, reply};

const V1: &str = "/_matrix/federation/v1";
const DAY: u64 = 24 * 60 * 60 * 1_000;

async fn put(scene: &Scene, target: &str, body: &Value) -> Answer {
    let header = scene.peer.header("a.b", "PUT", target, &body.to_string());
    let request = scene.server.request(Method::PUT, target.to_owned()).header("authorization", &header);
    request.json(body).send_anyhow().await
}

/// An event of the peer, sent by one of the endpoints for memberships; the answer is a list of a status and an object.
async fn send(scene: &Scene, what: &str, membership: &str) -> Value {
    let bob = scene.user("bob");
    let state_key = Some(bob.to_string());
    let content = json!({"membership": membership});
    let root = scene.read(|_, _, _, head| Ok(head.root));
    let event = scene.built_at(100, Draft { sender: bob, kind: "m.room.member", state_key, content, prev: None }, root);
    let (room, id) = (encoded(scene.room.as_str()), encoded(event.event_id().as_str()));
    let body: Value = serde_json::from_slice(event.json()).unwrap();
    let answer = put(scene, &format!("{V1}/{what}/{room}/{id}"), &body).await.ok();
    assert_eq!((answer[0].as_u64(), answer.as_array().map(Vec::len)), (Some(200), Some(2)), "{answer}");
    answer[1].clone()
}

fn stands(scene: &Scene) -> Option<Membership> {
    rooms::membership(&scene.server, &scene.room, "@bob:p.q")
}

#[tokio::test(start_paused = true)]
async fn they_join_and_leave() {
    let scene = Scene::new("shared").await;
    let bob = encoded("@bob:p.q");
    let made = scene.peer.get(&scene.server, &format!("{V1}/make_join/{}/{bob}?ver=1&ver=12", scene.room)).await.ok();
    assert_eq!(made["event"]["content"]["membership"], "join");
    let joined = send(&scene, "send_join", "join").await;
    let state = joined["state"].as_array().unwrap();
    for kind in ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.member"] {
        assert!(state.iter().any(|event| event["type"] == kind), "{kind}: {joined}");
    }
    assert!(joined["auth_chain"].is_array() && joined["event"]["state_key"] == "@bob:p.q", "{joined}");
    assert_eq!(stands(&scene), Some(Membership::Join));
    let made = scene.peer.get(&scene.server, &format!("{V1}/make_leave/{}/{bob}", scene.room)).await.ok();
    assert_eq!(made["event"]["content"]["membership"], "leave");
    assert_eq!(send(&scene, "send_leave", "leave").await, json!({}));
    assert_eq!(stands(&scene), Some(Membership::Leave));
}

/// An event of a room of the peer, whose events have ids of their own.
fn made(peer: &Peer, number: u8, (kind, key): (&str, &str), content: &Value, prev: &[&Pdu]) -> Pdu {
    let rules = version::rules(&RoomVersionId::V1).unwrap();
    let ids: Vec<_> = prev.iter().map(|pdu| pdu.event_id().to_owned().into()).collect();
    let template = Template {
        room_id: Some(RoomId::parse("!theirs:p.q").unwrap()),
        event_id: Some(EventId::parse(format!("$event{number}:p.q")).unwrap()),
        sender: UserId::parse("@bob:p.q").unwrap(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        auth_events: ids.clone(),
        content: json::parse(content.to_string().as_bytes()).unwrap(),
        redacts: None,
        origin_server_ts: START,
        prev_events: ids,
        depth: u64::from(number),
    };
    build::build(template, rules, &peer.key()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn they_invite_us_into_rooms_of_the_first_versions() {
    let scene = Scene::new("shared").await;
    let create = made(&scene.peer, 1, ("m.room.create", ""), &json!({"creator": "@bob:p.q"}), &[]);
    let alice = scene.alice.user_id.clone();
    let invite = made(&scene.peer, 2, ("m.room.member", &alice), &json!({"membership": "invite"}), &[&create]);
    let as_json = |pdu: &Pdu| serde_json::from_slice::<Value>(pdu.json()).unwrap();
    let target = format!("{V1}/invite/{}/{}", encoded("!theirs:p.q"), encoded(invite.event_id().as_str()));
    let mut body = as_json(&invite);
    body["unsigned"] = json!({"invite_room_state": [as_json(&create)]});
    let answer = put(&scene, &target, &body).await.ok();
    let event = &answer[1]["event"];
    assert_eq!(answer[0], 200);
    let signed = event["signatures"].as_object().unwrap();
    assert!(signed.contains_key("a.b") && signed.contains_key("p.q"), "{event}");
    let invited = rooms::sync(&scene.server, &scene.alice).await;
    let told = &invited["rooms"]["invite"]["!theirs:p.q"]["invite_state"];
    assert_eq!(rooms::stripped(told, "m.room.member", &alice)["sender"], "@bob:p.q");
}

/// A server that signs what it is invited to by `/v1/invite`, and knows no `/v2`; and what it was sent there.
fn of_old(network: &Network) -> Arc<Mutex<Vec<Value>>> {
    let (peer, seen) = (Peer::new("old.org", 3, "k"), Arc::new(Mutex::new(Vec::new())));
    let (document, noted) = (peer.document(START + DAY, |_| ()), Arc::clone(&seen));
    network.script("old.org", move |request| {
        if request.method == Method::GET {
            return reply(200, &document);
        }
        if !request.target.starts_with(&format!("{V1}/invite/")) {
            return reply(404, &json!({"errcode": "M_UNRECOGNIZED", "error": "unknown"}));
        }
        let mut body: Value = serde_json::from_slice(&request.body).unwrap();
        noted.lock().unwrap().push(body.clone());
        body.as_object_mut().unwrap().remove("unsigned");
        let mut event = json::parse(body.to_string().as_bytes()).unwrap();
        peer.key().sign_event(&mut event, version::rules(&RoomVersionId::V1).unwrap()).unwrap();
        reply(200, &json!([200, {"event": serde_json::to_value(event).unwrap()}]))
    });
    seen
}

#[tokio::test(start_paused = true)]
async fn we_invite_them_into_rooms_of_the_first_versions_only() {
    let network = Network::default();
    let server = rooms::server(&network, "a.b");
    let alice = server.register_user("alice").await;
    let asked = of_old(&network);
    let guest = json!({"user_id": "@gus:old.org"});
    for (room_version, can) in [("1", true), ("2", true), ("3", false), ("12", false)] {
        let body = json!({"preset": "private_chat", "name": "Secret", "room_version": room_version});
        let room = rooms::create(&server, &alice, body).await;
        let target = format!("/v3/rooms/{}/invite", encoded(room.as_str()));
        let answer = server.post(&target).by(&alice).json(&guest).send_anyhow().await;
        let stands = rooms::membership(&server, &room, "@gus:old.org");
        let asked: Vec<Value> = std::mem::take(&mut *asked.lock().unwrap());
        if can {
            answer.ok();
            assert_eq!(stands, Some(Membership::Invite), "version {room_version}");
            let told = asked[0]["unsigned"]["invite_room_state"].as_array().unwrap();
            assert!(told.iter().any(|event| event["content"]["name"] == "Secret"), "{told:?}");
            let signed =
                rooms::pdu(&server, &rooms::state(&server, &room)[&member("@gus:old.org")]).to_object().unwrap();
            assert_eq!(signed["signatures"].as_object().unwrap().len(), 2, "version {room_version}");
        } else {
            assert!(answer.status >= 400 && stands.is_none(), "version {room_version}: {answer:?}");
            assert!(asked.is_empty(), "its events can't be told by that endpoint: {asked:?}");
        }
    }
}

fn member(user: &str) -> (String, String) {
    ("m.room.member".to_owned(), user.to_owned())
}
