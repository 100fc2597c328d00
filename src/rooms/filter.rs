//! Filters: which events a client wants (client-server API, "Filtering").
//!
//! One set of types for `/sync`, `/messages`, `/context` and stored filters. Unknown fields are ignored, as the
//! specification's other readers do; fields of a wrong type are refused.

use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The event's `type`.
    pub kind: &'a str,
    /// The event's `sender`; empty for what has none (account data, ephemeral events).
    pub sender: &'a str,
    /// Whether its content has a `url` key.
    pub has_url: bool,
}

/// A whole filter definition, as `POST /user/{userId}/filter` and the `filter` parameter of `/sync` carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The fields of events to include, dot-separated; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_fields: Option<Vec<String>>,
    /// The form of events.
    #[serde(skip_serializing_if = "EventFormat::is_client")]
    pub event_format: EventFormat,
    /// Which presence updates.
    #[serde(skip_serializing_if = "is_default")]
    pub presence: EventFilter,
    /// Which account data that belongs to no room.
    #[serde(skip_serializing_if = "is_default")]
    pub account_data: EventFilter,
    /// Which rooms, and what of them.
    #[serde(skip_serializing_if = "is_default")]
    pub room: RoomFilter,
}

/// The form of events in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// As clients know them.
    #[default]
    Client,
    /// As servers exchange them.
    Federation,
}

impl EventFormat {
    fn is_client(&self) -> bool {
        *self == Self::Client
    }
}

/// Which rooms, and what of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomFilter {
    /// Only these rooms, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<String>>,
    /// None of these rooms, even if listed in `rooms`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_rooms: Vec<String>,
    /// Include rooms that the user has left, in an initial sync.
    pub include_leave: bool,
    /// Which ephemeral events.
    #[serde(skip_serializing_if = "is_default")]
    pub ephemeral: RoomEventFilter,
    /// Which state.
    #[serde(skip_serializing_if = "is_default")]
    pub state: RoomEventFilter,
    /// Which events of the timeline.
    #[serde(skip_serializing_if = "is_default")]
    pub timeline: RoomEventFilter,
    /// Which account data of rooms.
    #[serde(skip_serializing_if = "is_default")]
    pub account_data: RoomEventFilter,
}

/// Which events, by type and sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// The most events to return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only these types, if given; `*` stands for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// None of these types, even if listed in `types`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_types: Vec<String>,
    /// Only these senders, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<Vec<String>>,
    /// None of these senders, even if listed in `senders`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_senders: Vec<String>,
}

/// Which events of rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomEventFilter {
    /// By type and sender.
    #[serde(flatten)]
    pub event: EventFilter,
    /// Only these rooms, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<String>>,
    /// None of these rooms, even if listed in `rooms`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_rooms: Vec<String>,
    /// Only events with (or without) a `url` in their content, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains_url: Option<bool>,
    /// Send members only as far as the events need them.
    #[serde(skip_serializing_if = "is_default")]
    pub lazy_load_members: bool,
    /// Send needed members again, although the client has them.
    #[serde(skip_serializing_if = "is_default")]
    pub include_redundant_members: bool,
    /// Count unread notifications per thread (for `/sync`).
    #[serde(skip_serializing_if = "is_default")]
    pub unread_thread_notifications: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A string is not a filter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a filter: {0}")]
pub struct BadFilter(String);

impl Filter {
    /// Reads a filter from JSON.
    pub fn parse(json: &str) -> Result<Self, BadFilter> {
        // serde reads an array as a struct too, field by field; the specification wants an object.
        if !json.trim_start().starts_with('{') {
            return Err(BadFilter("it must be a JSON object".to_owned()));
        }
        let filter: Self = serde_json::from_str(json).map_err(|error| BadFilter(error.to_string()))?;
        if let Some(odd) = filter.rooms().find(|room_id| <&RoomId>::try_from(*room_id).is_err()) {
            return Err(BadFilter(format!("{odd:?} is no room id")));
        }
        if let Some(odd) = filter.senders().find(|user_id| <&UserId>::try_from(*user_id).is_err()) {
            return Err(BadFilter(format!("{odd:?} is no user id")));
        }
        Ok(filter)
    }

    /// All rooms that it names.
    fn rooms(&self) -> impl Iterator<Item = &str> {
        let of_parts = self.room.parts().into_iter().map(|part| (&part.rooms, &part.not_rooms));
        let lists = of_parts.chain([(&self.room.rooms, &self.room.not_rooms)]);
        lists.flat_map(|(only, not)| only.iter().flatten().chain(not)).map(String::as_str)
    }

    /// All senders that it names.
    fn senders(&self) -> impl Iterator<Item = &str> {
        let of_rooms = self.room.parts().into_iter().map(|part| &part.event);
        let filters = of_rooms.chain([&self.presence, &self.account_data]);
        filters.flat_map(|filter| filter.senders.iter().flatten().chain(&filter.not_senders)).map(String::as_str)
    }
}

