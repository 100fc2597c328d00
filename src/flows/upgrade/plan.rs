//! What a room that replaces another begins with (client-server API, "Room Upgrades", "Server behaviour"). Pure.

use std::collections::BTreeSet;

use ruma::{
    OwnedUserId, RoomVersionId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};

use crate::{
    event::Rules,
    flows::{
        create_room::{
            PlanError,
            literals::{integer, object, text},
            power_levels::tombstone_level,
        },
        new_state::NewState,
    },
};

const CREATE: &str = "m.room.create";
const POWER_LEVELS: &str = "m.room.power_levels";
const JOIN_RULES: &str = "m.room.join_rules";
/// State of the old room that the new one gets as it is; the specification recommends these.
pub(super) const COPIED: [&str; 7] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
];
/// What of the old room's create event is not the new one's.
const OF_THE_OLD: [&str; 4] = ["creator", "room_version", "predecessor", "additional_creators"];

/// The room that is replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct Old {
    /// Its id.
    pub(super) room_id: String,
    /// The last event that is known of it.
    pub(super) last_event: Option<String>,
    /// The content of its create event.
    pub(super) create: CanonicalJsonObject,
    /// Who created it.
    pub(super) creators: BTreeSet<OwnedUserId>,
    /// Whether creators are above every level there.
    pub(super) privileged: bool,
    /// The content of its power levels.
    pub(super) power_levels: Option<CanonicalJsonObject>,
    /// The content of its join rules.
    pub(super) join_rules: Option<CanonicalJsonObject>,
    /// Other state that is copied.
    pub(super) copied: Vec<NewState>,
    /// Its aliases, all of this server.
    pub(super) aliases: Vec<String>,
    /// The content of its canonical alias.
    pub(super) canonical_alias: Option<CanonicalJsonObject>,
}

/// The new room.
pub(super) struct New<'a> {
    pub(super) version: &'a RoomVersionId,
    pub(super) rules: &'a Rules,
    pub(super) creator: &'a OwnedUserId,
    pub(super) additional_creators: &'a [OwnedUserId],
    /// What the creator's member event says.
    pub(super) joined: CanonicalJsonObject,
}

/// The events of the new room. The power levels come last: before them the creator may do everything, even if later, like in
/// the old room, it is less.
pub(super) fn plan(old: &Old, new: New<'_>) -> Result<Vec<NewState>, PlanError> {
    let mut events =
        vec![NewState::of_room(CREATE, create(old, &new)), NewState::of_member(new.creator, new.joined.clone())];
    events.extend(old.copied.iter().cloned());
    events.push(NewState::of_room(JOIN_RULES, join_rules(old, new.rules)));
    events.extend(canonical_alias(old).map(|content| NewState::of_room("m.room.canonical_alias", content)));
    events.push(NewState::of_room(POWER_LEVELS, power_levels(old, &new)?));
    Ok(events)
}

fn create(old: &Old, new: &New<'_>) -> CanonicalJsonObject {
    let mut content = old.create.clone();
    content.retain(|field, _| !OF_THE_OLD.contains(&field.as_str()));
    content.insert("room_version".to_owned(), text(new.version.as_str()));
    if !new.rules.authorization.use_room_create_sender {
        content.insert("creator".to_owned(), text(new.creator.as_str()));
    }
    if new.rules.authorization.additional_room_creators && !new.additional_creators.is_empty() {
        let creators = new.additional_creators.iter().map(|user_id| text(user_id.as_str())).collect();
        content.insert("additional_creators".to_owned(), CanonicalJsonValue::Array(creators));
    }
    let mut predecessor = CanonicalJsonObject::from([("room_id".to_owned(), text(&old.room_id))]);
    // From version 12 on the tombstone, which clients look for by themselves, can't be there before the new room.
    if let (false, Some(event_id)) = (new.rules.authorization.room_create_event_id_as_room_id, &old.last_event) {
        predecessor.insert("event_id".to_owned(), text(event_id));
    }
    content.insert("predecessor".to_owned(), CanonicalJsonValue::Object(predecessor));
    content
}

/// The old join rules, as far as the new version knows them; otherwise by invite.
fn join_rules(old: &Old, rules: &Rules) -> CanonicalJsonObject {
    let rule =
        old.join_rules.as_ref().and_then(|content| content.get("join_rule")).and_then(CanonicalJsonValue::as_str);
    let known = match rule {
        Some("public" | "invite" | "private") => true,
        Some("knock") => rules.authorization.knocking,
        Some("restricted") => rules.authorization.restricted_join_rule,
        Some("knock_restricted") => rules.authorization.knock_restricted_join_rule,
        _ => false,
    };
    let content = old.join_rules.clone().filter(|_| known);
    content.unwrap_or_else(|| CanonicalJsonObject::from([("join_rule".to_owned(), text("invite"))]))
}

