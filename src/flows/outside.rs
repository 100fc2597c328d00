//! Leaving and knocking on rooms that this server is not in.

use std::time::Duration;

use ruma::{OwnedServerName, OwnedUserId, RoomId, UserId, canonical_json::CanonicalJsonObject};

use super::{elsewhere, room_error::RoomError};
use crate::{
    app::App,
    federation::joining::outside::Change,
    graph::{
        Membership, Reader, RoomNo,
        outside::{MOST_PENDING, Outside},
    },
    store::View,
};

/// Servers that are told of a leave, until one hears it.
const MOST_TOLD: usize = 3;
/// How long a user waits for that.
const SOON: Duration = Duration::from_secs(3);

/// What a user is to a room that this server is not in.
pub(super) enum Place {
    /// This server is in it.
    Here,
    /// This server is in it, and the user has an invite or a knock from before that the room does not know of.
    Stale(RoomNo),
    /// Invited, or knocking.
    Outside(Box<Outside>),
    /// Nothing; these servers may be in it.
    Nothing(Vec<OwnedServerName>),
}

/// Where a user stands.
pub(super) fn place(reader: &Reader, view: &View<'_>, room_id: &RoomId, user_id: &UserId) -> Result<Place, RoomError> {
    let Some(room) = reader.room_no(view, room_id)? else { return Ok(Place::Nothing(Vec::new())) };
    let is_here = reader.head(view, room)?.is_some_and(|head| !head.is_left);
    let row = reader.user_room(view, user_id, room)?;
    let row = row.filter(|row| matches!(row.membership, Membership::Invite | Membership::Knock));
    match row {
        Some(row) if is_here && row.outside.is_some() => return Ok(Place::Stale(room)),
        // Invited by the room itself, as this server last knew it: its own rows say so.
        Some(row) if !is_here => {
            let outside = reader.outside(view, user_id, (room, &row))?;
            return Ok(outside.map_or(Place::Here, |outside| Place::Outside(Box::new(outside))));
        }
        _ if is_here => return Ok(Place::Here),
        _ => {}
    }
    let servers = reader.servers(view, room)?.into_iter().filter(|(_, row)| row.joined_users > 0);
    Ok(Place::Nothing(servers.filter_map(|(server, _)| server.try_into().ok()).collect()))
}

/// Declines an invite, or takes back a knock. If no server of the room hears of it, or none does soon, it is so here all the
/// same: who declines many waits for none of those that sent them.
pub(super) async fn leave(
    app: &App,
    user_id: OwnedUserId,
    outside: Outside,
    content: CanonicalJsonObject,
) -> Result<(), RoomError> {
    let room_id = outside.room_id.clone();
    let inviter = outside.pdu().map(|pdu| pdu.sender().server_name().to_owned());
    let known = inviter.into_iter().chain(outside.via.iter().cloned()).collect();
    let mut servers = elsewhere::candidates(app, &room_id, known, Vec::new());
    servers.truncate(MOST_TOLD);
    let room_version = Some(outside.room_version.clone());
    let instead_of = Some(outside.event_id().to_owned());
    let change = Change { room_id, user_id, content, room_version, instead_of };
    let (alone, left) = (change.clone(), outside.clone());
    let telling = elsewhere::in_a_task(app, "leave through others", move |app| async move {
        let one = |server: OwnedServerName| {
            let (handshakes, change) = (app.handshakes.clone(), change.clone());
            async move { handshakes.leave(&server, &change).await }
        };
        match elsewhere::ask(&app, servers, one).await {
            Err(error @ (RoomError::Read(_) | RoomError::Commit(_) | RoomError::Graph(_) | RoomError::Busy)) => {
                Err(error)
            }
            Err(error) => {
                tracing::info!(%error, room_id = %change.room_id, "a user left a room of which no server heard it");
                app.handshakes.leave_alone(&change, &outside).await.map_err(elsewhere::explain)
            }
            Ok(()) => Ok(()),
        }
    });
    match tokio::time::timeout(SOON, telling).await {
        Ok(told) => told,
        Err(_) => app.handshakes.leave_alone(&alone, &left).await.map_err(elsewhere::explain),
    }
}

/// Knocks through one of the servers that the user names; of those that were in the room when this server was, where none is
/// named.
pub(super) async fn knock(
    app: &App,
    change: Change,
    (named, remembered): (Vec<OwnedServerName>, Vec<OwnedServerName>),
) -> Result<(), RoomError> {
    let servers = elsewhere::candidates(app, &change.room_id, named, remembered);
    let whose = change.user_id.clone();
    let waiting = app.rooms.read(move |reader, view| reader.pending_outside(view, &whose)).await?;
    if waiting >= MOST_PENDING {
        return Err(RoomError::Forbidden("too many of your invites and knocks wait for an answer".to_owned()));
    }
    elsewhere::in_a_task(app, "knock through others", move |app| async move {
        let one = |server: OwnedServerName| {
            let (handshakes, change) = (app.handshakes.clone(), change.clone());
            async move { handshakes.knock(&server, &change).await }
        };
        elsewhere::ask(&app, servers, one).await
    })
    .await
}
