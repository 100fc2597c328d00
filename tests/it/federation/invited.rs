//! Invites by servers that may be anybody: what is taken of them, what is shown, and what they may undo.

use std::{sync::Arc, time::Duration};

use myelin::{
    event::{Pdu, Template, build, json, version},
    graph::Membership,
};
use ruma::{RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use super::{
    reads::Scene,
    rooms::{act, pdu, sync, sync_since},
    strangers::{Elsewhere, as_json, invite, member},
};
use crate::harness::{START, TestUser, reply};

/// The rooms that a user is shown as invited to.
fn shown(synced: &Value) -> Vec<String> {
    let rooms = synced["rooms"]["invite"].as_object();
    rooms.into_iter().flatten().map(|(room, _)| room.clone()).collect()
}

fn state_id(scene: &Scene, kind: &str, key: &str) -> ruma::OwnedEventId {
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
