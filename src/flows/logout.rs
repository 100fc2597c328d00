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
    end_rest(users, user_id, None).await
}

/// Ends all sessions of a user, as many commits as that takes.
pub(super) async fn end_rest<E>(users: &Users, user_id: &UserId, kept: Option<OwnedDeviceId>) -> Result<(), E>
where
    E: From<ReadError> + From<CommitError> + Send + 'static,
{
    loop {
        let (user_id, kept) = (user_id.to_owned(), kept.clone());
        let end = move |view: &View<'_>, batch: &mut Batch| {
            Ok::<_, E>(end_all_sessions(view, batch, &user_id, kept.as_deref())?)
        };
        if users.change(end).await? == Left::Nothing {
            return Ok(());
        }
    }
}

/// Whether one commit could end all that was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Left {
    Nothing,
    /// More sessions than fit into a commit: call [`end_rest`] behind it.
    More,
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

/// Adds the end of all devices of a user to a commit, but for one that is kept; or of the first [`MOST`].
pub(super) fn end_all_sessions(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    kept: Option<&DeviceId>,
) -> Result<Left, ReadError> {
    let all = devices::list(view, user_id, MOST.saturating_add(2))?;
    let others: Vec<&DeviceId> =
        all.iter().map(|(device_id, _)| &**device_id).filter(|device_id| Some(*device_id) != kept).collect();
    let (now, later) = others.split_at_checked(MOST).unwrap_or((&others, &[]));
    end_sessions(view, batch, user_id, now.iter().copied())?;
    Ok(if later.is_empty() { Left::Nothing } else { Left::More })
}

/// Devices that one commit ends: up to seven operations each, of 10,000 that it may have.
const MOST: usize = 1_000;
