//! JSON as events of room versions 1–5 may be: also with numbers that canonical JSON cannot say (room version 1,
//! "Canonical JSON": servers MUST NOT enforce it strictly).
//!
//! Hashes, signatures and, from version 3 on, ids cover the text of such numbers, so all servers must write them alike. The
//! specification does not say how. The servers that made these events are written in Python, and what counts is what its
//! `json` makes of a number on the way in and out: an integer stays as it is, however large; a float becomes the shortest
//! text that means the same double, so `1e10` is `10000000000.0` and `1.0` stays `1.0`. Only for received events: those of
//! our own are always strict.

use std::collections::BTreeMap;

use serde::{
    Serialize,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::JsonError;

/// An object with any numbers.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct LaxObject(BTreeMap<String, Value>);

impl LaxObject {
    /// Reads one object from bytes that came from outside. As when reading strictly, of a key that stands twice the last
    /// value counts, and nesting is bounded (128 levels). Numbers that no double reaches (2¹⁰²⁴ and more) are refused:
    /// other servers cannot write the floats among them, and nobody could read the integers.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let invalid = |error: serde_json::Error| JsonError::Invalid(error.to_string());
        let mut numbers = Numbers { rest: bytes };
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = AnyValue(&mut numbers).deserialize(&mut deserializer).map_err(invalid)?;
        deserializer.end().map_err(invalid)?;
        match value {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(JsonError::NotAnObject),
        }
    }

    /// Removes a member.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value {
    Null,
    Bool(bool),
    /// Its text.
    Number(Box<RawValue>),
    String(String),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// The number tokens of a JSON text, in their order, which is the order in which a parser visits them.
struct Numbers<'j> {
    rest: &'j [u8],
}

impl<'j> Numbers<'j> {
    fn next(&mut self) -> Option<&'j str> {
        let (mut in_string, mut escaped) = (false, false);
        let start = self.rest.iter().position(|&byte| {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                false
            } else {
                in_string = byte == b'"';
                matches!(byte, b'-' | b'0'..=b'9')
            }
        })?;
        let from = self.rest.get(start..)?;
        let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let length = from.iter().position(|byte| !is_part(byte)).unwrap_or(from.len());
        let (number, rest) = from.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(number).ok()
    }
}

/// The text that a number gets; `None` if no double reaches it.
fn canonical_number(token: &str) -> Option<String> {
    let double: f64 = token.parse().ok()?;
    if !double.is_finite() {
        return None;
    }
    if !token.contains(['.', 'e', 'E']) {
        return Some(if token == "-0" { "0".to_owned() } else { token.to_owned() });
    }
    // The shortest digits that mean this double, and the power of ten of the first one.
    let scientific = format!("{double:e}");
    let (digits, power) = scientific.split_once('e')?;
    let power: i32 = power.parse().ok()?;
    if (-4..16).contains(&power) {
        let plain = double.to_string();
        return Some(if plain.contains('.') { plain } else { plain + ".0" });
    }
    let sign = if power < 0 { '-' } else { '+' };
    Some(format!("{digits}e{sign}{:02}", power.unsigned_abs()))
}

struct AnyValue<'n, 'j>(&'n mut Numbers<'j>);

impl AnyValue<'_, '_> {
    /// Whatever the parser made of the number, its token counts.
    fn number<E: Error>(self) -> Result<Value, E> {
        let token = self.0.next().ok_or_else(|| E::custom("a number that is not in the text"))?;
        let text = canonical_number(token).ok_or_else(|| E::custom("a number out of range"))?;
        RawValue::from_string(text).map(Value::Number).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        self.number()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        self.number()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        self.number()
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(AnyValue(&mut *self.0))? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = members.next_key()? {
            object.insert(key, members.next_value_seed(AnyValue(&mut *self.0))?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::json;

    fn canonical(json: &str) -> Option<String> {
        LaxObject::parse(json.as_bytes()).ok().map(|object| json::to_text(&object))
    }

    /// What Python's `json` and `canonicaljson` 2.0.0 make of these numbers.
    #[test]
    fn numbers_are_written_as_python_does() {
        let huge = "9".repeat(308);
        for (token, expected) in [
            ("1.0", "1.0"),
            ("1e10", "10000000000.0"),
            ("1E5", "100000.0"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("0.0", "0.0"),
            ("0e0", "0.0"),
            ("-0e-9", "-0.0"),
            ("1e-5", "1e-05"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("0.000123456", "0.000123456"),
            ("1.5", "1.5"),
            ("-1.50", "-1.5"),
            ("2e0", "2.0"),
            ("1e+2", "100.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.0E+16", "1e+16"),
            ("1e021", "1e+21"),
            ("1e22", "1e+22"),
            ("1e23", "1e+23"),
            ("-1E-7", "-1e-07"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("12345678901234567.0", "1.2345678901234568e+16"),
            ("1234567890123456.7", "1234567890123456.8"),
            ("123456789.123456789", "123456789.12345679"),
            ("3.14159265358979323846264338327950288", "3.141592653589793"),
            ("5.114698E4", "51146.98"),
            ("100.0e-2", "1.0"),
            ("4.35", "4.35"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("5e-324", "5e-324"),
            ("1e-400", "0.0"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740993", "-9007199254740993"),
            ("18446744073709551616", "18446744073709551616"),
            ("1234567890123456789012345678901234567890", "1234567890123456789012345678901234567890"),
            (&huge, &huge),
        ] {
            assert_eq!(canonical(&format!("{{\"a\":{token}}}")), Some(format!("{{\"a\":{expected}}}")), "{token}");
        }
    }

    #[test]
    fn what_is_no_json_or_no_double_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let huge = format!("{{\"a\":{}}}", "9".repeat(310));
        for json in [
            "",
            "[1.5]",
            "1.5",
            "{} 1",
            r#"{"a":1e400}"#,
            r#"{"a":-1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":Infinity}"#,
            r#"{"a":.5}"#,
            r#"{"a":5.}"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e}"#,
            r#"{"a":1-2}"#,
            r#"{"a":"\ud800"}"#,
            &deep,
            &huge,
        ] {
            assert_eq!(canonical(json), None, "{json:.40}");
        }
    }

    #[test]
    fn numbers_keep_their_places() {
        for (json, expected) in [
            (
                r#"{"b":1.0,"a":2.50,"-1":[3e0,"4.0",{"5":-0,"\"6":"\\","x":7.0}]}"#,
                r#"{"-1":[3.0,"4.0",{"\"6":"\\","5":0,"x":7.0}],"a":2.5,"b":1.0}"#,
            ),
            (r#"{"a":1.0,"a":[2.0],"b":3}"#, r#"{"a":[2.0],"b":3}"#),
            ("{ \"a\" : [ 1 , true , 2.0 , null ] }", r#"{"a":[1,true,2.0,null]}"#),
        ] {
            assert_eq!(canonical(json).as_deref(), Some(expected), "{json}");
        }
    }

    proptest! {
        #[test]
        fn floats_mean_what_they_meant(double in any::<f64>().prop_filter("finite", |double| double.is_finite())) {
            let text = canonical_number(&format!("{double:?}")).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), double.to_bits());
            prop_assert_eq!(canonical_number(&text).unwrap(), text);
        }

        #[test]
        fn what_is_strict_is_read_alike(content in crate::event::tests::any_content()) {
            let text = json::to_text(&content);
            prop_assert_eq!(canonical(&text), Some(text));
        }
    }
}
