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
    event::{json, version},
    graph::{Event, Head, Membership, Reader, RoomNo},
    rooms::{
        aliases,
        content::{field, text},
        power::power_levels,
    },
    store::{ReadError, View},
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
    if head.is_left {
        // What is here of the room ends with the leave of the last user: on that nothing can be set.
        let why = "this server is not in the room any more: it is joined, or knocked on, through others";
        return Err(RoomError::Forbidden(why.to_owned()));
    }
    let current = reader.state_event(view, room, head.root, &state.kind, &state.state_key)?;
    let is_same = |event: &Event| event.sender == *user_id && event.content() == json::to_bytes(&state.content);
    if let Some(event) = current.as_ref().filter(|event| joined && is_same(event)) {
        return Ok((room, Some(event.event_id.clone())));
    }
    check_content(state)?;
    match (state.kind.as_str(), state.state_key.as_str()) {
        ("m.room.create", "") => {
            return Err(RoomError::BadContent("a room has one `m.room.create`, its first event".to_owned()));
        }
        ("m.room.power_levels", "") => check_creators(reader, view, (room, &head), &state.content)?,
        _ => {}
    }
    let known = current.as_ref().map(|event| event.content());
    check_aliases(state, known, |alias| Ok(aliases::get(view, alias)?.is_some_and(|alias| alias.room == room)))?;
    Ok((room, None))
}

/// What must hold of state that a client sets, whatever the room and the sender: for what the auth rules leave to the
/// server of the sender.
pub(super) fn check_content(state: &NewState) -> Result<(), RoomError> {
    match (state.kind.as_str(), state.state_key.as_str()) {
        // Not state by its nature, but it would redact: by `/redact` alone, which asks who may.
        ("m.room.redaction", _) => {
            Err(RoomError::Forbidden("an event is redacted by `PUT /redact`, not by state".to_owned()))
        }
        ("m.room.power_levels", "") => check_power_levels(&state.content),
        _ => Ok(()),
    }
}

/// Client-server API, `PUT /state`: the aliases of an `m.room.canonical_alias` that are not in its content so far must be
/// well-formed and point to this room.
pub(super) fn check_aliases(
    state: &NewState,
    known: Option<&[u8]>,
    points_here: impl Fn(&RoomAliasId) -> Result<bool, ReadError>,
) -> Result<(), RoomError> {
    if state.kind != "m.room.canonical_alias" || !state.state_key.is_empty() {
        return Ok(());
    }
    let named = |content: &[u8]| -> BTreeSet<String> {
        let alternatives: Vec<String> = field(content, "alt_aliases").unwrap_or_default();
        text(content, "alias").into_iter().chain(alternatives).collect()
    };
    let known = known.map(named).unwrap_or_default();
    for alias in named(&json::to_bytes(&state.content)).difference(&known) {
        let parsed = RoomAliasId::parse(alias.as_str()).ok().filter(|parsed| aliases::is_valid(parsed));
        let parsed = parsed.ok_or_else(|| RoomError::InvalidParam(format!("`{alias}` is no room alias")))?;
        if !points_here(&parsed)? {
            return Err(RoomError::BadAlias(alias.clone()));
        }
    }
    Ok(())
}

/// From room version 12 on a creator is above all levels and must not have one: content that nobody may send.
fn check_creators(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    content: &CanonicalJsonObject,
) -> Result<(), RoomError> {
    let rules = version::rules(&head.room_version);
    if !rules.is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators) {
        return Ok(());
    }
    let Some(CanonicalJsonValue::Object(users)) = content.get("users") else { return Ok(()) };
    let Some(levels) = power_levels(reader, view, (room, head))? else { return Ok(()) };
    match levels.creators().iter().find(|creator| users.contains_key(creator.as_str())) {
        Some(creator) => Err(RoomError::BadContent(format!("{creator} made the room: a creator has no power level"))),
        None => Ok(()),
    }
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
