//! Hashes of events (server-server API, "Calculating the content hash" and "Calculating the reference hash").

use ruma::{OwnedEventId, canonical_json::CanonicalJsonObject, signatures};
use thiserror::Error;

use super::version::{Rules, has_event_ids};

/// An event could not be hashed: a field has a type that no event's has, or it is too large.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the event cannot be hashed: {0}")]
pub struct HashError(pub(super) String);

/// Puts the content hash where it belongs (`hashes.sha256`).
pub fn add_content_hash(object: &mut CanonicalJsonObject) -> Result<(), HashError> {
    signatures::add_content_hash_to_event(object).map_err(|error| HashError(error.to_string()))
}

/// The reference hash, in the alphabet of the room version.
pub fn reference_hash(object: &CanonicalJsonObject, rules: &Rules) -> Result<String, HashError> {
    signatures::reference_hash(object, rules).map_err(|error| HashError(error.to_string()))
}

/// The id of an event: what it says itself in versions 1 and 2, its reference hash later.
pub fn event_id(object: &CanonicalJsonObject, rules: &Rules) -> Result<OwnedEventId, HashError> {
    let id = if has_event_ids(rules) {
        let own = object.get("event_id").and_then(|id| id.as_str());
        own.ok_or_else(|| HashError("it has no event_id".to_owned()))?.to_owned()
    } else {
        format!("${}", reference_hash(object, rules)?)
    };
    OwnedEventId::try_from(id).map_err(|error| HashError(error.to_string()))
}
