//! An event as one client gets it: the bytes that everybody gets, and behind them what this recipient gets.

use ruma::{EventId, RoomId, UserId};

use crate::{
    base::{clock::UnixMillis, json_writer::Object},
    graph::{Membership, StoredEvent},
};

/// What the server says of an event to one recipient: the `unsigned` of the client format. Absent members are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsigned<'a> {
    /// Ms since the sender's server made it, by two clocks that may differ: may be negative.
    pub age: Option<i64>,
    /// The transaction id by which this very device sent it.
    pub transaction_id: Option<&'a str>,
    /// The recipient's membership at the event (after it, if it is their own).
    pub membership: Option<Membership>,
    /// The content that this state event replaced, as JSON.
    pub prev_content: Option<&'a [u8]>,
    /// Who sent that. Not in the specification, but clients know by it who made a direct chat that the user has joined.
    pub prev_sender: Option<&'a UserId>,
    /// The state event that it replaced.
    pub replaces_state: Option<&'a EventId>,
    /// The redaction that took the content away, as a client event.
    pub redacted_because: Option<&'a [u8]>,
    /// `m.relations`: bundled aggregations, as JSON.
    pub relations: Option<&'a [u8]>,
}

impl Unsigned<'_> {
    fn is_empty(&self) -> bool {
        let Self {
            age,
            transaction_id,
            membership,
            prev_content,
            prev_sender,
            replaces_state,
            redacted_because,
            relations,
        } = self;
        age.is_none()
            && transaction_id.is_none()
            && membership.is_none()
            && prev_content.is_none()
            && prev_sender.is_none()
            && replaces_state.is_none()
            && redacted_because.is_none()
            && relations.is_none()
    }

    /// Writes it as a member of an event.
    pub fn write(&self, event: &mut Object<'_>) {
        if self.is_empty() {
            return;
        }
        event.object("unsigned", |unsigned| {
            if let Some(age) = self.age {
                unsigned.value("age", &age);
            }
            if let Some(transaction_id) = self.transaction_id {
                unsigned.value("transaction_id", transaction_id);
            }
            if let Some(membership) = self.membership {
                unsigned.value("membership", membership.as_str());
            }
            if let Some(prev_content) = self.prev_content {
                unsigned.raw("prev_content", prev_content);
            }
            if let Some(prev_sender) = self.prev_sender {
                unsigned.value("prev_sender", prev_sender.as_str());
            }
            if let Some(replaces_state) = self.replaces_state {
                unsigned.value("replaces_state", replaces_state.as_str());
            }
            if let Some(redacted_because) = self.redacted_because {
                unsigned.raw("redacted_because", redacted_because);
            }
            if let Some(relations) = self.relations {
                unsigned.raw("m.relations", relations);
            }
        });
    }
}

/// Ms between the time that an event says and `now`.
pub fn age(event: &StoredEvent, now: UnixMillis) -> i64 {
    let signed = |time: UnixMillis| i64::try_from(time).unwrap_or(i64::MAX);
    signed(now).saturating_sub(signed(event.origin_server_ts))
}

/// The client format of an event: its shared bytes ([`StoredEvent::client_json`]), the room's id where the response does
/// not say it otherwise, and `unsigned`.
pub fn client_event(shared: &[u8], room_id: Option<&RoomId>, unsigned: &Unsigned<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(shared.len() + 192);
    out.extend_from_slice(shared);
    let mut event = Object::resume(&mut out);
    if let Some(room_id) = room_id {
        event.value("room_id", room_id.as_str());
    }
    unsigned.write(&mut event);
    event.end();
    out
}

/// An event as it is told to those who are not in the room (client-server API, "Stripped state"). A create event comes with
/// its time, too (MSC4311).
pub fn stripped(event: &StoredEvent) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.content().len() + 128);
    let mut object = Object::begin(&mut out);
    object.raw("content", event.content());
    if event.kind == "m.room.create" {
        object.value("origin_server_ts", &event.origin_server_ts);
    }
    object.value("sender", event.sender.as_str());
    object.value("state_key", event.state_key.as_deref().unwrap_or_default());
    object.value("type", &event.kind);
    object.end();
    out
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, events::AnyTimelineEvent, room_id, serde::Raw, user_id};
    use serde_json::{Value as Json, json};

    use super::*;

    const SHARED: &[u8] = br#"{"content":{"name":"new"},"event_id":"$e","origin_server_ts":5,"sender":"@a:b","state_key":"","type":"m.room.name""#;

    #[test]
    fn every_recipient_gets_their_own_end() {
        let unsigned = Unsigned {
            age: Some(-3),
            transaction_id: Some("t\"1"),
            membership: Some(Membership::Join),
            prev_content: Some(br#"{"name":"old"}"#),
            prev_sender: Some(user_id!("@c:d")),
            replaces_state: Some(event_id!("$before")),
            redacted_because: None,
            relations: Some(br#"{"m.reference":{"chunk":[]}}"#),
        };
        let event = client_event(SHARED, Some(room_id!("!r:b")), &unsigned);
        let json: Json = serde_json::from_slice(&event).unwrap();
        assert_eq!(
            json,
            json!({"content": {"name": "new"}, "event_id": "$e", "origin_server_ts": 5, "sender": "@a:b", "state_key": "",
                "type": "m.room.name", "room_id": "!r:b", "unsigned": {"age": -3, "transaction_id": "t\"1",
                "membership": "join", "prev_content": {"name": "old"}, "prev_sender": "@c:d", "replaces_state": "$before",
                "m.relations": {"m.reference": {"chunk": []}}}})
        );
        Raw::<AnyTimelineEvent>::from_json_string(String::from_utf8(event).unwrap()).unwrap().deserialize().unwrap();
    }

    #[test]
    fn an_empty_end_is_left_out() {
        let event = client_event(SHARED, None, &Unsigned::default());
        assert_eq!(event.strip_prefix(SHARED), Some(&b"}"[..]));
    }
}
