//! Rooms that several whole servers share, as tests of joins, invites, knocks and leaves look at them.

use std::collections::BTreeMap;

use myelin::{
    event::{Pdu, version},
    graph::{Head, Membership, Receipt, RoomNo, Verdict},
    store::{ReadError, View},
};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde_json::{Value, json};

use crate::harness::{Answer, Network, TestServer, TestUser};

/// A server on which everybody may register.
pub fn server(network: &Network, name: &str) -> TestServer {
    TestServer::in_network(network, name, "[registration]\nmode = \"open\"\n")
}

/// A new room, by the body of `createRoom`.
pub async fn create(server: &TestServer, by: &TestUser, body: Value) -> OwnedRoomId {
    let created = server.post("/v3/createRoom").by(by).json(&body).send().await.ok();
    RoomId::parse(created["room_id"].as_str().unwrap()).unwrap()
}

/// `POST /join/{room}` through these servers.
pub async fn join(server: &TestServer, user: &TestUser, room: &str, via: &[&str]) -> Answer {
    post(server, user, "join", room, via, &json!({})).await
}

/// `POST /{what}/{room}` through these servers.
pub async fn post(server: &TestServer, user: &TestUser, what: &str, room: &str, via: &[&str], body: &Value) -> Answer {
    let query: Vec<String> = via.iter().map(|via| format!("via={via}")).collect();
    let target = format!("/v3/{what}/{}?{}", encoded(room), query.join("&"));
    server.post(&target).by(user).json(body).send().await
}

/// Sends a message; its id.
pub async fn say(server: &TestServer, user: &TestUser, room: &RoomId, text: &str) -> OwnedEventId {
    let target = format!("/v3/rooms/{}/send/m.room.message/{text}", encoded(room.as_str()));
    let body = json!({"msgtype": "m.text", "body": text});
    event_id(&server.put(&target).by(user).json(&body).send().await.ok())
}

/// Sets state; its event's id.
pub async fn set(
    server: &TestServer,
    user: &TestUser,
    room: &RoomId,
    (kind, key): (&str, &str),
    content: Value,
) -> OwnedEventId {
    let target = format!("/v3/rooms/{}/state/{kind}/{}", encoded(room.as_str()), encoded(key));
    event_id(&server.put(&target).by(user).json(&content).send().await.ok())
}

fn event_id(answer: &Value) -> OwnedEventId {
    answer["event_id"].as_str().unwrap().try_into().unwrap()
}

/// The current state by the server's own rows: type and key → event id.
pub fn state(server: &TestServer, room: &RoomId) -> BTreeMap<(String, String), OwnedEventId> {
    let reader = server.app().rooms.reader();
    let read = |view: &View<'_>| {
        let Some((no, head)) = reader.room(view, room)? else { return Ok(BTreeMap::new()) };
        let seqs: Vec<_> = reader.state(view, no, head.root)?.into_iter().map(|(_, seq)| (no, seq)).collect();
        let events = reader.events(view, &seqs)?.into_iter().flatten();
        Ok(events
            .map(|event| ((event.kind.clone(), event.state_key.clone().unwrap()), event.event_id.clone()))
            .collect())
    };
    server.app().store.read_blocking::<_, ReadError>(read).unwrap()
}

/// Number and head of a room that the server has.
pub fn room(server: &TestServer, room: &RoomId) -> Option<(RoomNo, Head)> {
    let reader = server.app().rooms.reader();
    server.app().store.read_blocking::<_, ReadError>(|view| reader.room(view, room)).unwrap()
}

/// What a user is in a room, by the server's current state.
pub fn membership(server: &TestServer, room_id: &RoomId, user: &str) -> Option<Membership> {
    let (no, _) = room(server, room_id)?;
    let user = UserId::parse(user).unwrap();
    let reader = server.app().rooms.reader();
    let member = server.app().store.read_blocking::<_, ReadError>(|view| reader.member(view, no, &user)).unwrap();
    member.map(|member| member.membership)
}

/// An event of the room as the server has it.
pub fn pdu(server: &TestServer, id: &OwnedEventId) -> Pdu {
    let reader = server.app().rooms.reader();
    let read = |view: &View<'_>| {
        let event = reader.event_by_id(view, id)?.unwrap();
        let head = reader.head(view, event.room)?.unwrap();
        Ok((event, head.room_version))
    };
    let (event, room_version) = server.app().store.read_blocking::<_, ReadError>(read).unwrap();
    Pdu::from_stored(event.body.event_id, event.body.pdu, version::rules(&room_version).unwrap()).unwrap()
}

/// Hands an event of one server over to another, as a transaction would, if that has not come yet. Whether it is there then.
pub async fn hand_over(from: &TestServer, to: &TestServer, id: &OwnedEventId) -> bool {
    let pdu = pdu(from, id);
    let (no, head) = room(to, pdu.room_id()).unwrap();
    let rules = version::rules(&head.room_version).unwrap();
    let verified = to.app().federation.keys().verify(vec![pdu], rules).await.unwrap().remove(0).unwrap();
    let verdict = to.app().graph.receive(no, Receipt::from(verified)).await.unwrap();
    matches!(verdict, Verdict::Accepted(_) | Verdict::Duplicate(_))
}

/// A whole `/sync`.
pub async fn sync(server: &TestServer, user: &TestUser) -> Value {
    server.get("/v3/sync").by(user).send().await.ok()
}

pub fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace('$', "%24").replace('!', "%21").replace(':', "%3A").replace('#', "%23")
}

/// `POST /rooms/{room}/{what}`.
pub async fn act(server: &TestServer, user: &TestUser, room: &RoomId, what: &str, body: Value) -> Answer {
    let target = format!("/v3/rooms/{}/{what}", encoded(room.as_str()));
    server.post(&target).by(user).json(&body).send().await
}

/// What is new since `since`.
pub async fn sync_since(server: &TestServer, user: &TestUser, since: &Value) -> Value {
    let since = since["next_batch"].as_str().unwrap();
    server.get(&format!("/v3/sync?since={since}")).by(user).send().await.ok()
}

/// The stripped event of this type among those of an invite or a knock.
pub fn stripped<'a>(events: &'a Value, kind: &str, key: &str) -> &'a Value {
    let events = events["events"].as_array().expect("there are stripped events");
    let found = events.iter().find(|event| event["type"] == kind && event["state_key"] == key);
    found.unwrap_or(&Value::Null)
}
