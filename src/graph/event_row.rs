//! What is stored of an event: its body, written once, and its meta, the only part that changes.

use bytes::Bytes;
use ruma::{EventId, OwnedEventId, OwnedUserId, UserId};

use super::{
    bytes::{finish, first_version, put_option, put_str, take, take_option, take_str, take_u8, take_u32, take_u64},
    types::{Root, Seq, Status, Tie},
};
use crate::{
    base::{clock::UnixMillis, json_writer::Object},
    event::{FormatError, Pdu, Rules},
    store::{DecodeError, Position, Value},
};

/// The body of an event: canonical JSON as other servers see it, and a header of what is read most.
///
/// Replaced only by redaction. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its id.
    pub event_id: OwnedEventId,
    /// Its `type`.
    pub kind: String,
    /// Its `state_key`, if it is a state event.
    pub state_key: Option<String>,
    /// Its `sender`.
    pub sender: OwnedUserId,
    /// Its `origin_server_ts`, in ms. What a server says; nothing is decided by it.
    pub origin_server_ts: UnixMillis,
    /// The id of the event that it redacts, wherever its room version keeps it.
    pub redacts: Option<OwnedEventId>,
    /// Where in `pdu` the value of `content` begins, and behind which byte it ends.
    pub content: (u32, u32),
    /// The whole event in canonical JSON, signatures included, without `unsigned`.
    pub pdu: Bytes,
}

impl StoredEvent {
    /// The stored form of an event.
    pub fn of(pdu: &Pdu) -> Self {
        let range = pdu.content_range();
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            event_id: pdu.event_id().to_owned(),
            kind: pdu.kind().to_owned(),
            state_key: pdu.state_key().map(str::to_owned),
            sender: pdu.sender().to_owned(),
            origin_server_ts: pdu.origin_server_ts(),
            redacts: pdu.redacts().map(ToOwned::to_owned),
            content: (offset(range.start), offset(range.end)),
            pdu: pdu.json().clone(),
        }
    }

    /// What would be left of it if it were redacted.
    ///
    /// # Errors
    /// When it is no event of a room version with these rules.
    pub fn redacted(&self, rules: &Rules) -> Result<Self, FormatError> {
        let pdu = Pdu::from_stored(self.event_id.clone(), self.pdu.clone(), rules)?;
        Ok(Self::of(&pdu.redacted(rules)?))
    }

    /// The value of `content`, as JSON.
    pub fn content(&self) -> &[u8] {
        let (start, end) = self.content;
        let range = usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        self.pdu.get(range).unwrap_or(b"{}")
    }

    /// Whether it is a state event of this type and key.
    pub fn is_state(&self, kind: &str, state_key: &str) -> bool {
        self.kind == kind && self.state_key.as_deref() == Some(state_key)
    }

    /// The event as clients see it, but for what each of them gets otherwise: an object without its `room_id`, its
    /// `unsigned` and its closing brace, to be gone on with by [`Object::resume`].
    ///
    /// An event that redacts has `redacts` at the top level, as clients of every age look for it there (client-server
    /// API, "m.room.redaction").
    pub fn client_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.content().len() + 256);
        let mut object = Object::begin(&mut out);
        object.raw("content", self.content());
        object.value("event_id", self.event_id.as_str());
        object.value("origin_server_ts", &self.origin_server_ts);
        if let Some(redacts) = &self.redacts {
            object.value("redacts", redacts.as_str());
        }
        object.value("sender", self.sender.as_str());
        if let Some(state_key) = &self.state_key {
            object.value("state_key", state_key);
        }
        object.value("type", &self.kind);
        out
    }
}

impl Value for StoredEvent {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        put_str(out, self.event_id.as_str());
        put_str(out, &self.kind);
        put_option(out, self.state_key.as_deref());
        put_str(out, self.sender.as_str());
        out.extend_from_slice(&self.origin_server_ts.to_be_bytes());
        put_option(out, self.redacts.as_ref().map(|id| id.as_str()));
        out.extend_from_slice(&self.content.0.to_be_bytes());
        out.extend_from_slice(&self.content.1.to_be_bytes());
        out.extend_from_slice(&self.pdu);
    }

    fn decode(version: u8, mut body: &[u8]) -> Result<Self, DecodeError> {
        first_version(version)?;
        let input = &mut body;
        Ok(Self {
            event_id: event_id(take_str(input)?)?,
            kind: take_str(input)?.to_owned(),
            state_key: take_option(input)?.map(str::to_owned),
            sender: UserId::parse(take_str(input)?).map_err(|_| DecodeError("not a user id"))?,
            origin_server_ts: take_u64(input)?,
            redacts: take_option(input)?.map(event_id).transpose()?,
            content: (take_u32(input)?, take_u32(input)?),
            pdu: Bytes::copy_from_slice(input),
        })
    }
}

fn event_id(text: &str) -> Result<OwnedEventId, DecodeError> {
    EventId::parse(text).map_err(|_| DecodeError("not an event id"))
}

