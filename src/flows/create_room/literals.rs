//! Canonical JSON out of literals.

use ruma::{
    Int,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::Value as Json;

pub(in crate::flows) fn text(text: &str) -> CanonicalJsonValue {
    CanonicalJsonValue::String(text.to_owned())
}

pub(in crate::flows) fn integer(value: i64) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::new_saturating(value))
}

/// An object of text and small integers.
pub(in crate::flows) fn object(literal: Json) -> CanonicalJsonObject {
    match CanonicalJsonValue::try_from(literal) {
        Ok(CanonicalJsonValue::Object(object)) => object,
        // INVARIANT: the callers' literals are that.
        _ => CanonicalJsonObject::new(),
    }
}
