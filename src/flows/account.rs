//! What happens to an account after it was created: a new password, moderation, its end.

use std::sync::Arc;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use thiserror::Error;

use super::logout::{Left, end_all_sessions, end_rest};
use crate::{
    store::{Batch, CommitError, ReadError, View},
    users::{Account, PasswordError, Users, accounts, changes, uia::Passed},
};

/// Why an account was not changed.
#[derive(Debug, Error)]
pub enum AccountError {
    /// There is no such account.
    #[error("there is no such account")]
    NotFound,
    /// The password can't be.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Sets a new password. With `log_out_others`, all devices but `kept` end with the old one.
pub async fn change_password(
    users: &Users,
    user_id: OwnedUserId,
    password: String,
    (kept, log_out_others): (Option<OwnedDeviceId>, bool),
    passed: Passed,
) -> Result<(), AccountError> {
    let hash = users.hash_password(password).await?;
    let (passed, owner, stays) = (Arc::new(passed), user_id.clone(), kept.clone());
    let set = move |view: &View<'_>, batch: &mut Batch| {
        passed.consume(batch);
        edit(view, batch, &owner, |account| account.password_hash = Some(hash.clone()))?;
        let left = log_out_others.then(|| end_all_sessions(view, batch, &owner, stays.as_deref())).transpose()?;
        Ok::<_, AccountError>(left.unwrap_or(Left::Nothing))
    };
    match users.change(set).await? {
        Left::Nothing => Ok(()),
        Left::More => end_rest(users, &user_id, kept).await,
    }
}

/// Ends an account for ever: no password, no devices; the user id stays taken.
pub async fn deactivate(users: &Users, user_id: OwnedUserId, passed: Option<Passed>) -> Result<(), AccountError> {
    let (passed, owner) = (Arc::new(passed), user_id.clone());
    let end = move |view: &View<'_>, batch: &mut Batch| {
        if let Some(passed) = &*passed {
            passed.consume(batch);
        }
        edit(view, batch, &owner, |account| {
            (account.password_hash, account.admin, account.deactivated) = (None, false, true);
        })?;
        Ok::<_, AccountError>(end_all_sessions(view, batch, &owner, None)?)
    };
    match users.change(end).await? {
        Left::Nothing => Ok(()),
        // The account has ended with this commit, and its tokens with it; what is left are rows.
        Left::More => end_rest(users, &user_id, None).await,
    }
}

/// Locks or unlocks an account. Its sessions stay, and may do nothing meanwhile.
pub async fn set_locked(users: &Users, user_id: OwnedUserId, locked: bool) -> Result<(), AccountError> {
    users.change(move |view, batch| edit(view, batch, &user_id, |account| account.locked = locked)).await
}

/// Suspends an account, or ends that.
pub async fn set_suspended(users: &Users, user_id: OwnedUserId, suspended: bool) -> Result<(), AccountError> {
    users.change(move |view, batch| edit(view, batch, &user_id, |account| account.suspended = suspended)).await
}

/// Makes an administrator of a user, or an ordinary user again. Open sessions have it from their next request on.
pub async fn set_admin(users: &Users, user_id: OwnedUserId, admin: bool) -> Result<(), AccountError> {
    users.change(move |view, batch| edit(view, batch, &user_id, |account| account.admin = admin)).await
}

/// Changes an account that exists; its sessions are read again.
fn edit(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    change: impl FnOnce(&mut Account),
) -> Result<(), AccountError> {
    let old = accounts::get(view, user_id)?.filter(|account| !account.deactivated).ok_or(AccountError::NotFound)?;
    let mut new = old.clone();
    change(&mut new);
    accounts::replace(batch, user_id, &old, &new);
    changes::sessions(batch, user_id);
    Ok(())
}