/// The client request that an event came from: its sender gets it back as `unsigned.transaction_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEcho {
    /// The device that sent it.
    pub device_id: String,
    /// The transaction id of its request.
    pub transaction_id: String,
}

/// What became of an event, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMeta {
    /// What became of it.
    pub status: Status,
    /// The state before it.
    pub root_before: Root,
    /// Its depth, our ordering copy: the event's own, clamped to what its previous events allow.
    pub depth: u64,
    /// Its place among events of that depth, and the commit that brought it.
    pub tie: Tie,
    /// The redaction that took its content away.
    pub redacted_by: Option<Seq>,
    /// The request that it came from, if a client of ours sent it.
    pub local_echo: Option<LocalEcho>,
    /// It is for us to send to other servers: ours, or countersigned by us.
    pub relay: bool,
    /// It was accepted while the room's state was partial.
    pub partial: bool,
}

impl EventMeta {
    /// The commit that brought it; [`Position::ZERO`] for an outlier.
    pub fn position(&self) -> Position {
        self.tie.position()
    }
}

const RELAY: u8 = 1;
const PARTIAL: u8 = 2;
const REDACTED: u8 = 4;
const ECHO: u8 = 8;

impl Value for EventMeta {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let redacted = flag(self.redacted_by.is_some(), REDACTED);
        let echo = flag(self.local_echo.is_some(), ECHO);
        out.push(self.status as u8);
        out.push(flag(self.relay, RELAY) | flag(self.partial, PARTIAL) | redacted | echo);
        out.extend_from_slice(&self.root_before.0);
        out.extend_from_slice(&self.depth.to_be_bytes());
        out.extend_from_slice(&self.tie.0.to_be_bytes());
        if let Some(redacted_by) = self.redacted_by {
            out.extend_from_slice(&redacted_by.0.to_be_bytes());
        }
        if let Some(echo) = &self.local_echo {
            put_str(out, &echo.device_id);
            put_str(out, &echo.transaction_id);
        }
    }

    fn decode(version: u8, mut body: &[u8]) -> Result<Self, DecodeError> {
        first_version(version)?;
        let input = &mut body;
        let status = match take_u8(input)? {
            0 => Status::Outlier,
            1 => Status::Accepted,
            2 => Status::Rejected,
            3 => Status::SoftFailed,
            4 => Status::Held,
            _ => return Err(DecodeError("an unknown event status")),
        };
        let flags = take_u8(input)?;
        let meta = Self {
            status,
            root_before: Root(take(input)?),
            depth: take_u64(input)?,
            tie: Tie(i64::from_be_bytes(take(input)?)),
            redacted_by: if flags & REDACTED != 0 { Some(Seq(take_u32(input)?)) } else { None },
            local_echo: if flags & ECHO != 0 {
                let device_id = take_str(input)?.to_owned();
                Some(LocalEcho { device_id, transaction_id: take_str(input)?.to_owned() })
            } else {
                None
            },
            relay: flags & RELAY != 0,
            partial: flags & PARTIAL != 0,
        };
        finish(input)?;
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::value::{from_bytes, to_bytes};

    fn event() -> StoredEvent {
        let pdu = br#"{"content":{"body":"hi"},"type":"m.room.message"}"#;
        StoredEvent {
            event_id: EventId::parse("$abc").unwrap(),
            kind: "m.room.message".to_owned(),
            state_key: None,
            sender: UserId::parse("@a:b.c").unwrap(),
            origin_server_ts: 5,
            redacts: None,
            content: (11, 24),
            pdu: Bytes::from_static(pdu),
        }
    }

    #[test]
    fn bodies_and_metas_are_read_as_they_are_written() {
        let mut event = event();
        assert_eq!(from_bytes::<StoredEvent>(&to_bytes(&event)).unwrap(), event);
        event.state_key = Some(String::new());
        event.redacts = Some(EventId::parse("$other").unwrap());
        assert_eq!(from_bytes::<StoredEvent>(&to_bytes(&event)).unwrap(), event);
        let echo = LocalEcho { device_id: "D".to_owned(), transaction_id: "t".to_owned() };
        for (redacted_by, local_echo) in [(None, None), (Some(Seq(9)), Some(echo.clone())), (None, Some(echo))] {
            let meta = EventMeta {
                status: Status::SoftFailed,
                root_before: Root([7; 16]),
                depth: 3,
                tie: Tie::backfilled(Position(4), 1),
                redacted_by,
                local_echo,
                relay: true,
                partial: false,
            };
            assert_eq!(from_bytes::<EventMeta>(&to_bytes(&meta)).unwrap(), meta);
        }
    }

    #[test]
    fn the_client_form_is_left_open() {
        let mut json = event().client_json();
        Object::resume(&mut json).end();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"content": {"body": "hi"}, "event_id": "$abc", "origin_server_ts": 5, "sender": "@a:b.c",
                "type": "m.room.message"})
        );
    }
}