impl RoomFilter {
    fn parts(&self) -> [&RoomEventFilter; 4] {
        [&self.ephemeral, &self.state, &self.timeline, &self.account_data]
    }

    /// Whether anything of this room is wanted.
    pub fn allows_room(&self, room_id: &str) -> bool {
        room_allowed(self.rooms.as_deref(), &self.not_rooms, room_id)
    }
}

impl EventFilter {
    /// Whether an event with this type and sender is wanted.
    pub fn allows(&self, subject: Subject<'_>) -> bool {
        let listed = |list: &[String]| list.iter().any(|pattern| type_matches(pattern, subject.kind));
        let sender_listed = |list: &[String]| list.iter().any(|sender| sender == subject.sender);
        !listed(&self.not_types)
            && self.types.as_deref().is_none_or(listed)
            && !sender_listed(&self.not_senders)
            && self.senders.as_deref().is_none_or(sender_listed)
    }

    /// Whether every type and sender is wanted: then nobody needs to look at events.
    pub fn allows_all(&self) -> bool {
        self.types.is_none() && self.senders.is_none() && self.not_types.is_empty() && self.not_senders.is_empty()
    }
}

impl RoomEventFilter {
    /// Whether an event of a room that this filter allows is wanted.
    pub fn allows(&self, subject: Subject<'_>) -> bool {
        self.event.allows(subject) && self.contains_url.is_none_or(|wanted| wanted == subject.has_url)
    }

    /// Whether anything of this room is wanted.
    pub fn allows_room(&self, room_id: &str) -> bool {
        room_allowed(self.rooms.as_deref(), &self.not_rooms, room_id)
    }

    /// Whether every event is wanted.
    pub fn allows_all(&self) -> bool {
        self.event.allows_all() && self.contains_url.is_none()
    }
}

fn room_allowed(only: Option<&[String]>, not: &[String], room_id: &str) -> bool {
    let listed = |list: &[String]| list.iter().any(|listed| listed == room_id);
    !listed(not) && only.is_none_or(listed)
}

/// Whether `kind` is what `pattern` says, `*` standing for any characters. Linear in the length of both but for the
/// number of stars, without recursion.
fn type_matches(pattern: &str, kind: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| kind.strip_prefix(first)) else { return false };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else { return rest.is_empty() };
    let middle = parts.clone().count().saturating_sub(1);
    for part in parts.take(middle) {
        match rest.find(part) {
            Some(at) => rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(kind: &'a str, sender: &'a str) -> Subject<'a> {
        Subject { kind, sender, has_url: false }
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, kind, matches) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.", true),
            ("m.room.*", "m.rooms", false),
            ("*", "", true),
            ("*.message", "m.room.message", true),
            ("m.*.m*e", "m.room.message", true),
            ("m.*.m*e", "m.room.topic", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(type_matches(pattern, kind), matches, "{pattern} ~ {kind}");
        }
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let filter: RoomEventFilter = serde_json::from_str(
            r#"{"types": ["m.*"], "not_types": ["m.room.member"], "senders": ["@a:a", "@b:a"], "not_senders": ["@b:a"],
                "rooms": ["!a:a", "!b:a"], "not_rooms": ["!b:a"], "contains_url": false}"#,
        )
        .unwrap();
        assert!(filter.allows(subject("m.room.topic", "@a:a")));
        assert!(!filter.allows(subject("m.room.member", "@a:a")));
        assert!(!filter.allows(subject("x.y", "@a:a")));
        assert!(!filter.allows(subject("m.room.topic", "@b:a")));
        assert!(!filter.allows(Subject { has_url: true, ..subject("m.room.topic", "@a:a") }));
        assert!(filter.allows_room("!a:a") && !filter.allows_room("!b:a") && !filter.allows_room("!c:a"));
    }

    #[test]
    fn an_empty_list_allows_nothing_and_an_absent_one_all() {
        let none: EventFilter = serde_json::from_str(r#"{"types": []}"#).unwrap();
        assert!(!none.allows(subject("m.room.topic", "@a:a")));
        assert!(EventFilter::default().allows(subject("m.room.topic", "@a:a")) && EventFilter::default().allows_all());
    }

    #[test]
    fn wrong_types_are_refused() {
        for wrong in [r#"{"room": 1}"#, r#"{"room": {"timeline": {"limit": -1}}}"#, r#"{"event_format": "x"}"#, "[]"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_comes_back_as_it_went() {
        let json = r#"{"event_fields":["type","content.body"],"room":{"include_leave":true,"state":{"types":["m.room.*"],"lazy_load_members":true}}}"#;
        let filter = Filter::parse(json).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), json);
    }
}
