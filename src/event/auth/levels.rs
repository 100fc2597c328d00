//! The rules about new power levels.

use std::collections::BTreeMap;

use super::{AuthError, Level, PowerLevels, demand};
use crate::event::{
    levels::{Form, Named},
    pdu::Pdu,
    version::Rules,
};

/// Rule 10 of versions 1 and 12, 9 of those between: whether these levels may follow the current ones.
pub(super) fn check(pdu: &Pdu, rules: &Rules, current: &PowerLevels) -> Result<(), AuthError> {
    let new = pdu.levels(Form::of(rules));
    if let Some(property) = new.flaw {
        return Err(AuthError(format!("`{property}` of the power levels is not what it must be")));
    }
    if rules.authorization.explicitly_privilege_room_creators {
        let has_creator = current.creators().iter().any(|creator| new.users.contains_key(creator.as_str()));
        demand(!has_creator, "a creator has no power level of its own")?;
    }
    let Some(old) = current.levels() else { return Ok(()) };
    let sender = pdu.sender().as_str();
    let own = current.of(pdu.sender());
    let exceeds = |level: i64| Level::Finite(level) > own;

    for name in Named::ALL {
        // What was or becomes absent counts with its default.
        let changes = old.named(name) != new.named(name);
        if changes && (exceeds(old.named_or_default(name)) || exceeds(new.named_or_default(name))) {
            return Err(AuthError(format!("the sender may not change `{}`", name.as_str())));
        }
    }
    check_entries("events", &old.events, &new.events, |_, old| exceeds(old), exceeds)?;
    if rules.authorization.limit_notifications_power_levels {
        check_entries("notifications", &old.notifications, &new.notifications, |_, old| exceeds(old), exceeds)?;
    }
    let is_out_of_reach = |user: &str, old: i64| user != sender && Level::Finite(old) >= own;
    check_entries("users", &old.users, &new.users, is_out_of_reach, exceeds)
}

/// Looks at every entry that is added, changed or removed.
fn check_entries(
    property: &str,
    old: &BTreeMap<String, i64>,
    new: &BTreeMap<String, i64>,
    may_not_change: impl Fn(&str, i64) -> bool,
    may_not_give: impl Fn(i64) -> bool,
) -> Result<(), AuthError> {
    let refused = |key: &str| Err(AuthError(format!("the sender may not change `{property}` of `{key}`")));
    for (key, level) in old {
        if new.get(key) != Some(level) && may_not_change(key, *level) {
            return refused(key);
        }
    }
    for (key, level) in new {
        if old.get(key) != Some(level) && may_not_give(*level) {
            return refused(key);
        }
    }
    Ok(())
}
