//! Whether an event notifies a user: the first rule that matches decides.

use ruma::{RoomId, UserId};
use serde_json::Value as Json;

use super::{
    glob::{Budget, Glob, Text},
    rule::{Kind, Rule, Rules},
};

/// Steps that one evaluation may take: a few ms. Ordinary rules and events need some hundreds.
const MOST: u64 = 5_000_000;
/// Steps that it may take at any rate, however many events were evaluated before it.
const LEAST: u64 = 20_000;
/// Steps that many evaluations may take together: some ten ms.
const TOGETHER: u64 = 30_000_000;

/// How many steps the evaluations of one request may still take, so that nobody's rules, or long messages to somebody who has
/// many of them, hold up the others. What does not fit does not match.
#[derive(Debug)]
pub struct Steps(u64);

impl Default for Steps {
    fn default() -> Self {
        Self(TOGETHER)
    }
}

/// What an event does to a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It counts as a notification.
    pub notify: bool,
    /// It counts as a highlight too.
    pub highlight: bool,
}

/// An event, read once for many users.
#[derive(Debug)]
pub struct Event {
    json: Json,
    body: Option<Text>,
}

impl Event {
    /// Reads an event as clients know it. `None` if it is no JSON object.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(json).ok().filter(Json::is_object)?;
        let body = json.get("content").and_then(|content| content.get("body")).and_then(Json::as_str).map(Text::new);
        Some(Self { json, body })
    }

    fn sender(&self) -> &str {
        self.json.get("sender").and_then(Json::as_str).unwrap_or_default()
    }

    /// The property at a path of keys.
    fn property(&self, path: &[String]) -> Option<&Json> {
        path.iter().try_fold(&self.json, |value, key| value.as_object()?.get(key))
    }
}

/// What rules may ask about the room.
#[derive(Clone, Copy)]
pub struct RoomContext<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// The user whose rules these are.
    pub user_id: &'a UserId,
    /// How the user is called in this room.
    pub display_name: Option<&'a str>,
    /// How many have joined it.
    pub members: u64,
    /// Whether this sender may notify like this (`room` for `@room`), by the power levels of the room.
    pub may_notify: &'a dyn Fn(&str, &str) -> bool,
}

impl std::fmt::Debug for RoomContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoomContext({} for {})", self.room_id, self.user_id)
    }
}

/// The rules of a user, prepared for many events. Rules that are off are left out.
#[derive(Clone, Debug)]
pub struct Matcher {
    rules: Vec<Prepared>,
}

#[derive(Clone, Debug)]
struct Prepared {
    conditions: Vec<Condition>,
    verdict: Verdict,
}

#[derive(Clone, Debug)]
enum Condition {
    Matches {
        path: Vec<String>,
        glob: Glob,
    },
    Body(Glob),
    RoomMatches(Glob),
    Is {
        path: Vec<String>,
        value: Json,
    },
    Contains {
        path: Vec<String>,
        value: Json,
    },
    DisplayName,
    Members(Comparison, u64),
    MayNotify(String),
    Room(String),
    Sender(String),
    /// Unknown or broken: never holds.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    More,
    AtLeast,
    AtMost,
}

impl Matcher {
    /// Prepares rules.
    pub fn new(rules: &Rules) -> Self {
        let prepared = Kind::ALL.into_iter().flat_map(|kind| {
            let enabled = rules.of(kind).iter().filter(|rule| rule.enabled);
            enabled.map(move |rule| Prepared { conditions: conditions(kind, rule), verdict: verdict(&rule.actions) })
        });
        Self { rules: prepared.collect() }
    }

    /// What an event does to the user. One's own events do nothing.
    pub fn evaluate(&self, event: &Event, room: &RoomContext<'_>, steps: &mut Steps) -> Verdict {
        if event.sender() == room.user_id.as_str() {
            return Verdict::default();
        }
        let granted = steps.0.clamp(LEAST, MOST);
        let mut budget = Budget(granted);
        let mut holds = |condition: &Condition| condition.holds(event, room, &mut budget);
        let found = self.rules.iter().find(|rule| rule.conditions.iter().all(&mut holds));
        let verdict = found.map(|rule| rule.verdict).unwrap_or_default();
        steps.0 = steps.0.saturating_sub(granted.saturating_sub(budget.0));
        verdict
    }
}

fn verdict(actions: &[Json]) -> Verdict {
    let notify = actions.iter().any(|action| action == "notify");
    let is_highlight = |action: &Json| {
        action.get("set_tweak").is_some_and(|tweak| tweak == "highlight")
            && action.get("value").is_none_or(|value| value == true)
    };
    // A highlight is a notification that stands out; without one it has nothing to stand out from.
    Verdict { notify, highlight: notify && actions.iter().any(is_highlight) }
}

