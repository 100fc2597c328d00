//! Changing who is in a room: invites, kicks, bans and their ends, leaving, knocking, forgetting.

use ruma::{
    OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId,
    RoomVersionId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};

use super::{
    directory::{self, Found},
    invite,
    invitee::check_invitee,
    join::{self, Joining},
    new_state::{self, NewState, member_content},
    outside,
    room_error::RoomError,
    send::Sender,
};
use crate::{
    app::App,
    federation::joining,
    graph::{self, Membership, Reader, RoomNo},
    store::{Batch, View},
    users::profile::{self, MemberProfile},
};

/// What a user does to another's (or their own) membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Asks somebody in.
    Invite,
    /// Puts somebody out.
    Kick,
    /// Puts somebody out and keeps them out.
    Ban,
    /// Ends a ban.
    Unban,
    /// Goes, or rejects an invite, or takes back a knock.
    Leave,
    /// Asks to be let in.
    Knock,
}

/// What a user wants with a membership.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of which room.
    pub room_id: OwnedRoomId,
    /// What.
    pub act: Act,
    /// Whose membership.
    pub target: OwnedUserId,
    /// Why.
    pub reason: Option<String>,
    /// Servers that may be in the room, the best first; for knocks.
    pub via: Vec<OwnedServerName>,
}

/// Changes a membership.
pub async fn change(app: &App, user_id: &UserId, change: Change) -> Result<(), RoomError> {
    if matches!(change.act, Act::Leave | Act::Knock) && stood_outside(app, user_id, &change).await? {
        return Ok(());
    }
    let Change { room_id, act, target, reason, .. } = change;
    let (whose, whom, id) = (user_id.to_owned(), target.clone(), room_id);
    let check = move |reader: &Reader, view: &View<'_>| check(reader, view, &id, (&whose, act, &whom));
    let Some((room, profile)) = app.rooms.read(check).await? else { return Ok(()) };
    let membership = match act {
        Act::Invite => Membership::Invite,
        Act::Ban => Membership::Ban,
        Act::Kick | Act::Unban | Act::Leave => Membership::Leave,
        Act::Knock => Membership::Knock,
    };
    let content = member_content(membership, &profile, reason);
    let state = NewState::of_member(&target, content);
    if act == Act::Invite && invite::is_for_another_server(app, &target) {
        return invite::invite(app, room, user_id.to_owned(), state).await.map(drop);
    }
    new_state::put(app, user_id, room, state).await.map(drop)
}

