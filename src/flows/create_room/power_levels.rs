//! The power levels that a new room begins with.

use ruma::{
    UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::json;

use super::{
    literals::{integer, object},
    new_room::{NewRoom, PlanError, Preset},
};
use crate::event::Rules;

/// What the tombstone of a room of version 12 or later needs: more than `state_default`, so that only creators and
/// those whom they trust can close a room for good.
const TOMBSTONE: i64 = 150;

pub(super) fn power_levels(
    new: &NewRoom,
    invitees: &[&UserId],
    rules: &Rules,
) -> Result<CanonicalJsonObject, PlanError> {
    let privileged = rules.authorization.explicitly_privilege_room_creators;
    let mut users = CanonicalJsonObject::new();
    if !privileged {
        users.insert(new.creator.to_string(), integer(100));
        if new.preset == Preset::TrustedPrivateChat {
            users.extend(invitees.iter().map(|user_id| (user_id.to_string(), integer(100))));
        }
    }
    let invite = if new.preset == Preset::PublicChat { 50 } else { 0 };
    let mut content = object(json!({
        "ban": 50,
        "events": {
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.encryption": 100,
            "m.room.history_visibility": 100,
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": 100,
        },
        "events_default": 0,
        "invite": invite,
        "kick": 50,
        "redact": 50,
        "state_default": 50,
        "users_default": 0,
    }));
    content.insert("users".to_owned(), CanonicalJsonValue::Object(users));
    content.extend(new.power_levels.clone());
    if privileged {
        protect_tombstone(new, &mut content)?;
    }
    Ok(content)
}

/// Room version 12, "Room upgrades": the tombstone's level must be higher than `state_default`. What the client says of
/// it itself stays.
fn protect_tombstone(new: &NewRoom, content: &mut CanonicalJsonObject) -> Result<(), PlanError> {
    let asked = new.power_levels.get("events").and_then(CanonicalJsonValue::as_object);
    if asked.is_some_and(|events| events.contains_key("m.room.tombstone")) {
        return Ok(());
    }
    let state_default = content.get("state_default").and_then(CanonicalJsonValue::as_integer).map(i64::from);
    let level = tombstone_level(state_default);
    match content.get_mut("events") {
        Some(CanonicalJsonValue::Object(events)) => {
            events.insert("m.room.tombstone".to_owned(), integer(level));
            Ok(())
        }
        _ => Err(PlanError::Invalid("`events` of the power levels must be an object")),
    }
}

/// What the tombstone needs, from version 12 on, beside this `state_default`.
pub(in crate::flows) fn tombstone_level(state_default: Option<i64>) -> i64 {
    TOMBSTONE.max(state_default.unwrap_or(50).saturating_add(50))
}
