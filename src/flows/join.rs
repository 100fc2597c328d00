//! Joining a room: of this server by its own graph, any other through a server that is in it.

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};

use super::{
    carry_over::carry_over,
    elsewhere,
    new_state::{self, NewState, member_content},
    room_error::RoomError,
};
use crate::{
    app::App,
    federation::joining::join::Join,
    graph::{Membership, Reader, RoomNo},
    rooms::{
        guest_access,
        restricted::{self, AUTHORISED_VIA, Admission},
    },
    store::View,
    users::profile::{self, MemberProfile},
};

/// How often a join begins anew because another user has brought the room.
const TRIES: usize = 3;

/// Who joins.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The user.
    pub user_id: OwnedUserId,
    /// A guest.
    pub is_guest: bool,
}

/// What a user wants to join, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that may be in it, the best first.
    pub via: Vec<OwnedServerName>,
    /// Why.
    pub reason: Option<String>,
}

/// Where a room can be joined.
enum Place {
    /// The user is in it.
    Joined,
    /// Here: this server is in it.
    Here(RoomNo),
    /// Through others.
    Elsewhere(Others),
}

/// Servers that may be in a room, the best first.
#[derive(Default)]
struct Others {
    /// Of whoever invites, and those that are in it as this one is.
    known: Vec<OwnedServerName>,
    /// Those that were in it when this one was.
    remembered: Vec<OwnedServerName>,
}

/// Joins a room. Who is in it already stays as they are.
pub async fn join(app: &App, joining: Joining, wanted: Wanted) -> Result<OwnedRoomId, RoomError> {
    let (room_id, user_id) = (wanted.room_id.clone(), joining.user_id.clone());
    let (place, profile) = look_up(app, &user_id, &room_id).await?;
    let content = member_content(Membership::Join, &profile, wanted.reason.clone());
    match place {
        Place::Joined => return Ok(room_id),
        Place::Here(room) => join_with(app, room, joining, NewState::of_member(&user_id, content)).await.map(drop)?,
        Place::Elsewhere(_) => {
            // A task of its own: who goes away in the middle is in the room here if they are there.
            let through_others = |app| async move {
                let (room_id, user_id) = (wanted.room_id.clone(), joining.user_id.clone());
                join_elsewhere(&app, joining, wanted, content).await?;
                carry_to(&app, &user_id, &room_id).await
            };
            elsewhere::in_a_task(app, "join through others", through_others).await?;
            return Ok(room_id);
        }
    }
    carry_to(app, &user_id, &room_id).await?;
    Ok(room_id)
}

async fn carry_to(app: &App, user_id: &UserId, room_id: &RoomId) -> Result<(), RoomError> {
    if let Some(room) = app.graph.room_no(room_id).await? {
        carry_over(app, user_id, room).await;
    }
    Ok(())
}

async fn look_up(app: &App, user_id: &UserId, room_id: &RoomId) -> Result<(Place, MemberProfile), RoomError> {
    let (user_id, room_id) = (user_id.to_owned(), room_id.to_owned());
    let find = move |reader: &Reader, view: &View<'_>| {
        let place = place(reader, view, &user_id, &room_id)?;
        Ok((place, profile::get(view, &user_id)?.for_members()))
    };
    app.rooms.read(find).await
}

fn place(reader: &Reader, view: &View<'_>, user_id: &UserId, room_id: &RoomId) -> Result<Place, RoomError> {
    let Some(room) = reader.room_no(view, room_id)? else { return Ok(Place::Elsewhere(Others::default())) };
    // Who invites is in the room, most likely.
    let invite = match reader.user_room(view, user_id, room)? {
        Some(row) => reader.outside(view, user_id, (room, &row))?,
        None => None,
    };
    let mut known = invite.map(|invite| invite.via).unwrap_or_default();
    let Some(head) = reader.head(view, room)? else {
        return Ok(Place::Elsewhere(Others { known, remembered: Vec::new() }));
    };
    let servers = || -> Result<Vec<OwnedServerName>, RoomError> {
        let mut servers: Vec<_> =
            reader.servers(view, room)?.into_iter().filter(|(_, row)| row.joined_users > 0).collect();
        // Where many users are, the room is most likely known whole.
        servers.sort_by_key(|(_, row)| std::cmp::Reverse(row.joined_users));
        Ok(servers.into_iter().filter_map(|(server, _)| server.try_into().ok()).collect())
    };
    if head.is_left {
        return Ok(Place::Elsewhere(Others { known, remembered: servers()? }));
    }
    let member = reader.member(view, room, user_id)?.map(|member| member.membership);
    if member == Some(Membership::Join) {
        return Ok(Place::Joined);
    }
    // Others may know what this server does not, or have members who may let the user in.
    match restricted::admission(reader, view, (room, &head), user_id, user_id.server_name())? {
        Admission::Unknown | Admission::NoAuthoriser => {
            known.extend(servers()?);
            Ok(Place::Elsewhere(Others { known, remembered: Vec::new() }))
        }
        Admission::NotNeeded | Admission::By(_) | Admission::Refused => Ok(Place::Here(room)),
    }
}

