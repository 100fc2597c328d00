//! Reading contents of events that anybody may have written: what is odd counts as absent.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One field of a content; `None` if it is absent or not a `T`, or if the content is no object.
pub fn field<T: DeserializeOwned>(content: &[u8], name: &str) -> Option<T> {
    let mut json = serde_json::Deserializer::from_slice(content);
    let value = json.deserialize_map(Field(name)).ok()??;
    json.end().ok()?;
    serde_json::from_str(value.get()).ok()
}

/// Finds one field of an object, still JSON, and passes over the others.
struct Field<'n>(&'n str);

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// One field of a content as text; empty text counts as absent, as the specification has it for names and aliases.
pub fn text(content: &[u8], name: &str) -> Option<String> {
    field::<String>(content, name).filter(|text| !text.is_empty())
}

/// What a content says of a relation to another event (client-server API, "Forming relationships between events").
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RelatesTo {
    /// The event that it relates to.
    pub event_id: String,
    /// How.
    pub rel_type: String,
    /// With which key, if it is an annotation.
    #[serde(default)]
    pub key: Option<String>,
}

impl RelatesTo {
    /// Reads `m.relates_to`.
    pub fn of(content: &[u8]) -> Option<Self> {
        field(content, "m.relates_to")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_types_count_as_absent() {
        for odd in ["{}", "[]", "1", "null", "true"] {
            let content = format!(r#"{{"name":{odd}}}"#);
            assert_eq!(text(content.as_bytes(), "name"), None, "{odd}");
            let content = format!(r#"{{"m.relates_to":{odd}}}"#);
            assert_eq!(RelatesTo::of(content.as_bytes()), None, "{odd}");
            assert_eq!(text(odd.as_bytes(), "name"), None, "{odd}");
        }
        assert_eq!(text(br#"{"name":""}"#, "name"), None);
        assert_eq!(text(br#"{"other":[{"name":"x"}],"na\u006de":"a\"b"}"#, "name"), Some("a\"b".to_owned()));
        let relation = RelatesTo::of(br#"{"m.relates_to":{"rel_type":"m.thread","event_id":"$a","x":1}}"#).unwrap();
        assert_eq!((&*relation.rel_type, &*relation.event_id, relation.key), ("m.thread", "$a", None));
    }
}
