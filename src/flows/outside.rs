//! Leaving and knocking on rooms that this server is not in.

use ruma::{OwnedServerName, OwnedUserId, RoomId, UserId, canonical_json::CanonicalJsonObject};

use super::{elsewhere, room_error::RoomError};
use crate::{
    app::App,
    federation::joining::outside::Change,
    graph::{Membership, Reader, outside::Outside},
    store::View,
};

/// Servers that are told of a leave, until one hears it.
const MOST_TOLD: usize = 3;

/// What a user is to a room that this server is not in.
pub(super) enum Place {
    /// This server is in it.
    Here,
    /// Invited, or knocking.
    Outside(Box<Outside>),
    /// Nothing; these servers may be in it.
    Nothing(Vec<OwnedServerName>),
}

/// Where a user stands.
pub(super) fn place(reader: &Reader, view: &View<'_>, room_id: &RoomId, user_id: &UserId) -> Result<Place, RoomError> {
    let Some(room) = reader.room_no(view, room_id)? else { return Ok(Place::Nothing(Vec::new())) };
    let head = reader.head(view, room)?;
    if head.as_ref().is_some_and(|head| !head.is_left) {
        return Ok(Place::Here);
    }
    let row = reader.user_room(view, user_id, room)?;
    if let Some(row) = row.filter(|row| matches!(row.membership, Membership::Invite | Membership::Knock)) {
        // Invited by the room itself, as this server last knew it: its own rows say so.
        return Ok(Outside::of(&row).map_or(Place::Here, |outside| Place::Outside(Box::new(outside))));
    }
    let servers = reader.servers(view, room)?.into_iter().filter(|(_, row)| row.joined_users > 0);
    Ok(Place::Nothing(servers.filter_map(|(server, _)| server.try_into().ok()).collect()))
}

/// Declines an invite, or takes back a knock. If no server of the room hears of it, it is so here all the same.
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
    let change = Change { room_id, user_id, content, room_version };
    elsewhere::in_a_task(app, "leave through others", move |app| async move {
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
    })
    .await
}

/// Knocks through one of the servers that the user names; of those that were in the room when this server was, where none is
/// named.
pub(super) async fn knock(
    app: &App,
    change: Change,
    (named, remembered): (Vec<OwnedServerName>, Vec<OwnedServerName>),
) -> Result<(), RoomError> {
    let servers = elsewhere::candidates(app, &change.room_id, named, remembered);
    elsewhere::in_a_task(app, "knock through others", move |app| async move {
        let one = |server: OwnedServerName| {
            let (handshakes, change) = (app.handshakes.clone(), change.clone());
            async move { handshakes.knock(&server, &change).await }
        };
        elsewhere::ask(&app, servers, one).await
    })
    .await
}
