//! Logging out: the device goes with all that belongs to it. Works for locked accounts too.

use ruma::{DeviceId, OwnedDeviceId, UserId};
use thiserror::Error;

use crate::{
    store::{Batch, CommitError, ReadError, View},
    users::{Users, changes, devices},
};

/// Why logging out failed.
#[derive(Debug, Error)]
pub enum LogoutError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Ends one session, and its device with it.
pub async fn logout(users: &Users, user_id: &UserId, device_id: &DeviceId) -> Result<(), LogoutError> {
    let (user_id, device_id) = (user_id.to_owned(), device_id.to_owned());
    users.change(move |view, batch| Ok(end_sessions(view, batch, &user_id, [&*device_id])?)).await
}

/// Ends all sessions of a user, and all devices with them.
pub async fn logout_all(users: &Users, user_id: &UserId) -> Result<(), LogoutError> {
    let user_id = user_id.to_owned();
    users.change(move |view, batch| Ok(end_all_sessions(view, batch, &user_id, None)?)).await
}

/// Adds the end of some devices to a commit. What is not there is passed over.
pub(super) fn end_sessions<'a>(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    device_ids: impl IntoIterator<Item = &'a DeviceId>,
) -> Result<(), ReadError> {
    let mut any = false;
    for device_id in device_ids {
        any |= devices::delete(view, batch, user_id, device_id)?;
    }
    if any {
        changes::devices(batch, user_id);
        changes::sessions(batch, user_id);
    }
    Ok(())
}

/// Adds the end of all devices of a user to a commit, but for one that is kept.
pub(super) fn end_all_sessions(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    kept: Option<&DeviceId>,
) -> Result<(), ReadError> {
    // A user has at most `Options::most_devices` of them; the page is larger than what may ever be configured.
    let all: Vec<OwnedDeviceId> =
        devices::list(view, user_id, MOST)?.into_iter().map(|(device_id, _)| device_id).collect();
    let others = all.iter().map(|device_id| &**device_id).filter(|device_id| Some(*device_id) != kept);
    end_sessions(view, batch, user_id, others)
}

/// Devices that one commit can end: about eight operations each.
const MOST: usize = 1_000;
