//! Power levels, as those read them who do not authorise: visible names, notifications, redactions, presets.
//!
//! Whoever wrote them, they are always readable: what is odd counts as absent (client-server API,
//! "m.room.power_levels").

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};

use super::{pdu::Pdu, version::Rules};

/// How much a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What `users` or `users_default` says.
    Finite(i64),
    /// A creator of a room of version 12 or later: above every number.
    Infinite,
}

/// A level with a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Inviting others.
    Invite,
    /// Removing others.
    Kick,
    /// Banning others.
    Ban,
    /// Redacting what others sent.
    Redact,
}

/// The power levels of a room at one state.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    content: Option<Map<String, Value>>,
    creators: BTreeSet<OwnedUserId>,
    rules: &'static Rules,
}

impl PowerLevels {
    /// Reads them from the room's create event and its power levels, if it has any.
    pub fn new(create: &Pdu, levels: Option<&Pdu>, rules: &'static Rules) -> Self {
        let content = levels.and_then(|levels| serde_json::from_str(levels.content().get()).ok());
        Self { content, creators: creators(create, rules), rules }
    }

    /// What a user may do.
    pub fn of(&self, user_id: &UserId) -> Level {
        let is_creator = self.creators.contains(user_id);
        if is_creator && self.rules.authorization.explicitly_privilege_room_creators {
            return Level::Infinite;
        }
        let Some(content) = &self.content else { return Level::Finite(if is_creator { 100 } else { 0 }) };
        let own = content.get("users").and_then(|users| self.integer(users.get(user_id.as_str())?));
        Level::Finite(own.unwrap_or_else(|| self.field("users_default", 0)))
    }

    /// What sending an event of this type needs.
    pub fn to_send(&self, kind: &str, is_state: bool) -> Level {
        let events = self.content.as_ref().and_then(|content| content.get("events"));
        let own = events.and_then(|events| self.integer(events.get(kind)?));
        let default = || match (is_state, &self.content) {
            (false, _) => self.field("events_default", 0),
            (true, Some(_)) => self.field("state_default", 50),
            (true, None) => 0,
        };
        Level::Finite(own.unwrap_or_else(default))
    }

    /// What an action needs.
    pub fn to(&self, action: Action) -> Level {
        Level::Finite(match action {
            Action::Invite => self.field("invite", 0),
            Action::Kick => self.field("kick", 50),
            Action::Ban => self.field("ban", 50),
            Action::Redact => self.field("redact", 50),
        })
    }

    /// What notifying like this needs; `room` for `@room`.
    pub fn to_notify(&self, key: &str) -> Level {
        let levels = self.content.as_ref().and_then(|content| content.get("notifications"));
        Level::Finite(levels.and_then(|levels| self.integer(levels.get(key)?)).unwrap_or(50))
    }

    /// The creators: the create event's sender (or what it calls `creator`) and `additional_creators`.
    pub fn creators(&self) -> &BTreeSet<OwnedUserId> {
        &self.creators
    }

    fn field(&self, name: &str, default: i64) -> i64 {
        self.content.as_ref().and_then(|content| self.integer(content.get(name)?)).unwrap_or(default)
    }

    /// A level: an integer; before version 10 also a float or a string that holds an integer.
    fn integer(&self, value: &Value) -> Option<i64> {
        let lenient = !self.rules.authorization.integer_power_levels;
        match value {
            Value::Number(number) if number.is_i64() => number.as_i64(),
            #[expect(clippy::cast_possible_truncation, reason = "a float is cut off, and saturates")]
            Value::Number(number) if lenient => number.as_f64().map(|float| float as i64),
            Value::String(text) if lenient => text.trim().parse().ok(),
            _ => None,
        }
    }
}

fn creators(create: &Pdu, rules: &Rules) -> BTreeSet<OwnedUserId> {
    let mut creators = BTreeSet::new();
    let named: Option<OwnedUserId> =
        if rules.authorization.use_room_create_sender { None } else { create.content_field("creator") };
    creators.insert(named.unwrap_or_else(|| create.sender().to_owned()));
    if rules.authorization.additional_room_creators {
        let more: Option<Vec<OwnedUserId>> = create.content_field("additional_creators");
        creators.extend(more.unwrap_or_default());
    }
    creators
}
