//! Persistent data units: events as servers exchange and sign them (room versions, "Event format").

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
    events::TimelineEventType,
    state_res,
};
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    hash, json,
    version::{Rules, redacts_in_content, room_id_is_create_id},
};
use crate::base::clock::UnixMillis;

/// The most bytes of an event in canonical JSON, signatures included (client-server API, "Size limits").
pub const LARGEST: usize = 65_536;
/// The most bytes of `sender`, `room_id`, `state_key`, `type` and `event_id` (there too).
pub const LONGEST_FIELD: usize = 255;
/// The most events that one may cite as previous, and as authorising (room versions, "Event format").
pub const MOST_PREV_EVENTS: usize = 20;
/// See [`MOST_PREV_EVENTS`].
pub const MOST_AUTH_EVENTS: usize = 10;

/// Why bytes are no event of their room version.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// It is larger than [`LARGEST`], or one of its fields is longer than [`LONGEST_FIELD`].
    #[error("the event is too large: {0}")]
    TooLarge(&'static str),
    /// It is not JSON of the kind that its room version wants.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// A field is missing or not what it should be.
    #[error("not an event: {0}")]
    Invalid(String),
}

/// An event that respects the format of its room version. Its signatures may still be anybody's; see
/// [`Verified`](super::Verified). Cheap to clone.
#[derive(Clone)]
pub struct Pdu {
    inner: Arc<Inner>,
    is_rejected: bool,
}

struct Inner {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    /// It carries its `room_id`; only a create event of version 12 and later does not.
    names_room: bool,
    sender: OwnedUserId,
    kind: String,
    /// The same, as the auth rules want it.
    ruma_kind: TimelineEventType,
    state_key: Option<String>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: u64,
    origin_server_ts: UnixMillis,
    redacts: Option<OwnedEventId>,
    content: Box<RawValue>,
    content_at: usize,
    json: Bytes,
}

/// The fields that are read of a stored event, borrowed from its bytes.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    auth_events: Vec<Citation<'a>>,
    #[serde(borrow)]
    content: &'a RawValue,
    depth: u64,
    origin_server_ts: i64,
    #[serde(borrow)]
    prev_events: Vec<Citation<'a>>,
    #[serde(borrow, default)]
    redacts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    room_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(borrow, default)]
    state_key: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// A cited event: its id, or in versions 1 and 2 a pair of id and hash.
struct Citation<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Citation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form<'a> {
            Id(#[serde(borrow)] Cow<'a, str>),
            Pair(#[serde(borrow)] Cow<'a, str>, IgnoredAny),
        }
        Form::deserialize(deserializer).map(|form| match form {
            Form::Id(id) | Form::Pair(id, _) => Self(id),
        })
    }
}

impl Pdu {
    /// Reads an event of a room of this version from bytes that came from outside. `unsigned` is dropped: what it says is
    /// no part of the event.
    ///
    /// Server-server API, "Checks performed on receipt of a PDU", step 1.
    pub fn parse(bytes: &[u8], rules: &Rules) -> Result<Self, FormatError> {
        let mut object = json::parse(bytes)?;
        object.remove("unsigned");
        Self::from_object(object, rules)
    }

    /// The same, of an object.
    pub fn from_object(object: CanonicalJsonObject, rules: &Rules) -> Result<Self, FormatError> {
        check_format(&object, rules)?;
        let event_id = hash::event_id(&object, rules).map_err(|error| FormatError::Invalid(error.to_string()))?;
        let json = json::to_bytes(&object);
        if json.len() > LARGEST {
            return Err(FormatError::TooLarge("more than 65,536 bytes"));
        }
        Self::read(event_id, Bytes::from(json), rules)
    }

    /// An event that was stored as [`Pdu::json`], under the id that it had: nothing is checked again.
    pub fn from_stored(event_id: OwnedEventId, json: Bytes, rules: &Rules) -> Result<Self, FormatError> {
        Self::read(event_id, json, rules)
    }

