//! Hashes of events (server-server API, "Calculating the content hash" and "Calculating the reference hash").

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    },
};
use ring::digest::{self, Context, SHA256};
use ruma::{
    OwnedEventId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
    room_version_rules::EventIdFormatVersion,
};
use thiserror::Error;

use super::{
    json,
    members::{Member, members, value_of},
    redact::essential,
    version::{Rules, has_event_ids},
};

/// An event could not be hashed: a field has a type that no event's has.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the event cannot be hashed: {0}")]
pub struct HashError(pub(super) String);

impl From<json::JsonError> for HashError {
    fn from(error: json::JsonError) -> Self {
        Self(error.to_string())
    }
}

/// Reads base64 as others write it: with padding or without, whatever the unused bits of its last character are.
pub const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Puts the content hash where it belongs (`hashes.sha256`).
pub fn add_content_hash(object: &mut CanonicalJsonObject) -> Result<(), HashError> {
    let text = json::to_text(object);
    let hash = STANDARD_NO_PAD.encode(content_hash(&members(&text)?));
    let hashes = object.entry("hashes".to_owned()).or_insert_with(|| CanonicalJsonValue::Object(Default::default()));
    let CanonicalJsonValue::Object(hashes) = hashes else {
        return Err(HashError("`hashes` is no object".to_owned()));
    };
    hashes.insert("sha256".to_owned(), hash.into());
    Ok(())
}

/// The content hash: of all but `hashes`, `signatures` and `unsigned`.
pub(super) fn content_hash(members: &[Member<'_>]) -> digest::Digest {
    let mut context = Context::new(&SHA256);
    let mut before = "{";
    for member in members.iter().filter(|member| !matches!(&*member.key, "hashes" | "signatures" | "unsigned")) {
        context.update(before.as_bytes());
        context.update(member.text.as_bytes());
        before = ",";
    }
    if before == "{" {
        context.update(b"{");
    }
    context.update(b"}");
    context.finish()
}

/// The reference hash of what [`essential`] gives, in the alphabet of the room version.
pub(super) fn encoded_reference_hash(essential: &str, rules: &Rules) -> String {
    let hash = digest::digest(&SHA256, essential.as_bytes());
    match rules.event_id_format {
        EventIdFormatVersion::V1 | EventIdFormatVersion::V2 => STANDARD_NO_PAD.encode(hash),
        _ => URL_SAFE_NO_PAD.encode(hash),
    }
}

/// The id of an event: what it says itself in versions 1 and 2, its reference hash later.
pub(super) fn event_id(members: &[Member<'_>], rules: &Rules) -> Result<OwnedEventId, HashError> {
    let id = if has_event_ids(rules) {
        let own = value_of(members, "event_id").ok_or_else(|| HashError("it has no event_id".to_owned()))?;
        serde_json::from_str(own).map_err(|_| HashError("its event_id is no string".to_owned()))?
    } else {
        id_of(&essential(members, rules)?, rules)
    };
    OwnedEventId::try_from(id).map_err(|error| HashError(error.to_string()))
}

/// The id that [`essential`] gives an event of version 3 or later.
pub(super) fn id_of(essential: &str, rules: &Rules) -> String {
    format!("${}", encoded_reference_hash(essential, rules))
}
