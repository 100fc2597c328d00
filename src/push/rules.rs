//! The rules of a user, as they are stored in the account data `m.push_rules` and as clients read and change them.
//!
//! Within a kind, user-defined rules come before server-default ones; only `.m.rule.master` comes before all.

use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, value::RawValue};
use thiserror::Error;

use super::defaults;
use crate::{
    store::{Batch, CommitError, ReadError, View},
    users::account_data::{self, AccountDataError},
};

/// The account data type of push rules.
pub const TYPE: &str = "m.push_rules";
/// The most rules of a user.
pub const MOST_RULES: usize = 10_000;
/// The longest id of a rule, in bytes.
pub const LONGEST_ID: usize = 300;
/// The longest pattern, key or value of a rule's condition, in bytes.
pub const LONGEST_PATTERN: usize = 1_024;
/// The most conditions, and the most actions, of a rule.
const MOST_PARTS: usize = 50;

/// The kinds of rules, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before all others.
    Override,
    /// About the words of a message.
    Content,
    /// About a room.
    Room,
    /// About a sender.
    Sender,
    /// After all others.
    Underride,
}

impl Kind {
    /// All kinds, in the order in which they are tried.
    pub const ALL: [Self; 5] = [Self::Override, Self::Content, Self::Room, Self::Sender, Self::Underride];

    /// Its name in paths and in the rule set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Content => "content",
            Self::Room => "room",
            Self::Sender => "sender",
            Self::Underride => "underride",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A rule. What this server does not know of conditions and actions is kept as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What to do when it matches.
    pub actions: Vec<Json>,
    /// For override and underride rules: what must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Json>>,
    /// Whether it is one of the server's.
    pub default: bool,
    /// Whether it is tried.
    pub enabled: bool,
    /// For content rules: the glob that must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Unique within its kind.
    pub rule_id: String,
}

/// All rules of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    #[serde(default)]
    content: Vec<Rule>,
    #[serde(default, rename = "override")]
    overrides: Vec<Rule>,
    #[serde(default)]
    room: Vec<Rule>,
    #[serde(default)]
    sender: Vec<Rule>,
    #[serde(default)]
    underride: Vec<Rule>,
}

/// The content of the account data.
#[derive(Serialize, Deserialize)]
struct Scopes<R> {
    global: R,
}