fn conditions(kind: Kind, rule: &Rule) -> Vec<Condition> {
    match kind {
        Kind::Override | Kind::Underride => {
            rule.conditions.iter().flatten().map(|condition| prepare(condition).unwrap_or(Condition::Never)).collect()
        }
        Kind::Content => {
            vec![rule.pattern.as_deref().map_or(Condition::Never, |pattern| Condition::Body(Glob::new(pattern)))]
        }
        Kind::Room => vec![Condition::Room(rule.rule_id.clone())],
        Kind::Sender => vec![Condition::Sender(rule.rule_id.clone())],
    }
}

fn prepare(condition: &Json) -> Option<Condition> {
    let text = |name: &str| condition.get(name)?.as_str();
    Some(match text("kind")? {
        "event_match" => match (text("key")?, Glob::new(text("pattern")?)) {
            ("content.body", glob) => Condition::Body(glob),
            ("room_id", glob) => Condition::RoomMatches(glob),
            (key, glob) => Condition::Matches { path: split_path(key), glob },
        },
        "event_property_is" => {
            Condition::Is { path: split_path(text("key")?), value: scalar(condition.get("value")?)?.clone() }
        }
        "event_property_contains" => {
            Condition::Contains { path: split_path(text("key")?), value: scalar(condition.get("value")?)?.clone() }
        }
        "contains_display_name" => Condition::DisplayName,
        "room_member_count" => {
            let (comparison, count) = comparison(text("is")?)?;
            Condition::Members(comparison, count)
        }
        "sender_notification_permission" => Condition::MayNotify(text("key")?.to_owned()),
        _ => return None,
    })
}

/// Strings, whole numbers, booleans and null can be compared; nothing else.
fn scalar(value: &Json) -> Option<&Json> {
    match value {
        Json::Object(_) | Json::Array(_) => None,
        Json::Number(number) if !number.is_i64() => None,
        _ => Some(value),
    }
}

/// The keys of a dot-separated path; `\.` is a dot in a key, `\\` a backslash (appendices, "Dot-separated property
/// paths").
fn split_path(path: &str) -> Vec<String> {
    let (mut keys, mut key) = (Vec::new(), String::new());
    let mut chars = path.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '.' => keys.push(std::mem::take(&mut key)),
            '\\' => key.push(chars.next_if(|next| matches!(next, '.' | '\\')).unwrap_or('\\')),
            char => key.push(char),
        }
    }
    keys.push(key);
    keys
}

fn comparison(text: &str) -> Option<(Comparison, u64)> {
    let prefixes = [
        ("==", Comparison::Equal),
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("<", Comparison::Less),
        (">", Comparison::More),
        ("", Comparison::Equal),
    ];
    let (comparison, number) =
        prefixes.into_iter().find_map(|(prefix, comparison)| Some((comparison, text.strip_prefix(prefix)?)))?;
    let all_digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| number.parse().ok()).flatten().map(|number| (comparison, number))
}

impl Condition {
    fn holds(&self, event: &Event, room: &RoomContext<'_>, budget: &mut Budget) -> bool {
        match self {
            Self::Matches { path, glob } => {
                let text = event.property(path).and_then(Json::as_str);
                text.is_some_and(|text| glob.is_all_of(&Text::new(text), budget))
            }
            Self::Body(glob) => event.body.as_ref().is_some_and(|body| glob.is_words_of(body, budget)),
            Self::RoomMatches(glob) => glob.is_all_of(&Text::new(room.room_id.as_str()), budget),
            Self::Is { path, value } => event.property(path) == Some(value),
            Self::Contains { path, value } => {
                event.property(path).and_then(Json::as_array).is_some_and(|items| items.contains(value))
            }
            Self::DisplayName => match (room.display_name, &event.body) {
                (Some(name), Some(body)) if !name.is_empty() => Glob::literal(name).is_words_of(body, budget),
                _ => false,
            },
            Self::Members(comparison, count) => match comparison {
                Comparison::Equal => room.members == *count,
                Comparison::Less => room.members < *count,
                Comparison::More => room.members > *count,
                Comparison::AtLeast => room.members >= *count,
                Comparison::AtMost => room.members <= *count,
            },
            Self::MayNotify(key) => (room.may_notify)(event.sender(), key),
            Self::Room(room_id) => room.room_id == room_id.as_str(),
            Self::Sender(sender) => event.sender() == sender,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests;
