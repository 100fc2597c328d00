//! Naming rooms, and putting them into the published directory.

use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, RoomAliasId, UserId, canonical_json::CanonicalJsonValue};

use super::{new_state::NewState, room_error::RoomError, send::Sender};
use crate::{
    app::App,
    appservice::Registration,
    event::json,
    federation::ClientError,
    graph::{Head, Membership, Reader, RoomNo},
    rooms::{
        aliases::{self, AliasError},
        power::power_levels,
    },
    store::{Batch, ReadError, View},
};

const CANONICAL_ALIAS: &str = "m.room.canonical_alias";

/// A room by its id or one of its names, and servers that may be in it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Servers, the best first.
    pub via: Vec<OwnedServerName>,
}

/// The room that an alias names: one of ours by our own list, any other as the server of the alias says.
pub async fn find(app: &App, alias: OwnedRoomAliasId) -> Result<Found, RoomError> {
    if alias.server_name() == app.server_name {
        let find = move |reader: &Reader, view: &View<'_>| {
            let alias = aliases::get(view, &alias)?.ok_or(RoomError::UnknownAlias)?;
            Ok::<_, RoomError>(reader.head(view, alias.room)?.ok_or(RoomError::UnknownAlias)?.room_id)
        };
        return Ok(Found { room_id: app.rooms.read(find).await?, via: vec![app.server_name.clone()] });
    }
    match app.federation.room_of_alias(alias).await {
        Ok((room_id, via)) => Ok(Found { room_id, via }),
        Err(ClientError::Refused { status, .. }) if status.as_u16() == 404 => Err(RoomError::UnknownAlias),
        Err(error) => Err(RoomError::Unreachable(error.to_string())),
    }
}

/// Gives a room a name of this server. Only members may.
pub async fn set_alias(
    app: &App,
    sender: &Sender,
    alias: OwnedRoomAliasId,
    room_id: OwnedRoomId,
) -> Result<(), RoomError> {
    if alias.server_name() != app.server_name {
        return Err(RoomError::InvalidParam("this alias is not of this server".to_owned()));
    }
    check_reserved(app, &alias, sender.appservice.as_deref())?;
    let (user_id, reader) = (sender.user_id.clone(), app.rooms.reader().clone());
    let set = move |view: &View<'_>, batch: &mut Batch| {
        let room = reader.room_no(view, &room_id)?.ok_or(RoomError::UnknownRoom)?;
        if !is_member(&reader, view, room, &user_id)? {
            return Err(RoomError::NotInRoom);
        }
        aliases::put(view, batch, (&alias, room, &user_id)).map_err(|error| match error {
            AliasError::Invalid | AliasError::TooMany => RoomError::InvalidParam(error.to_string()),
            AliasError::Taken => RoomError::AliasTaken,
            AliasError::Read(error) => error.into(),
        })
    };
    app.users.change(set).await
}

/// Application services name rooms within their namespaces, and nobody else where these are exclusive.
pub(super) fn check_reserved(app: &App, alias: &RoomAliasId, by: Option<&Registration>) -> Result<(), RoomError> {
    let is_outside = by.is_some_and(|appservice| !appservice.has_alias(alias));
    if is_outside || app.appservices.keep_alias(alias, by) { Err(RoomError::AliasReserved) } else { Ok(()) }
}

/// Takes a name away: who gave it, the application service whose it is, who may say which names the room has, and administrators may. The room's
/// `m.room.canonical_alias` names it no more either, if the sender may say so.
pub async fn delete_alias(app: &App, sender: &Sender, alias: OwnedRoomAliasId) -> Result<(), RoomError> {
    let (user_id, gone) = (sender.user_id.clone(), alias.clone());
    let (sender, reader) = (sender.clone(), app.rooms.reader().clone());
    let delete = move |view: &View<'_>, batch: &mut Batch| {
        let found = aliases::get(view, &alias)?.ok_or(RoomError::UnknownAlias)?;
        let is_own = found.creator.as_ref() == Some(&sender.user_id)
            || sender.appservice.as_ref().is_some_and(|appservice| appservice.has_alias(&alias));
        if !is_own && !may_name(&reader, view, found.room, &sender)? {
            return Err(RoomError::Forbidden("this alias is not yours to remove".to_owned()));
        }
        aliases::remove(batch, &alias, found.room);
        Ok::<_, RoomError>(found.room)
    };
    let room = app.users.change(delete).await?;
    if let Err(error) = name_no_more(app, &user_id, room, &gone).await {
        tracing::debug!(%user_id, alias = %gone, %error, "a room goes on naming an alias that is gone");
    }
    Ok(())
}

/// Takes an alias out of the room's `m.room.canonical_alias`.
async fn name_no_more(app: &App, user_id: &UserId, room: RoomNo, alias: &RoomAliasId) -> Result<(), RoomError> {
    let find = move |reader: &Reader, view: &View<'_>| {
        let root = reader.root(view, room)?;
        reader.state_event(view, room, root, CANONICAL_ALIAS, "")
    };
    let Some(event) = app.rooms.read(find).await? else { return Ok(()) };
    let Ok(old) = json::parse(event.content()) else { return Ok(()) };
    let mut content = old.clone();
    content.retain(|_, value| value.as_str() != Some(alias.as_str()));
    if let Some(CanonicalJsonValue::Array(others)) = content.get_mut("alt_aliases") {
        others.retain(|other| other.as_str() != Some(alias.as_str()));
    }
    if content != old {
        let state = NewState::of_room(CANONICAL_ALIAS, content).proposed_by(user_id);
        app.policy.send_one(room, state.replacing(event.seq)).await?;
    }
    Ok(())
}

/// Puts a room into the published directory, or takes it out. Who may say which names the room has, and administrators
/// may.
pub async fn publish(app: &App, sender: &Sender, room_id: OwnedRoomId, published: bool) -> Result<(), RoomError> {
    let (sender, reader) = (sender.clone(), app.rooms.reader().clone());
    let publish = move |view: &View<'_>, batch: &mut Batch| {
        let room = reader.room_no(view, &room_id)?.ok_or(RoomError::UnknownRoom)?;
        if !may_name(&reader, view, room, &sender)? {
            return Err(RoomError::Forbidden("you may not say who finds this room".to_owned()));
        }
        if aliases::is_published(view, room)? != published {
            aliases::publish(batch, room, published);
        }
        Ok(())
    };
    app.users.change(publish).await
}

fn is_member(reader: &Reader, view: &View<'_>, room: RoomNo, user_id: &UserId) -> Result<bool, ReadError> {
    Ok(reader.user_room(view, user_id, room)?.is_some_and(|row| row.membership == Membership::Join))
}

/// Whether a user may set the room's `m.room.canonical_alias`, by which its names are shown.
fn may_name(reader: &Reader, view: &View<'_>, room: RoomNo, sender: &Sender) -> Result<bool, ReadError> {
    if sender.is_admin {
        return Ok(true);
    }
    let head: Option<Head> = reader.head(view, room)?;
    let Some(head) = head.filter(|_| !sender.is_guest) else { return Ok(false) };
    if !is_member(reader, view, room, &sender.user_id)? {
        return Ok(false);
    }
    let levels = power_levels(reader, view, (room, &head))?;
    Ok(levels.is_some_and(|levels| levels.of(&sender.user_id) >= levels.to_send("m.room.canonical_alias", true)))
}