/// Why rules can't be changed as asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RulesError {
    /// No such rule.
    #[error("there is no such push rule")]
    NotFound,
    /// The rule named by `before` or `after` is unknown, or is one of the server's.
    #[error("`{0}` is no user-defined rule of this kind, so nothing can be placed beside it")]
    BadNeighbour(String),
    /// The id can't be that of a user-defined rule.
    #[error("{0}")]
    BadId(&'static str),
    /// The rule is not what a rule must be.
    #[error("{0}")]
    BadRule(&'static str),
    /// A server-default rule can't be removed or replaced.
    #[error("server-default rules cannot be removed or replaced")]
    ServerDefault,
    /// There are [`MOST_RULES`] already.
    #[error("this user has too many push rules")]
    TooMany,
    /// They can't be stored.
    #[error(transparent)]
    Store(#[from] AccountDataError),
    /// They can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The rules of a user.
pub fn read(view: &View<'_>, user_id: &UserId) -> Result<Rules, ReadError> {
    let stored = account_data::get(view, user_id, None, TYPE)?;
    Ok(Rules::parse(stored.as_deref().unwrap_or_default(), user_id))
}

/// Stores the rules of a user. The commit fails with a conflict if other account data of the user changes meanwhile.
pub fn write(view: &View<'_>, batch: &mut Batch, user_id: &UserId, rules: &Rules) -> Result<(), RulesError> {
    let content = rules.to_content();
    Ok(account_data::set(view, batch, user_id, (None, TYPE), &content)?)
}

impl Rules {
    /// The content of `m.push_rules`, brought up to today's server-default rules. What can't be read gives the defaults.
    pub fn parse(content: &str, user_id: &UserId) -> Self {
        let mut defaults = defaults::rules_for(user_id);
        let Ok(Scopes { global: mut stored }) = serde_json::from_str::<Scopes<Self>>(content) else { return defaults };
        for kind in Kind::ALL {
            let rules = stored.of_mut(kind);
            let (old, mut own): (Vec<_>, Vec<_>) = std::mem::take(rules).into_iter().partition(|rule| rule.default);
            let current = std::mem::take(defaults.of_mut(kind)).into_iter().map(|mut rule| {
                if let Some(old) = old.iter().find(|old| old.rule_id == rule.rule_id) {
                    rule.enabled = old.enabled;
                    rule.actions.clone_from(&old.actions);
                }
                rule
            });
            let (mut master, rest): (Vec<_>, Vec<_>) = current.partition(|rule| rule.rule_id == defaults::MASTER);
            rules.append(&mut master);
            rules.append(&mut own);
            rules.extend(rest);
        }
        stored
    }

    /// The content of `m.push_rules`.
    pub fn to_content(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(&Scopes { global: self }).unwrap_or_default()
    }

    /// The rules of a kind, most important first.
    pub fn of(&self, kind: Kind) -> &[Rule] {
        match kind {
            Kind::Override => &self.overrides,
            Kind::Content => &self.content,
            Kind::Room => &self.room,
            Kind::Sender => &self.sender,
            Kind::Underride => &self.underride,
        }
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut Vec<Rule> {
        match kind {
            Kind::Override => &mut self.overrides,
            Kind::Content => &mut self.content,
            Kind::Room => &mut self.room,
            Kind::Sender => &mut self.sender,
            Kind::Underride => &mut self.underride,
        }
    }

    /// One rule.
    pub fn get(&self, kind: Kind, rule_id: &str) -> Option<&Rule> {
        self.of(kind).iter().find(|rule| rule.rule_id == rule_id)
    }

    fn get_mut(&mut self, kind: Kind, rule_id: &str) -> Result<&mut Rule, RulesError> {
        self.of_mut(kind).iter_mut().find(|rule| rule.rule_id == rule_id).ok_or(RulesError::NotFound)
    }

    /// Creates or replaces a user-defined rule.
    ///
    /// A new rule is the most important user-defined one of its kind; a replaced one stays where and as enabled as it
    /// was; `after` and `before` place it, `before` having the last word.
    pub fn put(
        &mut self,
        kind: Kind,
        mut rule: Rule,
        after: Option<&str>,
        before: Option<&str>,
    ) -> Result<(), RulesError> {
        check_id(&rule.rule_id)?;
        check(kind, &mut rule)?;
        if Kind::ALL.into_iter().map(|kind| self.of(kind).len()).sum::<usize>() >= MOST_RULES {
            return Err(RulesError::TooMany);
        }
        let rules = self.of_mut(kind);
        let old = rules.iter().position(|old| old.rule_id == rule.rule_id);
        rule.default = false;
        rule.enabled = old.and_then(|at| rules.get(at)).is_none_or(|old| old.enabled);
        // The neighbours are looked up among the others: a rule can't be placed beside itself.
        let mut others = rules.clone();
        if let Some(at) = old {
            others.remove(at);
        }
        let beside = |id: &str| {
            let found = others.iter().position(|other| other.rule_id == id && !other.default);
            found.ok_or_else(|| RulesError::BadNeighbour(id.to_owned()))
        };
        let first = others.iter().position(|other| other.rule_id != defaults::MASTER).unwrap_or(others.len());
        let at = match (after.map(beside).transpose()?, before.map(beside).transpose()?) {
            (Some(after), Some(before)) if before <= after => {
                return Err(RulesError::BadRule("the rule `before` is more important than the rule `after`"));
            }
            (_, Some(before)) => before,
            (Some(after), None) => after + 1,
            (None, None) => old.unwrap_or(first),
        };
        others.insert(at, rule);
        *rules = others;
        Ok(())
    }

    /// Removes a user-defined rule.
    pub fn remove(&mut self, kind: Kind, rule_id: &str) -> Result<(), RulesError> {
        if self.get(kind, rule_id).ok_or(RulesError::NotFound)?.default {
            return Err(RulesError::ServerDefault);
        }
        self.of_mut(kind).retain(|rule| rule.rule_id != rule_id);
        Ok(())
    }

    /// Switches any rule on or off.
    pub fn set_enabled(&mut self, kind: Kind, rule_id: &str, enabled: bool) -> Result<(), RulesError> {
        self.get_mut(kind, rule_id)?.enabled = enabled;
        Ok(())
    }

    /// Changes what any rule does.
    pub fn set_actions(&mut self, kind: Kind, rule_id: &str, actions: Vec<Json>) -> Result<(), RulesError> {
        self.get_mut(kind, rule_id)?.actions = checked_actions(actions)?;
        Ok(())
    }
}

fn check_id(rule_id: &str) -> Result<(), RulesError> {
    match rule_id {
        "" => Err(RulesError::BadId("the id of a push rule must not be empty")),
        id if id.starts_with('.') => Err(RulesError::ServerDefault),
        id if id.contains(['/', '\\']) => Err(RulesError::BadId("the id of a push rule must not contain '/' or '\\'")),
        id if id.len() > LONGEST_ID => {
            Err(RulesError::BadId("the id of a push rule must not be longer than 300 bytes"))
        }
        _ => Ok(()),
    }
}

fn check(kind: Kind, rule: &mut Rule) -> Result<(), RulesError> {
    rule.actions = checked_actions(std::mem::take(&mut rule.actions))?;
    match kind {
        Kind::Override | Kind::Underride => {
            rule.pattern = None;
            let conditions = rule.conditions.get_or_insert_default();
            if conditions.len() > MOST_PARTS {
                return Err(RulesError::BadRule("a push rule must not have more than 50 conditions"));
            }
            conditions.iter().try_for_each(check_condition)
        }
        Kind::Content => {
            rule.conditions = None;
            match rule.pattern.as_deref().map(str::len) {
                None => Err(RulesError::BadRule("a content rule needs a `pattern`")),
                Some(LONGEST_PATTERN..) => Err(RulesError::BadRule("a pattern must be shorter than 1,024 bytes")),
                Some(_) => Ok(()),
            }
        }
        Kind::Room | Kind::Sender => {
            (rule.conditions, rule.pattern) = (None, None);
            Ok(())
        }
    }
}

fn check_condition(condition: &Json) -> Result<(), RulesError> {
    let Some(condition) = condition.as_object() else {
        return Err(RulesError::BadRule("a condition must be an object"));
    };
    if !condition.get("kind").is_some_and(Json::is_string) {
        return Err(RulesError::BadRule("a condition needs a `kind`"));
    }
    let short = |value: &Json| value.as_str().is_none_or(|text| text.len() < LONGEST_PATTERN);
    if condition.len() <= 10 && condition.values().all(short) {
        Ok(())
    } else {
        Err(RulesError::BadRule("the texts of a condition must be shorter than 1,024 bytes"))
    }
}

/// Actions without the historical ones, which mean nothing.
fn checked_actions(mut actions: Vec<Json>) -> Result<Vec<Json>, RulesError> {
    actions.retain(|action| action != "dont_notify" && action != "coalesce");
    let is_action = |action: &Json| match action {
        Json::String(_) => true,
        Json::Object(object) => object.get("set_tweak").is_some_and(Json::is_string),
        _ => false,
    };
    if actions.len() > MOST_PARTS {
        Err(RulesError::BadRule("a push rule must not have more than 50 actions"))
    } else if !actions.iter().all(is_action) {
        Err(RulesError::BadRule("an action must be a string or an object with `set_tweak`"))
    } else {
        Ok(actions)
    }
}

#[cfg(test)]
mod tests;
