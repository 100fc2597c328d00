//! What a user has set for a room, carried over to the room that replaces it (client-server API, "Room Upgrades", "Server
//! behaviour": notifications, tags and the like, when a user joins).

use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::{Map, Value as Json, value::to_raw_value};

use crate::{
    app::App,
    graph::{Reader, RoomNo},
    push::{Kind, Rule, RulesError, rules},
    rooms::content,
    store::{Batch, ReadError, View},
    users::account_data,
};

const TAGS: &str = "m.tag";
const DIRECT: &str = "m.direct";

/// Carries over what a user has set for the predecessor of a room, if it has one that the user was in. What fails is left
/// out: the user is in the room all the same.
pub(super) async fn carry_over(app: &App, user_id: &UserId, room: RoomNo) {
    for part in [tags, direct, notifications] {
        let (whose, reader) = (user_id.to_owned(), app.rooms.reader().clone());
        // Each by itself: a commit changes how much account data there is once.
        let carry = move |view: &View<'_>, batch: &mut Batch| match predecessor(&reader, view, room, &whose)? {
            Some((old, new)) => part(view, batch, &whose, (&old, &new)),
            None => Ok(()),
        };
        if let Err(error) = app.users.change::<_, RulesError>(carry).await {
            tracing::warn!(%user_id, %error, "what a user has set for a room was not carried over to its successor");
        }
    }
}

/// The ids of the room's predecessor, if the user was there, and of the room.
fn predecessor(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    user_id: &UserId,
) -> Result<Option<(OwnedRoomId, OwnedRoomId)>, ReadError> {
    let Some(head) = reader.head(view, room)? else { return Ok(None) };
    let create = reader.state_event(view, room, head.root, "m.room.create", "")?;
    let create_sender = create.as_ref().map(|create| create.sender.clone());
    let named = create.and_then(|create| content::field::<Map<String, Json>>(create.content(), "predecessor"));
    let old = named.and_then(|named| RoomId::parse(named.get("room_id")?.as_str()?).ok());
    let Some(old) = old else { return Ok(None) };
    let Some((old_room, old_head)) = reader.room(view, &old)? else { return Ok(None) };
    if !reader.user_room(view, user_id, old_room)?.is_some_and(|row| row.joined_at.is_some() || row.was_joined) {
        return Ok(None);
    }
    // What a room says of its predecessor anybody can say: the other must name it, too, or be about to.
    let tombstone = reader.state_event(view, old_room, old_head.root, "m.room.tombstone", "")?;
    let named = tombstone.and_then(|tombstone| content::text(tombstone.content(), "replacement_room"));
    let is_own = create_sender.as_deref() == Some(user_id);
    let is_it = named.as_deref() == Some(head.room_id.as_str()) || (named.is_none() && is_own);
    Ok(is_it.then_some((old, head.room_id)))
}

/// The tags, unless the new room has some.
fn tags(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    (old, new): (&RoomId, &RoomId),
) -> Result<(), RulesError> {
    let (before, now) =
        (account_data::get(view, user_id, Some(old), TAGS)?, account_data::get(view, user_id, Some(new), TAGS)?);
    match before.filter(|_| now.is_none()).and_then(|before| serde_json::from_str::<Map<String, Json>>(&before).ok()) {
        Some(tags) if !tags.is_empty() => {
            let content = to_raw_value(&tags).unwrap_or_default();
            Ok(account_data::set(view, batch, user_id, (Some(new), TAGS), &content)?)
        }
        _ => Ok(()),
    }
}

/// With whom the room is a direct chat.
fn direct(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    (old, new): (&RoomId, &RoomId),
) -> Result<(), RulesError> {
    let content = account_data::get(view, user_id, None, DIRECT)?;
    let Some(mut chats) = content.and_then(|content| serde_json::from_str::<Map<String, Json>>(&content).ok()) else {
        return Ok(());
    };
    let mut changed = false;
    for rooms in chats.values_mut().filter_map(Json::as_array_mut) {
        if rooms.iter().any(|room| room == old.as_str()) && rooms.iter().all(|room| room != new.as_str()) {
            rooms.push(Json::from(new.as_str()));
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    let content = to_raw_value(&chats).unwrap_or_default();
    Ok(account_data::set(view, batch, user_id, (None, DIRECT), &content)?)
}

/// The push rules that are the old room's by name: the room's own, and those by which clients silence one.
fn notifications(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    (old, new): (&RoomId, &RoomId),
) -> Result<(), RulesError> {
    let mut rules = rules::read(view, user_id)?;
    let mut changed = false;
    for kind in [Kind::Override, Kind::Room, Kind::Underride] {
        let of = |room: &RoomId| rules.of(kind).iter().find(|rule| rule.rule_id == room.as_str()).cloned();
        let (Some(rule), None) = (of(old), of(new)) else { continue };
        let enabled = rule.enabled;
        rules.put(kind, renamed(rule, old, new), None, None)?;
        rules.set_enabled(kind, new.as_str(), enabled)?;
        changed = true;
    }
    if changed { rules::write(view, batch, user_id, &rules) } else { Ok(()) }
}

fn renamed(mut rule: Rule, old: &RoomId, new: &RoomId) -> Rule {
    rule.rule_id = new.to_string();
    for condition in rule.conditions.iter_mut().flatten() {
        if let Some(pattern) = condition.get_mut("pattern")
            && pattern.as_str() == Some(old.as_str())
        {
            *pattern = Json::from(new.as_str());
        }
    }
    rule
}