/// The names that move with the room: aliases of other servers still point to the old one.
fn canonical_alias(old: &Old) -> Option<CanonicalJsonObject> {
    let moves =
        |alias: &CanonicalJsonValue| alias.as_str().is_some_and(|alias| old.aliases.iter().any(|own| own == alias));
    let mut content = old.canonical_alias.clone()?;
    content.retain(|field, value| match (field.as_str(), value) {
        ("alias", alias) => moves(alias),
        ("alt_aliases", CanonicalJsonValue::Array(aliases)) => {
            aliases.retain(moves);
            !aliases.is_empty()
        }
        _ => false,
    });
    (!content.is_empty()).then_some(content)
}

fn power_levels(old: &Old, new: &New<'_>) -> Result<CanonicalJsonObject, PlanError> {
    let mut content = old.power_levels.clone().unwrap_or_default();
    if new.rules.authorization.integer_power_levels {
        content = integers(content);
    }
    let mut users = taken_object(&mut content, "users")?;
    if new.rules.authorization.explicitly_privilege_room_creators {
        users.retain(|user_id, _| {
            user_id != new.creator.as_str() && new.additional_creators.iter().all(|creator| creator != user_id.as_str())
        });
        let mut events = taken_object(&mut content, "events")?;
        let level = |field: Option<&CanonicalJsonValue>| field.and_then(CanonicalJsonValue::as_integer).map(i64::from);
        let needed = tombstone_level(level(content.get("state_default")));
        let given = level(events.get("m.room.tombstone")).unwrap_or(needed);
        events.insert("m.room.tombstone".to_owned(), integer(given.max(needed)));
        content.insert("events".to_owned(), CanonicalJsonValue::Object(events));
    } else if old.privileged {
        // Those who could do everything, without being named, can do what others may be named for.
        let creators = old.creators.iter().chain([new.creator]);
        users.extend(creators.map(|user_id| (user_id.to_string(), integer(100))));
    } else if old.power_levels.is_none() {
        users.extend(old.creators.iter().chain([new.creator]).map(|user_id| (user_id.to_string(), integer(100))));
    }
    content.insert("users".to_owned(), CanonicalJsonValue::Object(users));
    Ok(content)
}

fn taken_object(content: &mut CanonicalJsonObject, field: &str) -> Result<CanonicalJsonObject, PlanError> {
    match content.remove(field) {
        None => Ok(CanonicalJsonObject::new()),
        Some(CanonicalJsonValue::Object(object)) => Ok(object),
        Some(_) => Err(PlanError::Invalid("the room's power levels are not what they must be")),
    }
}

/// Levels that old rooms may have as text, as the numbers that newer versions want; what is none is left out.
fn integers(content: CanonicalJsonObject) -> CanonicalJsonObject {
    let level = |value: CanonicalJsonValue| match value {
        CanonicalJsonValue::String(text) => text.trim().parse().ok().map(integer),
        CanonicalJsonValue::Integer(_) => Some(value),
        _ => None,
    };
    let fields = content.into_iter().filter_map(|(field, value)| match value {
        CanonicalJsonValue::Object(levels) => {
            let levels = levels.into_iter().filter_map(|(name, value)| Some((name, level(value)?))).collect();
            Some((field, CanonicalJsonValue::Object(levels)))
        }
        value => Some((field, level(value)?)),
    });
    fields.collect()
}

/// The tombstone of the old room.
pub(super) fn tombstone(replacement: &str) -> CanonicalJsonObject {
    object(serde_json::json!({"body": "This room has been replaced", "replacement_room": replacement}))
}

/// The power levels of the old room, so that nobody goes on talking there or invites others; `None` if that holds already.
pub(super) fn closed(old: &Old) -> Option<CanonicalJsonObject> {
    let mut content = old.power_levels.clone()?;
    let level = |content: &CanonicalJsonObject, field: &str| {
        content.get(field).and_then(CanonicalJsonValue::as_integer).map_or(0, i64::from)
    };
    let needed = level(&content, "users_default").saturating_add(1).max(50);
    let low: Vec<&str> =
        ["events_default", "invite"].into_iter().filter(|field| level(&content, field) < needed).collect();
    content.extend(low.iter().map(|field| ((*field).to_owned(), integer(needed))));
    (!low.is_empty()).then_some(content)
}
