//! The fields that are read of an event, borrowed from its canonical JSON, and the checks on them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    format::{FormatError, LONGEST_FIELD, MOST_AUTH_EVENTS, MOST_PREV_EVENTS, invalid},
    members::Key,
    version::{Rules, has_event_ids, room_id_is_create_id},
};

/// What the graph and the auth rules want to know of an event. A field of another type is an error.
#[derive(Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    pub(super) auth_events: Vec<Citation<'a>>,
    #[serde(borrow)]
    pub(super) content: &'a RawValue,
    pub(super) depth: u64,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) event_id: Option<Key<'a>>,
    #[serde(borrow, default)]
    pub(super) hashes: Option<&'a RawValue>,
    pub(super) origin_server_ts: i64,
    #[serde(borrow)]
    pub(super) prev_events: Vec<Citation<'a>>,
    #[serde(borrow, default)]
    pub(super) redacts: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) room_id: Option<Key<'a>>,
    #[serde(borrow)]
    pub(super) sender: Key<'a>,
    #[serde(borrow, default)]
    pub(super) signatures: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) state_key: Option<Key<'a>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Key<'a>,
}

/// A field that may be absent, but not null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Key<'a>>, D::Error> {
    Key::deserialize(deserializer).map(Some)
}

/// A cited event: its id, or in versions 1 and 2 a pair of id and hash.
pub(super) struct Citation<'a>(pub(super) Cow<'a, str>, Form);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Id,
    Pair,
}

impl<'de: 'a, 'a> Deserialize<'de> for Citation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdOrPair;
        impl<'de> Visitor<'de> for IdOrPair {
            type Value = Citation<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event id, or a pair of one and its hashes")
            }

            fn visit_borrowed_str<E: Error>(self, id: &'de str) -> Result<Self::Value, E> {
                Ok(Citation(Cow::Borrowed(id), Form::Id))
            }

            fn visit_str<E: Error>(self, id: &str) -> Result<Self::Value, E> {
                Ok(Citation(Cow::Owned(id.to_owned()), Form::Id))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
                let missing = |at| A::Error::invalid_length(at, &self);
                let Key(id) = pair.next_element()?.ok_or_else(|| missing(0))?;
                pair.next_element::<IgnoredAny>()?.ok_or_else(|| missing(1))?;
                Ok(Citation(id, Form::Pair))
            }
        }
        deserializer.deserialize_any(IdOrPair)
    }
}

impl<'a> Fields<'a> {
    /// Reads them.
    pub(super) fn of(text: &'a str) -> Result<Self, FormatError> {
        serde_json::from_str(text).map_err(invalid("a field"))
    }
}

/// The checks of the format (server-server API, "Checks performed on receipt of a PDU", step 1) that the types of the
/// fields leave open.
pub(super) fn check(fields: &Fields<'_>, rules: &Rules) -> Result<(), FormatError> {
    let wrong = |what: &str| Err(FormatError::Invalid(what.to_owned()));
    let kind = &fields.kind.0;
    for text in [Some(&fields.sender), fields.room_id.as_ref()] {
        if text.is_some_and(|text| text.0.len() > LONGEST_FIELD) {
            return Err(FormatError::TooLarge("a field of more than 255 bytes"));
        }
    }
    // Before version 11 servers counted characters here. What they took is part of their rooms; our own events are shorter.
    let counts_bytes = rules.authorization.use_room_create_sender;
    for text in [Some(kind), fields.state_key.as_ref().map(|text| &text.0)].into_iter().flatten() {
        let length = if counts_bytes { text.len() } else { text.chars().count() };
        if length > LONGEST_FIELD {
            return Err(FormatError::TooLarge("a field of more than 255 bytes"));
        }
    }
    if has_event_ids(rules) {
        match &fields.event_id {
            Some(id) if id.0.len() > LONGEST_FIELD => {
                return Err(FormatError::TooLarge("a field of more than 255 bytes"));
            }
            Some(_) => {}
            None => return wrong("event_id is missing"),
        }
    }
    match &fields.room_id {
        None if kind != "m.room.create" || rules.event_format.require_room_create_room_id => {
            return wrong("room_id is missing");
        }
        Some(_) if kind == "m.room.create" && room_id_is_create_id(rules) => {
            return wrong("a create event of this room version has no room_id");
        }
        _ => {}
    }
    check_citations(fields, rules)?;
    let is_object = |value: Option<&RawValue>| value.is_some_and(|value| value.get().starts_with('{'));
    if !is_object(Some(fields.content)) || !is_object(fields.hashes) || !is_object(fields.signatures) {
        return wrong("content, hashes and signatures must be objects");
    }
    Ok(())
}

fn check_citations(fields: &Fields<'_>, rules: &Rules) -> Result<(), FormatError> {
    let wrong = |what: &str| Err(FormatError::Invalid(what.to_owned()));
    if fields.prev_events.len() > MOST_PREV_EVENTS {
        return wrong("prev_events has more than 20 entries");
    }
    if fields.auth_events.len() > MOST_AUTH_EVENTS {
        return wrong("auth_events has more than 10 entries");
    }
    let form = if has_event_ids(rules) { Form::Pair } else { Form::Id };
    for Citation(id, as_) in fields.prev_events.iter().chain(&fields.auth_events) {
        if *as_ != form {
            return wrong("events are not cited in the form of the room version");
        }
        if id.len() > LONGEST_FIELD {
            return Err(FormatError::TooLarge("a cited id of more than 255 bytes"));
        }
    }
    if !rules.event_format.allow_room_create_in_auth_events {
        let room_hash = fields.room_id.as_ref().and_then(|room_id| room_id.0.get(1..));
        if room_hash.is_some() && fields.auth_events.iter().any(|citation| citation.0.get(1..) == room_hash) {
            return wrong("auth_events holds the create event");
        }
    }
    Ok(())
}
