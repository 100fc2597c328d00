//! What a rule that a client sends must be.

use serde_json::Value as Json;
use thiserror::Error;

use super::rule::{Kind, Rule};
use crate::{
    store::{CommitError, ReadError},
    users::account_data::AccountDataError,
};

/// The longest id of a rule, in bytes.
pub const LONGEST_ID: usize = 300;
/// The longest pattern, key or value of a rule's condition, in bytes.
pub const LONGEST_PATTERN: usize = 1_024;
/// The most conditions, and the most actions, of a rule.
const MOST_PARTS: usize = 50;

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
    /// There are [`MOST_RULES`](super::rules::MOST_RULES) already.
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

/// Refuses what can't be the id of a user-defined rule.
pub(super) fn check_id(rule_id: &str) -> Result<(), RulesError> {
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

/// Refuses what is no rule of its kind, and takes away what means nothing in one.
pub(super) fn check(kind: Kind, rule: &mut Rule) -> Result<(), RulesError> {
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

/// Actions as the client wrote them; the historical ones (`dont_notify`, `coalesce`) are kept and do nothing.
pub(super) fn checked_actions(actions: Vec<Json>) -> Result<Vec<Json>, RulesError> {
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