async fn join_elsewhere(
    app: &App,
    joining: Joining,
    wanted: Wanted,
    content: CanonicalJsonObject,
) -> Result<(), RoomError> {
    let (user_id, room_id) = (joining.user_id.clone(), wanted.room_id.clone());
    let _attempt = app.handshakes.attempt(&user_id, &room_id).await.ok_or(RoomError::Busy)?;
    let join = Join { room_id: room_id.clone(), user_id: user_id.clone(), content: content.clone() };
    for _ in 0..TRIES {
        // This user or another one may have brought the room meanwhile.
        let Others { known, remembered } = match look_up(app, &user_id, &room_id).await?.0 {
            Place::Joined => return Ok(()),
            Place::Here(room) => {
                return join_with(app, room, joining, NewState::of_member(&user_id, content)).await.map(drop);
            }
            Place::Elsewhere(others) => others,
        };
        if joining.is_guest {
            // A guest may join only where `m.room.guest_access` says so (client-server API, "Guest access"), and that is not
            // known before the room is here.
            return Err(RoomError::NotForGuests);
        }
        let named = wanted.via.iter().cloned().chain(known).collect();
        let servers = elsewhere::candidates(app, &room_id, named, remembered);
        let one = |server: OwnedServerName| {
            let (handshakes, join) = (app.handshakes.clone(), join.clone());
            async move { handshakes.join(&server, &join).await }
        };
        if elsewhere::ask(app, servers, one).await?.is_some() {
            return Ok(());
        }
    }
    Err(RoomError::Unreachable("others come and go in this room; try again".to_owned()))
}

/// Joins (or, when joined, changes the own member event) by this state.
pub(super) async fn join_with(
    app: &App,
    room: RoomNo,
    joining: Joining,
    mut state: NewState,
) -> Result<OwnedEventId, RoomError> {
    let (user_id, is_guest) = (joining.user_id.clone(), joining.is_guest);
    let authorise = move |reader: &Reader, view: &View<'_>| authorise(reader, view, room, &joining);
    state.content.remove(AUTHORISED_VIA);
    if let Some(authoriser) = app.rooms.read(authorise).await? {
        state.content.insert(AUTHORISED_VIA.to_owned(), CanonicalJsonValue::String(authoriser.to_string()));
    }
    if is_guest {
        new_state::put_guest(app, &user_id, room, state).await
    } else {
        new_state::put(app, &user_id, room, state).await
    }
}

/// What a join needs beside the auth rules, which the graph asks: guests must be let in, and a restricted room wants to
/// know who lets the user in. `None` if nobody need to.
fn authorise(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    joining: &Joining,
) -> Result<Option<OwnedUserId>, RoomError> {
    let head = reader.head(view, room)?.ok_or(RoomError::UnknownRoom)?;
    if joining.is_guest && !guest_access::of_room(reader, view, room)? {
        return Err(RoomError::NotForGuests);
    }
    match restricted::admission(reader, view, (room, &head), &joining.user_id, joining.user_id.server_name())? {
        Admission::NotNeeded => Ok(None),
        Admission::By(authoriser) => Ok(Some(authoriser)),
        Admission::Refused | Admission::Unknown => {
            Err(RoomError::Forbidden("you are in none of the rooms whose members may join here".to_owned()))
        }
        Admission::NoAuthoriser => {
            Err(RoomError::Forbidden("nobody of this server may let others into this room".to_owned()))
        }
    }
}
