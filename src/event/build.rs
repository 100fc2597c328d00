//! Making events of our own.

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use thiserror::Error;

use super::{
    hash::{self, HashError},
    json,
    pdu::{FormatError, LARGEST, Pdu},
    sign::SigningKey,
    version::{Rules, has_event_ids, redacts_in_content},
};
use crate::base::clock::UnixMillis;

/// An event that another one cites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// The cited event.
    pub event_id: OwnedEventId,
    /// Its reference hash, which events of versions 1 and 2 carry beside the id; not read in later ones.
    pub sha256: Option<String>,
}

impl From<OwnedEventId> for Citation {
    fn from(event_id: OwnedEventId) -> Self {
        Self { event_id, sha256: None }
    }
}

/// All that an event of ours says, before it is hashed and signed.
#[derive(Clone, Debug)]
pub struct Template {
    /// The room; `None` for a create event of version 12 and later.
    pub room_id: Option<OwnedRoomId>,
    /// The event's id in versions 1 and 2, which is chosen; later it is a hash.
    pub event_id: Option<OwnedEventId>,
    /// `sender`.
    pub sender: OwnedUserId,
    /// `type`.
    pub kind: String,
    /// `state_key`, for a state event.
    pub state_key: Option<String>,
    /// `content`.
    pub content: CanonicalJsonObject,
    /// The event to redact, for `m.room.redaction`; goes where the room version wants it.
    pub redacts: Option<OwnedEventId>,
    /// `origin_server_ts`, in ms since the Unix epoch.
    pub origin_server_ts: UnixMillis,
    /// `prev_events`.
    pub prev_events: Vec<Citation>,
    /// `auth_events`.
    pub auth_events: Vec<Citation>,
    /// `depth`.
    pub depth: u64,
}

/// Why a template makes no event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// What was made would not respect the format of the room version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Bytes that the content hash and one signature add at the least.
const SIGNED: usize = 190;

/// The largest integer of canonical JSON.
const LARGEST_INTEGER: u64 = (1 << 53) - 1;

/// Hashes and signs.
pub fn build(template: Template, rules: &Rules, key: &SigningKey) -> Result<Pdu, BuildError> {
    let mut object = to_object(template, rules);
    // Hashing refuses what is too large, too, but does not say that it is that.
    if json::to_bytes(&object).len().saturating_add(SIGNED) > LARGEST {
        return Err(FormatError::TooLarge("more than 65,536 bytes").into());
    }
    hash::add_content_hash(&mut object)?;
    key.sign_event(&mut object, rules)?;
    Ok(Pdu::from_object(object, rules)?)
}

fn to_object(template: Template, rules: &Rules) -> CanonicalJsonObject {
    let mut content = template.content;
    let mut object = CanonicalJsonObject::new();
    let mut put = |name: &str, value: CanonicalJsonValue| object.insert(name.to_owned(), value);
    if let Some(redacts) = template.redacts {
        if redacts_in_content(rules) {
            content.insert("redacts".to_owned(), redacts.as_str().to_owned().into());
        } else {
            put("redacts", redacts.as_str().to_owned().into());
        }
    }
    if let Some(room_id) = template.room_id {
        put("room_id", room_id.as_str().to_owned().into());
    }
    if let Some(event_id) = template.event_id {
        put("event_id", event_id.as_str().to_owned().into());
    }
    if let Some(state_key) = template.state_key {
        put("state_key", state_key.into());
    }
    put("auth_events", citations(template.auth_events, rules));
    put("content", CanonicalJsonValue::Object(content));
    put("depth", integer(template.depth));
    put("origin_server_ts", integer(template.origin_server_ts));
    put("prev_events", citations(template.prev_events, rules));
    put("sender", template.sender.as_str().to_owned().into());
    put("type", template.kind.into());
    object
}

fn citations(cited: Vec<Citation>, rules: &Rules) -> CanonicalJsonValue {
    let one = |citation: Citation| {
        let id = CanonicalJsonValue::String(citation.event_id.as_str().to_owned());
        if !has_event_ids(rules) {
            return id;
        }
        let hash = citation.sha256.map(|hash| ("sha256".to_owned(), CanonicalJsonValue::String(hash)));
        CanonicalJsonValue::Array(vec![id, CanonicalJsonValue::Object(hash.into_iter().collect())])
    };
    CanonicalJsonValue::Array(cited.into_iter().map(one).collect())
}

fn integer(value: u64) -> CanonicalJsonValue {
    let clamped = i64::try_from(value.min(LARGEST_INTEGER)).unwrap_or(i64::MAX);
    CanonicalJsonValue::Integer(ruma::Int::new_saturating(clamped))
}
