//! Persistent data units: events as servers exchange and sign them (room versions, "Event format").

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    canonical_json::CanonicalJsonObject, events::TimelineEventType, state_res,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    fields::{Citation, Fields, check},
    format::{FormatError, check_size, invalid},
    hash::{self, HashError},
    json,
    levels::{Form, Levels},
    members::{members, offset, value_of},
    redact::{essential, redact},
    version::{Rules, is_strict_json, redacts_in_content},
};
use crate::base::clock::UnixMillis;

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
    /// As it says, which may be before 1970.
    claimed_server_ts: i64,
    redacts: Option<OwnedEventId>,
    content: Box<RawValue>,
    content_at: usize,
    json: Bytes,
    /// What it says as power levels, once that was asked.
    levels: OnceLock<Box<Levels>>,
}

impl Pdu {
    /// Reads an event of a room of this version from bytes that came from outside. `unsigned` is dropped: what it says is
    /// no part of the event.
    ///
    /// In room versions 1–5 it may have numbers that canonical JSON cannot say ([`json::LaxObject`]); later these are
    /// refused.
    ///
    /// Server-server API, "Checks performed on receipt of a PDU", step 1.
    pub fn parse(bytes: &[u8], rules: &Rules) -> Result<Self, FormatError> {
        match json::parse(bytes) {
            Ok(object) => Self::from_object(object, rules),
            Err(error) if is_strict_json(rules) => Err(error.into()),
            Err(_) => {
                let mut object = json::LaxObject::parse(bytes)?;
                object.remove("unsigned");
                Self::from_text(&json::to_text(&object), rules)
            }
        }
    }

    /// The same, of an object.
    pub fn from_object(mut object: CanonicalJsonObject, rules: &Rules) -> Result<Self, FormatError> {
        object.remove("unsigned");
        Self::from_text(&json::to_text(&object), rules)
    }

    /// The id under which an event goes that may not be one: for telling its sender what is wrong with it. `None` if it is no
    /// JSON object, or has no id.
    pub fn claimed_id(bytes: &[u8], rules: &Rules) -> Option<OwnedEventId> {
        let text = match json::parse(bytes) {
            Ok(object) => json::to_text(&object),
            Err(_) => json::to_text(&json::LaxObject::parse(bytes).ok()?),
        };
        hash::event_id(&members(&text).ok()?, rules).ok()
    }

    fn from_text(text: &str, rules: &Rules) -> Result<Self, FormatError> {
        check_size(text)?;
        let fields = Fields::of(text)?;
        check(&fields, rules)?;
        let event_id = hash::event_id(&members(text)?, rules).map_err(invalid("its id"))?;
        Self::read(event_id, &fields, text, rules)
    }

    /// An event that was just built: its id and its text are right, its fields are anybody's.
    pub(super) fn built(event_id: OwnedEventId, text: &str, rules: &Rules) -> Result<Self, FormatError> {
        check_size(text)?;
        let fields = Fields::of(text)?;
        check(&fields, rules)?;
        Self::read(event_id, &fields, text, rules)
    }

    /// An event that was stored as [`Pdu::json`], under the id that it had: nothing is checked again.
    pub fn from_stored(event_id: OwnedEventId, json: Bytes, rules: &Rules) -> Result<Self, FormatError> {
        let text = std::str::from_utf8(&json).map_err(invalid("its text"))?;
        let fields = Fields::of(text)?;
        Self::put_together(event_id, &fields, text, json.clone(), rules)
    }

    fn read(event_id: OwnedEventId, fields: &Fields<'_>, text: &str, rules: &Rules) -> Result<Self, FormatError> {
        Self::put_together(event_id, fields, text, Bytes::copy_from_slice(text.as_bytes()), rules)
    }

