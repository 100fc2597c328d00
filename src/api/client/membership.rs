//! Joining, leaving, inviting, kicking, banning, knocking, forgetting.

use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::{
        knock::knock_room,
        membership::{
            ban_user, forget_room,
            invite_user::{self, v3::InvitationRecipient},
            join_room_by_id, join_room_by_id_or_alias, kick_user, leave_room, unban_user,
        },
    },
};

use super::room;
use crate::{
    app::App,
    flows::{
        directory::Found,
        join::{self, Joining, Wanted},
        membership::{self, Act, Change},
        room_error::RoomError,
    },
    http::{Caller, RateClass, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<join_room_by_id::v3::Request, _, _>(RateClass::Send, join_by_id);
    routes.add::<join_room_by_id_or_alias::v3::Request, _, _>(RateClass::Send, join_by_id_or_alias);
    routes.add::<leave_room::v3::Request, _, _>(RateClass::Send, leave);
    routes.add::<invite_user::v3::Request, _, _>(RateClass::Send, invite);
    routes.add::<kick_user::v3::Request, _, _>(RateClass::Send, kick);
    routes.add::<ban_user::v3::Request, _, _>(RateClass::Send, ban);
    routes.add::<unban_user::v3::Request, _, _>(RateClass::Send, unban);
    routes.add::<forget_room::v3::Request, _, _>(RateClass::Light, forget);
    routes.add::<knock_room::v3::Request, _, _>(RateClass::Send, knock);
}

async fn join(app: &App, caller: Caller, third_party: bool, wanted: Wanted) -> Result<OwnedRoomId, Refusal> {
    if third_party {
        return Err(RoomError::NoThirdPartyInvites.into());
    }
    let joining = Joining { is_guest: room::is_guest(&caller), user_id: caller.user_id };
    Ok(join::join(app, joining, wanted).await?)
}

async fn join_by_id(
    app: App,
    caller: Caller,
    request: join_room_by_id::v3::Request,
) -> Result<join_room_by_id::v3::Response, Refusal> {
    let third_party = request.third_party_signed.is_some();
    let wanted = Wanted { room_id: request.room_id, via: Vec::new(), reason: request.reason };
    Ok(join_room_by_id::v3::Response::new(join(&app, caller, third_party, wanted).await?))
}

async fn join_by_id_or_alias(
    app: App,
    caller: Caller,
    request: join_room_by_id_or_alias::v3::Request,
) -> Result<join_room_by_id_or_alias::v3::Response, Refusal> {
    let Found { room_id, via } = membership::resolve(&app, request.room_id_or_alias, request.via).await?;
    let third_party = request.third_party_signed.is_some();
    let room_id = join(&app, caller, third_party, Wanted { room_id, via, reason: request.reason }).await?;
    Ok(join_room_by_id_or_alias::v3::Response::new(room_id))
}

async fn leave(
    app: App,
    caller: Caller,
    request: leave_room::v3::Request,
) -> Result<leave_room::v3::Response, Refusal> {
    let act = (Act::Leave, caller.user_id.clone());
    act_on(&app, &caller, request.room_id, act, request.reason).await?;
    Ok(leave_room::v3::Response::new())
}

/// Does something to a membership.
async fn act_on(
    app: &App,
    caller: &Caller,
    room_id: OwnedRoomId,
    (act, target): (Act, OwnedUserId),
    reason: Option<String>,
) -> Result<(), Refusal> {
    let change = Change { room_id, act, target, reason, via: Vec::new() };
    Ok(membership::change(app, &caller.user_id, change).await?)
}

async fn invite(
    app: App,
    caller: Caller,
    request: invite_user::v3::Request,
) -> Result<invite_user::v3::Response, Refusal> {
    let InvitationRecipient::UserId(invitee) = request.recipient else {
        return Err(RoomError::NoThirdPartyInvites.into());
    };
    act_on(&app, &caller, request.room_id, (Act::Invite, invitee.user_id), invitee.reason).await?;
    Ok(invite_user::v3::Response::new())
}

async fn kick(app: App, caller: Caller, request: kick_user::v3::Request) -> Result<kick_user::v3::Response, Refusal> {
    act_on(&app, &caller, request.room_id, (Act::Kick, request.user_id), request.reason).await?;
    Ok(kick_user::v3::Response::new())
}

async fn ban(app: App, caller: Caller, request: ban_user::v3::Request) -> Result<ban_user::v3::Response, Refusal> {
    act_on(&app, &caller, request.room_id, (Act::Ban, request.user_id), request.reason).await?;
    Ok(ban_user::v3::Response::new())
}

async fn unban(
    app: App,
    caller: Caller,
    request: unban_user::v3::Request,
) -> Result<unban_user::v3::Response, Refusal> {
    act_on(&app, &caller, request.room_id, (Act::Unban, request.user_id), request.reason).await?;
    Ok(unban_user::v3::Response::new())
}

async fn knock(
    app: App,
    caller: Caller,
    request: knock_room::v3::Request,
) -> Result<knock_room::v3::Response, Refusal> {
    let Found { room_id, via } = membership::resolve(&app, request.room_id_or_alias, request.via).await?;
    let (target, reason) = (caller.user_id.clone(), request.reason);
    let change = Change { room_id: room_id.clone(), act: Act::Knock, target, reason, via };
    membership::change(&app, &caller.user_id, change).await?;
    Ok(knock_room::v3::Response::new(room_id))
}

async fn forget(
    app: App,
    caller: Caller,
    request: forget_room::v3::Request,
) -> Result<forget_room::v3::Response, Refusal> {
    membership::forget(&app, &caller.user_id, request.room_id).await?;
    Ok(forget_room::v3::Response::new())
}
