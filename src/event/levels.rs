//! The content of `m.room.power_levels`, read once for each event: what it says, and what is wrong with it.

use std::{collections::BTreeMap, fmt};

use ruma::UserId;
use serde::{
    Deserialize,
    de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::version::Rules;

/// The properties that are one level each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Named {
    UsersDefault,
    EventsDefault,
    StateDefault,
    Ban,
    Redact,
    Kick,
    Invite,
}

impl Named {
    pub(super) const ALL: [Self; 7] = [
        Self::UsersDefault,
        Self::EventsDefault,
        Self::StateDefault,
        Self::Ban,
        Self::Redact,
        Self::Kick,
        Self::Invite,
    ];

    /// What holds if it is absent, or if there are no power levels.
    pub(super) const fn default(self) -> i64 {
        match self {
            Self::UsersDefault | Self::EventsDefault | Self::Invite => 0,
            Self::StateDefault | Self::Ban | Self::Redact | Self::Kick => 50,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::UsersDefault => "users_default",
            Self::EventsDefault => "events_default",
            Self::StateDefault => "state_default",
            Self::Ban => "ban",
            Self::Redact => "redact",
            Self::Kick => "kick",
            Self::Invite => "invite",
        }
    }
}

/// What counts as a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An integer.
    Integer,
    /// Also a float, or a string that holds an integer: versions 1–9.
    Lenient,
}

impl Form {
    /// What a room version takes.
    pub(super) fn of(rules: &Rules) -> Self {
        if rules.authorization.integer_power_levels { Self::Integer } else { Self::Lenient }
    }
}

/// What power levels say. What is odd counts as absent.
#[derive(Debug, Default)]
pub(super) struct Levels {
    named: [Option<i64>; 7],
    pub(super) users: BTreeMap<String, i64>,
    pub(super) events: BTreeMap<String, i64>,
    pub(super) notifications: BTreeMap<String, i64>,
    /// The first property that is not what the auth rules want of new power levels.
    pub(super) flaw: Option<&'static str>,
}

impl Levels {
    /// Reads a content, whoever wrote it.
    pub(super) fn read(content: &RawValue, form: Form) -> Self {
        let Ok(raw) = serde_json::from_str::<Raw>(content.get()) else {
            return Self { flaw: Some("content"), ..Self::default() };
        };
        let mut reading = Reading { form, flaw: None };
        let named = [
            (raw.users_default, Named::UsersDefault),
            (raw.events_default, Named::EventsDefault),
            (raw.state_default, Named::StateDefault),
            (raw.ban, Named::Ban),
            (raw.redact, Named::Redact),
            (raw.kick, Named::Kick),
            (raw.invite, Named::Invite),
        ];
        let named = named.map(|(value, name)| reading.level(value, name.as_str()));
        let users = reading.map(raw.users, "users");
        if users.keys().any(|user_id| <&UserId>::try_from(user_id.as_str()).is_err()) {
            reading.flaw.get_or_insert("users");
        }
        let events = reading.map(raw.events, "events");
        let notifications = reading.map(raw.notifications, "notifications");
        Self { named, users, events, notifications, flaw: reading.flaw }
    }

    /// A level of its own, if it is there.
    pub(super) fn named(&self, name: Named) -> Option<i64> {
        self.named.get(name as usize).copied().flatten()
    }

    /// A level of its own, or its default.
    pub(super) fn named_or_default(&self, name: Named) -> i64 {
        self.named(name).unwrap_or(name.default())
    }
}

struct Reading {
    form: Form,
    flaw: Option<&'static str>,
}

impl Reading {
    fn level(&mut self, value: Value, property: &'static str) -> Option<i64> {
        let level = match &value {
            Value::Absent => return None,
            Value::Integer(level) => Some(*level),
            #[expect(clippy::cast_possible_truncation, reason = "a float is cut off, and saturates")]
            Value::Float(level) if self.form == Form::Lenient => Some(*level as i64),
            Value::Text(text) if self.form == Form::Lenient => integer(text),
            Value::Float(_) | Value::Text(_) | Value::Map(_) | Value::Odd => None,
        };
        if level.is_none() {
            self.flaw.get_or_insert(property);
        }
        level
    }

    fn map(&mut self, value: Value, property: &'static str) -> BTreeMap<String, i64> {
        match value {
            Value::Absent => BTreeMap::new(),
            Value::Map(map) => {
                map.into_iter().filter_map(|(key, value)| Some((key, self.level(value, property)?))).collect()
            }
            _ => {
                self.flaw.get_or_insert(property);
                BTreeMap::new()
            }
        }
    }
}

/// Room versions 1–9, "`m.room.power_levels` events accept values as strings": an integer in decimal with an optional
/// sign, white space around it.
fn integer(text: &str) -> Option<i64> {
    let level: i64 = text.trim().parse().ok()?;
    (-LARGEST..=LARGEST).contains(&level).then_some(level)
}

/// The largest level.
const LARGEST: i64 = (1 << 53) - 1;

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Raw {
    ban: Value,
    events: Value,
    events_default: Value,
    invite: Value,
    kick: Value,
    notifications: Value,
    redact: Value,
    state_default: Value,
    users: Value,
    users_default: Value,
}

/// JSON as far as power levels go.
#[derive(Debug, Default)]
enum Value {
    #[default]
    Absent,
    Integer(i64),
    Float(f64),
    Text(String),
    Map(BTreeMap<String, Value>),
    Odd,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Odd)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Odd)
            }

            fn visit_i64<E: Error>(self, level: i64) -> Result<Value, E> {
                Ok(Value::Integer(level))
            }

            #[expect(clippy::cast_precision_loss, reason = "so large a number is a float everywhere else, too")]
            fn visit_u64<E: Error>(self, level: u64) -> Result<Value, E> {
                Ok(i64::try_from(level).map_or(Value::Float(level as f64), Value::Integer))
            }

            fn visit_f64<E: Error>(self, level: f64) -> Result<Value, E> {
                Ok(Value::Float(level))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Odd)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = members.next_entry()? {
                    map.insert(key, value);
                }
                Ok(Value::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
