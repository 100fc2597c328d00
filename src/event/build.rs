//! Making events of our own.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, canonical_json::CanonicalJsonObject};
use thiserror::Error;

use super::{
    format::{FormatError, LARGEST, LONGEST_FIELD},
    hash::{HashError, id_of},
    json::JsonError,
    pdu::Pdu,
    redact::write_content,
    sign::SigningKey,
    version::{Rules, has_event_ids, redacts_in_content},
};
use crate::base::{
    clock::UnixMillis,
    json_writer::{Array, Object, any, string},
};

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

impl From<JsonError> for BuildError {
    fn from(error: JsonError) -> Self {
        Self::Format(error.into())
    }
}

/// The largest integer of canonical JSON.
const LARGEST_INTEGER: u64 = (1 << 53) - 1;

/// Hashes and signs.
///
/// The event is written once, as its content hash covers it: without `hashes` and `signatures`. What is signed is what the
/// reference hash covers, too: the same with `hashes`, with the redacted content, and without `redacts` beside it.
pub fn build(template: Template, rules: &Rules, key: &SigningKey) -> Result<Pdu, BuildError> {
    let is_too_long = |text: &String| text.len() > LONGEST_FIELD;
    if is_too_long(&template.kind) || template.state_key.as_ref().is_some_and(is_too_long) {
        return Err(FormatError::TooLarge("a field of more than 255 bytes").into());
    }
    let chosen_id = template.event_id.clone();
    let plain = Plain::of(template, rules);
    if plain.text.len() > LARGEST {
        return Err(FormatError::TooLarge("more than 65,536 bytes").into());
    }
    let hash = STANDARD_NO_PAD.encode(digest(&SHA256, plain.text.as_bytes()));
    let hashes = format!(r#","hashes":{{"sha256":"{hash}"}}"#);

    let essential = plain.essential(&hashes, rules)?;
    let event_id = match chosen_id.filter(|_| has_event_ids(rules)) {
        Some(event_id) => event_id,
        None => OwnedEventId::try_from(id_of(&essential, rules)).map_err(|error| HashError(error.to_string()))?,
    };
    let signature = key.sign_text(essential.as_bytes());
    let (server_name, key_id) = (key.server_name(), key.key_id());
    let signatures = format!(r#","signatures":{{"{server_name}":{{"{key_id}":"{signature}"}}}}"#);

    let (to_hashes, to_signatures) = (plain.part(0..plain.hashes_at), plain.part(plain.hashes_at..plain.signatures_at));
    let end = plain.part(plain.signatures_at..plain.text.len());
    let text = [to_hashes, &hashes, to_signatures, &signatures, end].concat();
    Ok(Pdu::built(event_id, &text, rules)?)
}

/// What a template says, as the JSON of an event that nobody has hashed and signed yet: what `make_join` and its like give
/// to other servers.
pub fn unsigned_text(template: Template, rules: &Rules) -> String {
    Plain::of(template, rules).text
}

/// An event without `hashes` and `signatures`, in canonical JSON, and where in it what stands.
struct Plain {
    text: String,
    kind: String,
    content: Range<usize>,
    hashes_at: usize,
    /// `redacts` beside the content, with the comma before it.
    redacts: Range<usize>,
    signatures_at: usize,
}

impl Plain {
    fn of(template: Template, rules: &Rules) -> Self {
        let mut content = template.content;
        let beside = match template.redacts {
            Some(redacts) if redacts_in_content(rules) => {
                content.insert("redacts".to_owned(), redacts.as_str().to_owned().into());
                None
            }
            redacts => redacts,
        };
        let mut out = Vec::with_capacity(1_024);
        let mut object = Object::begin(&mut out);
        object.array("auth_events", |array| cite(array, &template.auth_events, rules));
        let content_at = object.key("content").len();
        any(&mut out, &content);
        let content = content_at..out.len();
        let mut object = Object::resume(&mut out);
        object.value("depth", &template.depth.min(LARGEST_INTEGER));
        if let Some(event_id) = template.event_id.filter(|_| has_event_ids(rules)) {
            object.value("event_id", event_id.as_str());
        }
        let hashes_at = out.len();
        let mut object = Object::resume(&mut out);
        object.value("origin_server_ts", &template.origin_server_ts.min(LARGEST_INTEGER));
        object.array("prev_events", |array| cite(array, &template.prev_events, rules));
        let redacts_at = out.len();
        if let Some(redacts) = beside {
            Object::resume(&mut out).value("redacts", redacts.as_str());
        }
        let redacts = redacts_at..out.len();
        let mut object = Object::resume(&mut out);
        if let Some(room_id) = template.room_id {
            object.value("room_id", room_id.as_str());
        }
        object.value("sender", template.sender.as_str());
        let signatures_at = out.len();
        let mut object = Object::resume(&mut out);
        if let Some(state_key) = template.state_key {
            object.value("state_key", &state_key);
        }
        object.value("type", &template.kind);
        object.end();
        // INVARIANT: JSON is text.
        let text = String::from_utf8(out).unwrap_or_default();
        Self { text, kind: template.kind, content, hashes_at, redacts, signatures_at }
    }

    fn part(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    fn essential(&self, hashes: &str, rules: &Rules) -> Result<String, JsonError> {
        let mut out = String::with_capacity(self.text.len() + hashes.len());
        out.push_str(self.part(0..self.content.start));
        write_content(&mut out, &self.kind, self.part(self.content.clone()), &rules.redaction)?;
        out.push_str(self.part(self.content.end..self.hashes_at));
        out.push_str(hashes);
        out.push_str(self.part(self.hashes_at..self.redacts.start));
        out.push_str(self.part(self.redacts.end..self.text.len()));
        Ok(out)
    }
}

fn cite(array: &mut Array<'_>, cited: &[Citation], rules: &Rules) {
    for citation in cited {
        let out = array.item();
        if !has_event_ids(rules) {
            string(out, citation.event_id.as_str());
            continue;
        }
        let mut pair = Array::begin(out);
        string(pair.item(), citation.event_id.as_str());
        let mut hashes = Object::begin(pair.item());
        if let Some(hash) = &citation.sha256 {
            hashes.value("sha256", hash);
        }
        hashes.end();
        pair.end();
    }
}
