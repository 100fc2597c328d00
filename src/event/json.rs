//! Canonical JSON (appendices, "Canonical JSON"): the one form that is hashed and signed.
//!
//! Strict here, with integers only; [`LaxObject`] reads what early room versions let pass.

mod lax;

use std::fmt;

use ruma::{
    Int,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use thiserror::Error;

pub use self::lax::LaxObject;

/// Why bytes are not canonical JSON's data model.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, nested too deeply, or with numbers that are no integers within ±(2⁵³ − 1).
    #[error("not canonical JSON: {0}")]
    Invalid(String),
    /// JSON, but no object.
    #[error("not a JSON object")]
    NotAnObject,
}

/// Reads one object from bytes that came from outside.
///
/// Of a key that stands twice the last value counts, as everywhere in Matrix's wild; nothing hashes bytes that were not
/// written anew from the result. Nesting is bounded by the parser (128 levels).
pub fn parse(bytes: &[u8]) -> Result<CanonicalJsonObject, JsonError> {
    let invalid = |error: serde_json::Error| JsonError::Invalid(error.to_string());
    let Tree(value) = match without_negative_zero(bytes) {
        Some(mended) => serde_json::from_slice(&mended).map_err(invalid)?,
        None => serde_json::from_slice(bytes).map_err(invalid)?,
    };
    match value {
        CanonicalJsonValue::Object(object) => Ok(object),
        _ => Err(JsonError::NotAnObject),
    }
}

/// The canonical form: keys sorted by code point, no white space, least escaping.
pub fn to_bytes(object: &CanonicalJsonObject) -> Vec<u8> {
    to_text(object).into_bytes()
}

/// The canonical form as text.
pub fn to_text(value: &(impl Serialize + ?Sized)) -> String {
    // INVARIANT: the data model holds nothing that JSON cannot say, and writing to a vector does not fail.
    #[expect(clippy::expect_used, reason = "the invariant above")]
    serde_json::to_string(value).expect("canonical data is always JSON")
}

/// A value that canonical JSON can say, read without a detour (ruma's own reading builds serde's tree first).
struct Tree(CanonicalJsonValue);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Tree)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = CanonicalJsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canonical JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Int::try_from(value).map(CanonicalJsonValue::Integer).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Int::try_from(value).map(CanonicalJsonValue::Integer).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Err(E::custom(format_args!("{value} is no integer within ±(2⁵³ − 1)")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(CanonicalJsonValue::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = CanonicalJsonObject::new();
        while let Some((key, Tree(value))) = members.next_entry()? {
            object.insert(key, value);
        }
        Ok(CanonicalJsonValue::Object(object))
    }
}

/// `-0` is the integer zero; parsers of JSON make a float of it. Replaces it by `0` where it is a whole number token.
/// `None` if there is nothing to replace.
fn without_negative_zero(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.windows(2).any(|pair| pair == b"-0") {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let (mut in_string, mut escaped) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if byte == b'-' && is_zero_token(bytes.get(at.saturating_add(1)..).unwrap_or_default()) {
            continue;
        }
        out.push(byte);
    }
    Some(out)
}

/// Whether a number token that begins here is just `0`.
fn is_zero_token(rest: &[u8]) -> bool {
    let ends = |next: Option<&u8>| next.is_none_or(|next| !matches!(next, b'0'..=b'9' | b'.' | b'e' | b'E'));
    rest.first() == Some(&b'0') && ends(rest.get(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> Option<String> {
        parse(json.as_bytes()).ok().map(|object| String::from_utf8(to_bytes(&object)).unwrap())
    }

    /// Appendices, "Canonical JSON", "Examples".
    #[test]
    fn the_examples_of_the_specification() {
        for (json, expected) in [
            ("{}", "{}"),
            ("{ \"one\": 1, \"two\": \"Two\" }", r#"{"one":1,"two":"Two"}"#),
            (r#"{ "b": "2", "a": "1" }"#, r#"{"a":"1","b":"2"}"#),
            (r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#),
            (
                r#"{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe",
                "three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}"#,
                r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
            ),
            (r#"{"a":"日本語"}"#, r#"{"a":"日本語"}"#),
            (r#"{"本":2,"日":1}"#, r#"{"日":1,"本":2}"#),
            (r#"{"a":"\u65E5"}"#, r#"{"a":"日"}"#),
            (r#"{"a":null}"#, r#"{"a":null}"#),
            (r#"{"a":-0,"b":"-0"}"#, r#"{"a":0,"b":"-0"}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(canonical(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_canonical_json_cannot_say_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for json in [
            "",
            "[]",
            "1",
            "nul",
            r#"{"a":1.5}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e2}"#,
            r#"{"a":-0.0}"#,
            r#"{"a":-00}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":-9007199254740992}"#,
            r#"{"a":NaN}"#,
            "{\"a\":\"\u{1}\"}",
            r#"{"a":"\ud800"}"#,
            "\u{feff}{}",
            &deep,
        ] {
            assert_eq!(canonical(json), None, "{json:.40}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(parse(format!("{{\"a\":{}}}", "9".repeat(5_000)).as_bytes()).is_err());
        assert!(canonical(r#"{"a":9007199254740991,"b":-9007199254740991}"#).is_some());
    }
}
