//! Whether a user can be invited.

use ruma::UserId;

use super::room_error::RoomError;
use crate::{
    store::View,
    users::{account_data, accounts},
};

/// Whether a local user takes invites.
pub(super) fn takes_invites(view: &View<'_>, invitee: &UserId) -> Result<(), RoomError> {
    let account = accounts::get(view, invitee)?;
    if account.is_none_or(|account| account.deactivated) {
        return Err(RoomError::UnknownUser);
    }
    if account_data::blocks_invites(view, invitee)? { Err(RoomError::InviteBlocked) } else { Ok(()) }
}

/// Whether a user whom a local one wants to invite can be: of a user of another server that server knows.
pub(super) fn check_invitee(view: &View<'_>, inviter: &UserId, invitee: &UserId) -> Result<(), RoomError> {
    if invitee.server_name() == inviter.server_name() { takes_invites(view, invitee) } else { Ok(()) }
}