    fn read(event_id: OwnedEventId, json: Bytes, rules: &Rules) -> Result<Self, FormatError> {
        let invalid = |what: &str, error: &dyn fmt::Display| FormatError::Invalid(format!("{what}: {error}"));
        let fields: Fields<'_> = serde_json::from_slice(&json).map_err(|error| invalid("a field", &error))?;
        let ids = |cited: &[Citation<'_>]| {
            let id = |citation: &Citation<'_>| OwnedEventId::try_from(&*citation.0);
            cited.iter().map(id).collect::<Result<Vec<_>, _>>().map_err(|error| invalid("a cited event", &error))
        };
        let room_id = match &fields.room_id {
            Some(room_id) => OwnedRoomId::try_from(&**room_id).map_err(|error| invalid("room_id", &error))?,
            None => room_id_of_create(&event_id)?,
        };
        let content_at = (fields.content.get().as_ptr() as usize).saturating_sub(json.as_ptr() as usize);
        let inner = Inner {
            room_id,
            names_room: fields.room_id.is_some(),
            sender: OwnedUserId::try_from(&*fields.sender).map_err(|error| invalid("sender", &error))?,
            state_key: fields.state_key.as_deref().map(str::to_owned),
            prev_events: ids(&fields.prev_events)?,
            auth_events: ids(&fields.auth_events)?,
            depth: fields.depth,
            origin_server_ts: u64::try_from(fields.origin_server_ts).unwrap_or(0),
            redacts: redacts(&fields, rules),
            content: fields.content.to_owned(),
            ruma_kind: TimelineEventType::from(&*fields.kind),
            kind: fields.kind.into_owned(),
            content_at,
            event_id,
            json: json.clone(),
        };
        Ok(Self { inner: Arc::new(inner), is_rejected: false })
    }

    /// The same event, marked as rejected: an event that cites it as authorising fails.
    #[must_use]
    pub fn rejected(mut self) -> Self {
        self.is_rejected = true;
        self
    }

    /// Its id.
    pub fn event_id(&self) -> &EventId {
        &self.inner.event_id
    }

    /// Its room; also of a create event of version 12, which does not carry it.
    pub fn room_id(&self) -> &RoomId {
        &self.inner.room_id
    }

    /// Its `sender`.
    pub fn sender(&self) -> &UserId {
        &self.inner.sender
    }

    /// Its `type`.
    pub fn kind(&self) -> &str {
        &self.inner.kind
    }

    /// Its `state_key`, if it is a state event.
    pub fn state_key(&self) -> Option<&str> {
        self.inner.state_key.as_deref()
    }

    /// Whether it is a state event of this type and key.
    pub fn is_state(&self, kind: &str, state_key: &str) -> bool {
        self.state_key() == Some(state_key) && self.kind() == kind
    }

    /// The events that it follows.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.inner.prev_events
    }

    /// The events that it says authorise it.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.inner.auth_events
    }

    /// How far from the create event its sender's server saw it, in 0..2⁵³.
    pub fn depth(&self) -> u64 {
        self.inner.depth
    }

    /// When its sender's server says that it was made, in ms since the Unix epoch; nothing is decided by it.
    pub fn origin_server_ts(&self) -> UnixMillis {
        self.inner.origin_server_ts
    }

    /// The event that it redacts, wherever its room version says so.
    pub fn redacts(&self) -> Option<&EventId> {
        self.inner.redacts.as_deref()
    }

    /// Its `content`, an object.
    pub fn content(&self) -> &RawValue {
        &self.inner.content
    }

    /// Where `content` stands in [`Pdu::json`].
    pub fn content_range(&self) -> std::ops::Range<usize> {
        self.inner.content_at..self.inner.content_at.saturating_add(self.inner.content.get().len())
    }

    /// One field of the content; `None` if it is absent or not a `T`.
    pub fn content_field<T: for<'de> Deserialize<'de>>(&self, field: &str) -> Option<T> {
        let content: serde_json::Map<String, serde_json::Value> = serde_json::from_str(self.content().get()).ok()?;
        serde_json::from_value(content.get(field)?.clone()).ok()
    }

    /// All of it in canonical JSON, without `unsigned`: what is stored and sent to other servers.
    pub fn json(&self) -> &Bytes {
        &self.inner.json
    }

    /// All of it as an object.
    pub fn to_object(&self) -> Result<CanonicalJsonObject, FormatError> {
        Ok(json::parse(&self.inner.json)?)
    }
}

impl fmt::Debug for Pdu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pdu({} {:?} {})", self.kind(), self.state_key(), self.event_id())
    }
}

impl PartialEq for Pdu {
    fn eq(&self, other: &Self) -> bool {
        self.inner.event_id == other.inner.event_id && self.inner.json == other.inner.json
    }
}

impl Eq for Pdu {}

/// The id of a room of version 12 or later: its create event's, under another sigil.
pub fn room_id_of_create(create: &EventId) -> Result<OwnedRoomId, FormatError> {
    let hash = create.as_str().strip_prefix('$').unwrap_or_default();
    OwnedRoomId::try_from(format!("!{hash}")).map_err(|error| FormatError::Invalid(format!("room_id: {error}")))
}

