//! The rules of a user, as they are stored in the account data `m.push_rules` and as clients read and change them.
//!
//! Within a kind, user-defined rules come before server-default ones; only `.m.rule.master` comes before all.

use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, value::RawValue};

use super::{
    check::{RulesError, check, check_id, checked_actions},
    defaults,
    rule::{Kind, Rule, Rules},
};
use crate::{
    store::{Batch, ReadError, View},
    users::account_data,
};

/// The account data type of push rules.
pub const TYPE: &str = "m.push_rules";
/// The most rules of a user.
pub const MOST_RULES: usize = 10_000;

/// The content of the account data.
#[derive(Serialize, Deserialize)]
struct Scopes<R> {
    global: R,
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

#[cfg(test)]
mod tests;
