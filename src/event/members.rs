//! Canonical JSON taken apart without copying it: the members of an object as slices of its text.
//!
//! Hashes and signatures cover an event without some of its members. Since these stand in the text in their canonical
//! form and order already, leaving some out needs no tree and no second writing.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::json::JsonError;

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// Its key, unescaped.
    pub(super) key: Cow<'a, str>,
    /// Key, colon and value, as they stand in the text.
    pub(super) text: &'a str,
    /// The value, as it stands in the text.
    pub(super) value: &'a str,
}

/// The members of an object that is canonical JSON. The text is trusted to be so: no space, and no key twice.
pub(super) fn members(json: &str) -> Result<Vec<Member<'_>>, JsonError> {
    let List(pairs) = serde_json::from_str(json).map_err(|error| JsonError::Invalid(error.to_string()))?;
    let mut list = Vec::with_capacity(pairs.len());
    // Each member begins behind the brace or the comma that ends what is before it.
    let mut start = 1_usize;
    for (key, value) in pairs {
        let value = value.get();
        let end = offset(json, value).saturating_add(value.len());
        let text = json.get(start..end).ok_or_else(|| JsonError::Invalid("not canonical".to_owned()))?;
        list.push(Member { key: key.0, text, value });
        start = end.saturating_add(1);
    }
    Ok(list)
}

/// The value of a member; `None` if there is none of this key.
pub(super) fn value_of<'a>(members: &[Member<'a>], key: &str) -> Option<&'a str> {
    members.iter().find(|member| member.key == key).map(|member| member.value)
}

/// An object as it is signed (appendices, "Signing JSON"): without `signatures` and `unsigned`.
pub(super) fn without_signatures(json: &str) -> Result<String, JsonError> {
    let mut out = String::with_capacity(json.len());
    let mut object = ObjectText::begin(&mut out);
    for member in members(json)?.iter().filter(|member| !matches!(&*member.key, "signatures" | "unsigned")) {
        object.member(member.text);
    }
    object.end();
    Ok(out)
}

/// Where a part of a text begins in it.
pub(super) fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// Writes an object, member by member.
#[derive(Debug)]
pub(super) struct ObjectText<'o>(&'o mut String);

impl<'o> ObjectText<'o> {
    pub(super) fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self(out)
    }

    /// Adds a member as it stands in another text.
    pub(super) fn member(&mut self, text: &str) {
        self.separate();
        self.0.push_str(text);
    }

    /// Adds a member whose key needs no escaping; the caller writes the value into what it gets.
    pub(super) fn key(&mut self, key: &str) -> &mut String {
        self.separate();
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
        self.0
    }

    pub(super) fn end(self) {
        self.0.push('}');
    }

    fn separate(&mut self) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
    }
}

struct List<'a>(Vec<(Key<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::with_capacity(16);
                while let Some(pair) = map.next_entry()? {
                    list.push(pair);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Clone, Debug)]
pub(super) struct Key<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let json = r#"{"a":{"x":[1,"}"]},"b\"c":"é,","d":null}"#;
        let list = members(json).unwrap();
        let found: Vec<_> = list.iter().map(|member| (&*member.key, member.text, member.value)).collect();
        assert_eq!(
            found,
            [
                ("a", r#""a":{"x":[1,"}"]}"#, r#"{"x":[1,"}"]}"#),
                ("b\"c", r#""b\"c":"é,""#, r#""é,""#),
                ("d", r#""d":null"#, "null"),
            ]
        );
        let mut again = String::new();
        let mut object = ObjectText::begin(&mut again);
        list.iter().for_each(|member| object.member(member.text));
        object.end();
        assert_eq!(again, json);
        assert!(members("{}").unwrap().is_empty());
        assert_eq!(value_of(&list, "d"), Some("null"));
        assert!(members("[]").is_err() && members("1").is_err());
    }
}
