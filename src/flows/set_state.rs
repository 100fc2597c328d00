//! Setting state of a room.

use std::collections::BTreeSet;

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomAliasId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};

use super::{
    membership,
    new_state::{self, NewState},
    room_error::RoomError,
    send::Sender,
};
use crate::{
    app::App,
    event::json,
    graph::{Event, Membership, Reader, RoomNo},
    rooms::{
        aliases,
        content::{field, text},
    },
    store::View,
};

/// Sets state, and says by which event. What the same user set to the same content before is not sent again.
pub async fn set_state(
    app: &App,
    sender: &Sender,
    room_id: OwnedRoomId,
    state: NewState,
) -> Result<OwnedEventId, RoomError> {
    let (whose, wanted) = (sender.user_id.clone(), state.clone());
    let check = move |reader: &Reader, view: &View<'_>| check(reader, view, (&whose, &room_id), &wanted);
    let (room, existing) = app.rooms.read(check).await?;
    if let Some(existing) = existing {
        return Ok(existing);
    }
    if state.kind == "m.room.member" {
        return membership::set_by_state(app, sender, room, state).await;
    }
    new_state::put(app, &sender.user_id, room, state).await
}

fn check(
    reader: &Reader,
    view: &View<'_>,
    (user_id, room_id): (&OwnedUserId, &OwnedRoomId),
    state: &NewState,
) -> Result<(RoomNo, Option<OwnedEventId>), RoomError> {
    let (room, head) = reader.room(view, room_id)?.ok_or(RoomError::NotInRoom)?;
    let is_member = state.kind == "m.room.member";
    let joined = reader.user_room(view, user_id, room)?.is_some_and(|row| row.membership == Membership::Join);
    // Who is not in the room may still change their own membership.
    let is_own = is_member && state.state_key == user_id.as_str();
    if !joined && !is_own {
        return Err(RoomError::NotInRoom);
    }
    let current = reader.state_event(view, room, head.root, &state.kind, &state.state_key)?;
    let is_same = |event: &Event| event.sender == *user_id && event.content() == json::to_bytes(&state.content);
    if let Some(event) = current.as_ref().filter(|event| joined && is_same(event)) {
        return Ok((room, Some(event.event_id.clone())));
    }
    match (state.kind.as_str(), state.state_key.as_str()) {
        ("m.room.canonical_alias", "") => check_aliases(view, room, current.as_ref(), &state.content)?,
        ("m.room.power_levels", "") => check_power_levels(&state.content)?,
        _ => {}
    }
    Ok((room, None))
}

/// Client-server API, `PUT /state`: aliases that are new here must be well-formed and point to this room.
fn check_aliases(
    view: &View<'_>,
    room: RoomNo,
    current: Option<&Event>,
    content: &CanonicalJsonObject,
) -> Result<(), RoomError> {
    let content = json::to_bytes(content);
    let named = |content: &[u8]| -> BTreeSet<String> {
        let alternatives: Vec<String> = field(content, "alt_aliases").unwrap_or_default();
        text(content, "alias").into_iter().chain(alternatives).collect()
    };
    let known = current.map(|event| named(event.content())).unwrap_or_default();
    for alias in named(&content).difference(&known) {
        let parsed = RoomAliasId::parse(alias.as_str()).ok().filter(|parsed| aliases::is_valid(parsed));
        let parsed = parsed.ok_or_else(|| RoomError::InvalidParam(format!("`{alias}` is no room alias")))?;
        if aliases::get(view, &parsed)?.is_none_or(|alias| alias.room != room) {
            return Err(RoomError::BadAlias(alias.clone()));
        }
    }
    Ok(())
}

/// Levels must be numbers, whatever the room version lets others write.
fn check_power_levels(content: &CanonicalJsonObject) -> Result<(), RoomError> {
    let bad = |what: &str| Err(RoomError::BadContent(format!("{what} of the power levels is not what it must be")));
    let levels = ["ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"];
    for field in levels {
        if content.get(field).is_some_and(|level| level.as_integer().is_none()) {
            return bad(field);
        }
    }
    for field in ["events", "notifications", "users"] {
        let levels = match content.get(field) {
            None => continue,
            Some(CanonicalJsonValue::Object(levels)) => levels,
            Some(_) => return bad(field),
        };
        let is_name = |name: &str| field != "users" || UserId::parse(name).is_ok();
        if levels.iter().any(|(name, level)| level.as_integer().is_none() || !is_name(name)) {
            return bad(field);
        }
    }
    Ok(())
}