/// Leaves or knocks on a room that this server is not in; says whether it is one.
async fn stood_outside(app: &App, user_id: &UserId, change: &Change) -> Result<bool, RoomError> {
    let (whose, id) = (user_id.to_owned(), change.room_id.clone());
    let find = move |reader: &Reader, view: &View<'_>| {
        let place = outside::place(reader, view, &id, &whose)?;
        Ok::<_, RoomError>((place, profile::get(view, &whose)?.for_members()))
    };
    let (place, profile) = app.rooms.read(find).await?;
    let reason = change.reason.clone();
    match (place, change.act) {
        (outside::Place::Outside(outside), Act::Leave) => {
            let content = member_content(Membership::Leave, &MemberProfile::default(), reason);
            outside::leave(app, user_id.to_owned(), *outside, content).await?;
        }
        // Nobody in the room waits for an answer.
        (outside::Place::Stale(room), Act::Leave) => app.graph.settle_outside(room).await?,
        (outside::Place::Outside(known), Act::Knock) => {
            let content = member_content(Membership::Knock, &profile, reason);
            let version = Some(known.room_version.clone());
            knock(app, user_id, change, (content, known.via.clone(), version)).await?;
        }
        (outside::Place::Nothing(known), Act::Knock) => {
            let content = member_content(Membership::Knock, &profile, reason);
            knock(app, user_id, change, (content, known, None)).await?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

async fn knock(
    app: &App,
    user_id: &UserId,
    change: &Change,
    (content, known, room_version): (CanonicalJsonObject, Vec<OwnedServerName>, Option<RoomVersionId>),
) -> Result<(), RoomError> {
    let (room_id, user_id) = (change.room_id.clone(), user_id.to_owned());
    let asked = joining::outside::Change { room_id, user_id, content, room_version, instead_of: None };
    outside::knock(app, asked, (change.via.clone(), known)).await
}

/// What must hold beside the auth rules, which the graph asks: in which room, and what the event says of the target.
/// `None` when there is nothing to do.
fn check(
    reader: &Reader,
    view: &View<'_>,
    room_id: &RoomId,
    (user_id, act, target): (&UserId, Act, &UserId),
) -> Result<Option<(RoomNo, MemberProfile)>, RoomError> {
    let room = reader.room_no(view, room_id)?;
    // First of all: who is not in a room learns nothing of those who are, nor of who can be asked in.
    if matches!(act, Act::Invite | Act::Kick | Act::Ban | Act::Unban) {
        let own = room.map(|room| reader.user_room(view, user_id, room)).transpose()?.flatten();
        if own.is_none_or(|own| own.membership != Membership::Join) {
            return Err(RoomError::NotInRoom);
        }
    }
    let room = room.ok_or(RoomError::UnknownRoom)?;
    let forbidden = |why: &str| Err(RoomError::Forbidden(why.to_owned()));
    let now = reader.member(view, room, target)?.map(|member| member.membership);
    let profile = match (act, now) {
        (Act::Leave, Some(Membership::Leave)) => return Ok(None),
        (Act::Leave, None) => return Err(RoomError::NotInRoom),
        (Act::Kick, None | Some(Membership::Leave | Membership::Ban)) => {
            return forbidden("this user is not in the room");
        }
        (Act::Unban, None | Some(Membership::Leave | Membership::Invite | Membership::Join | Membership::Knock)) => {
            return forbidden("this user is not banned");
        }
        (Act::Kick | Act::Ban | Act::Unban | Act::Leave, _) => MemberProfile::default(),
        (Act::Invite, _) => {
            check_invitee(view, user_id, target)?;
            profile::get(view, target)?.for_members()
        }
        (Act::Knock, _) => profile::get(view, target)?.for_members(),
    };
    Ok(Some((room, profile)))
}

/// Changes a membership as `PUT /state/m.room.member/…` says it; the sender is in the room, or it is their own.
pub(super) async fn set_by_state(
    app: &App,
    sender: &Sender,
    room: RoomNo,
    state: NewState,
) -> Result<OwnedEventId, RoomError> {
    let user_id = &sender.user_id;
    let (membership, target) = read_member(&state)?;
    match membership {
        Membership::Join if target == *user_id => {
            let joining = Joining { user_id: target, is_guest: sender.is_guest };
            join::join_with(app, room, joining, state).await
        }
        Membership::Invite => {
            let (inviter, invitee) = (user_id.clone(), target);
            let is_elsewhere = invite::is_for_another_server(app, &invitee);
            app.rooms.read(move |_, view| check_invitee(view, &inviter, &invitee)).await?;
            if is_elsewhere {
                return invite::invite(app, room, user_id.clone(), state).await;
            }
            new_state::put(app, user_id, room, state).await
        }
        _ => new_state::put(app, user_id, room, state).await,
    }
}

/// The membership that a client sets by state, and whose it is.
pub(super) fn read_member(state: &NewState) -> Result<(Membership, OwnedUserId), RoomError> {
    let bad = |what: &str| RoomError::BadContent(what.to_owned());
    let membership = state.content.get("membership").and_then(CanonicalJsonValue::as_str);
    let membership = membership.and_then(Membership::parse).ok_or_else(|| bad("`membership` is none"))?;
    let target = UserId::parse(&state.state_key).map_err(|_| bad("the state key is no user id"))?;
    if state.content.contains_key("third_party_invite") {
        return Err(RoomError::NoThirdPartyInvites);
    }
    Ok((membership, target))
}

/// The room that an id or an alias names. The servers in `via` come first among those that may be in it.
pub async fn resolve(app: &App, named: OwnedRoomOrAliasId, mut via: Vec<OwnedServerName>) -> Result<Found, RoomError> {
    let alias: OwnedRoomAliasId = match OwnedRoomId::try_from(named) {
        Ok(room_id) => return Ok(Found { room_id, via }),
        Err(alias) => alias,
    };
    let found = directory::find(app, alias).await?;
    via.extend(found.via);
    Ok(Found { room_id: found.room_id, via })
}

/// Forgets a room that the user has left.
pub async fn forget(app: &App, user_id: &UserId, room_id: OwnedRoomId) -> Result<(), RoomError> {
    let (user_id, reader) = (user_id.to_owned(), app.rooms.reader().clone());
    let forget = move |view: &View<'_>, batch: &mut Batch| {
        let room = reader.room_no(view, &room_id)?.ok_or(RoomError::UnknownRoom)?;
        reader.user_room(view, &user_id, room)?.ok_or(RoomError::UnknownRoom)?;
        if !graph::forget(view, room, &user_id, batch)? {
            return Err(RoomError::BadState(format!("{user_id} is in the room")));
        }
        Ok(())
    };
    app.users.change(forget).await
}
