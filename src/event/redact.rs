//! Redaction: what is left of an event (room versions, "Redactions"). Never changes the event's id.

use ruma::canonical_json::{self, CanonicalJsonObject};

use super::{
    pdu::{FormatError, Pdu},
    version::Rules,
};

/// Removes what the room version's redaction removes.
pub fn redact(mut object: CanonicalJsonObject, rules: &Rules) -> Result<CanonicalJsonObject, FormatError> {
    canonical_json::redact_in_place(&mut object, &rules.redaction, None)
        .map_err(|error| FormatError::Invalid(error.to_string()))?;
    Ok(object)
}

/// The redacted form of a stored event.
pub fn redact_pdu(pdu: &Pdu, rules: &Rules) -> Result<Pdu, FormatError> {
    Pdu::from_object(redact(pdu.to_object()?, rules)?, rules)
}