fn redacts(fields: &Fields<'_>, rules: &Rules) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    if fields.kind != "m.room.redaction" {
        return None;
    }
    if redacts_in_content(rules) {
        serde_json::from_str::<Content>(fields.content.get()).ok().map(|content| content.redacts)
    } else {
        serde_json::from_str(fields.redacts?.get()).ok()
    }
}

/// The checks on the format that need no parsed event. A field of a wrong type is refused here, so that what is stored
/// can always be read again.
fn check_format(object: &CanonicalJsonObject, rules: &Rules) -> Result<(), FormatError> {
    let invalid = |what: &str| Err(FormatError::Invalid(what.to_owned()));
    let kind = required_string(object, "type")?;
    required_string(object, "sender")?;
    optional_string(object, "state_key")?;
    if rules.event_format.require_event_id {
        required_string(object, "event_id")?;
    }
    let names_room = optional_string(object, "room_id")?.is_some();
    if !names_room && (kind != "m.room.create" || rules.event_format.require_room_create_room_id) {
        return invalid("room_id is missing");
    }
    if names_room && kind == "m.room.create" && room_id_is_create_id(rules) {
        return invalid("a create event of this room version has no room_id");
    }
    array(object, "prev_events", MOST_PREV_EVENTS)?;
    let auth_events = array(object, "auth_events", MOST_AUTH_EVENTS)?;
    if !rules.event_format.allow_room_create_in_auth_events {
        let room_hash = object.get("room_id").and_then(CanonicalJsonValue::as_str).unwrap_or_default().get(1..);
        let is_create =
            |id: &CanonicalJsonValue| room_hash.is_some() && id.as_str().and_then(|id| id.get(1..)) == room_hash;
        if auth_events.iter().any(is_create) {
            return invalid("auth_events holds the create event");
        }
    }
    match object.get("depth").and_then(CanonicalJsonValue::as_integer) {
        Some(depth) if i64::from(depth) >= 0 => {}
        _ => return invalid("depth is no integer in 0..2^53"),
    }
    if object.get("origin_server_ts").and_then(CanonicalJsonValue::as_integer).is_none() {
        return invalid("origin_server_ts is no integer");
    }
    let is_object = |field: &str| object.get(field).is_some_and(CanonicalJsonValue::is_object);
    if !is_object("content") || !is_object("hashes") || !is_object("signatures") {
        return invalid("content, hashes and signatures must be objects");
    }
    Ok(())
}

fn optional_string<'a>(object: &'a CanonicalJsonObject, field: &'static str) -> Result<Option<&'a str>, FormatError> {
    match object.get(field) {
        None => Ok(None),
        Some(CanonicalJsonValue::String(text)) if text.len() <= LONGEST_FIELD => Ok(Some(text)),
        Some(CanonicalJsonValue::String(_)) => Err(FormatError::TooLarge("a field of more than 255 bytes")),
        Some(_) => Err(FormatError::Invalid(format!("{field} is no string"))),
    }
}

fn required_string<'a>(object: &'a CanonicalJsonObject, field: &'static str) -> Result<&'a str, FormatError> {
    optional_string(object, field)?.ok_or_else(|| FormatError::Invalid(format!("{field} is missing")))
}

fn array<'a>(
    object: &'a CanonicalJsonObject,
    field: &str,
    most: usize,
) -> Result<&'a [CanonicalJsonValue], FormatError> {
    match object.get(field).and_then(CanonicalJsonValue::as_array) {
        Some(items) if items.len() <= most => Ok(items),
        Some(_) => Err(FormatError::Invalid(format!("{field} has more than {most} entries"))),
        None => Err(FormatError::Invalid(format!("{field} is no array"))),
    }
}

/// For the auth rules of `ruma-state-res`.
impl state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.inner.event_id
    }
    fn room_id(&self) -> Option<&RoomId> {
        self.inner.names_room.then_some(&*self.inner.room_id)
    }
    fn sender(&self) -> &UserId {
        &self.inner.sender
    }
    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.inner.origin_server_ts))
    }
    fn event_type(&self) -> &TimelineEventType {
        &self.inner.ruma_kind
    }
    fn content(&self) -> &RawValue {
        &self.inner.content
    }
    fn state_key(&self) -> Option<&str> {
        self.inner.state_key.as_deref()
    }
    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.inner.prev_events.iter())
    }
    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.inner.auth_events.iter())
    }
    fn redacts(&self) -> Option<&OwnedEventId> {
        self.inner.redacts.as_ref()
    }
    fn rejected(&self) -> bool {
        self.is_rejected
    }
}