    fn put_together(
        event_id: OwnedEventId,
        fields: &Fields<'_>,
        text: &str,
        json: Bytes,
        rules: &Rules,
    ) -> Result<Self, FormatError> {
        let room_id = match &fields.room_id {
            Some(room_id) => OwnedRoomId::try_from(&*room_id.0).map_err(invalid("room_id"))?,
            None => room_id_of_create(&event_id)?,
        };
        let inner = Inner {
            room_id,
            names_room: fields.room_id.is_some(),
            sender: OwnedUserId::try_from(&*fields.sender.0).map_err(invalid("sender"))?,
            state_key: fields.state_key.as_ref().map(|key| key.0.clone().into_owned()),
            prev_events: ids(&fields.prev_events)?,
            auth_events: ids(&fields.auth_events)?,
            depth: fields.depth,
            claimed_server_ts: fields.origin_server_ts,
            redacts: redacts(fields, rules),
            content: fields.content.to_owned(),
            content_at: offset(text, fields.content.get()),
            ruma_kind: TimelineEventType::from(&*fields.kind.0),
            kind: fields.kind.0.clone().into_owned(),
            event_id,
            json,
            levels: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner), is_rejected: false })
    }

    /// The same event, marked as rejected: an event that cites it as authorising fails.
    #[must_use]
    pub fn rejected(mut self) -> Self {
        self.is_rejected = true;
        self
    }

    /// Whether it is marked as rejected.
    pub fn is_rejected(&self) -> bool {
        self.is_rejected
    }

    /// The event as a redaction leaves it, under its id.
    ///
    /// # Errors
    /// When it is no event of a room version with these rules.
    pub fn redacted(&self, rules: &Rules) -> Result<Self, FormatError> {
        Self::from_stored(self.event_id().to_owned(), redact(self.text(), rules)?.into(), rules)
    }

    /// Its reference hash, in the alphabet of the room version.
    ///
    /// # Errors
    /// When it is no event of a room version with these rules.
    pub fn reference_hash(&self, rules: &Rules) -> Result<String, HashError> {
        Ok(hash::encoded_reference_hash(&essential(&members(self.text())?, rules)?, rules))
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

    /// When its sender's server says that it was made, in ms since the Unix epoch; 0 if before. Of decisions only state
    /// resolution's order takes it into account.
    pub fn origin_server_ts(&self) -> UnixMillis {
        u64::try_from(self.inner.claimed_server_ts).unwrap_or(0)
    }

    /// The same as it stands there: what state resolution orders by.
    pub fn claimed_server_ts(&self) -> i64 {
        self.inner.claimed_server_ts
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
        serde_json::from_str(self.content_text(field)?).ok()
    }

    /// One field of the content, as JSON.
    pub(super) fn content_text(&self, field: &str) -> Option<&str> {
        value_of(&members(self.content().get()).ok()?, field)
    }

    /// Its content as power levels, read at the first call. An event is of one room version, so `form` is always the same.
    pub(super) fn levels(&self, form: Form) -> &Levels {
        self.inner.levels.get_or_init(|| Box::new(Levels::read(&self.inner.content, form)))
    }

    /// All of it in canonical JSON, without `unsigned`: what is stored and sent to other servers.
    pub fn json(&self) -> &Bytes {
        &self.inner.json
    }

    /// The same as text.
    pub(super) fn text(&self) -> &str {
        // INVARIANT: it was made of text.
        std::str::from_utf8(&self.inner.json).unwrap_or_default()
    }

    /// All of it as an object: fails if it has numbers that canonical JSON cannot say, see [`Pdu::parse`].
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
    OwnedRoomId::try_from(format!("!{hash}")).map_err(invalid("room_id"))
}

fn ids(cited: &[Citation<'_>]) -> Result<Vec<OwnedEventId>, FormatError> {
    cited.iter().map(|citation| OwnedEventId::try_from(&*citation.0).map_err(invalid("a cited event"))).collect()
}

fn redacts(fields: &Fields<'_>, rules: &Rules) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    if fields.kind.0 != "m.room.redaction" {
        return None;
    }
    if redacts_in_content(rules) {
        serde_json::from_str::<Content>(fields.content.get()).ok().map(|content| content.redacts)
    } else {
        serde_json::from_str(fields.redacts?.get()).ok()
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
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.origin_server_ts()))
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
