//! Accounts: who exists here, and what they may do.

use std::{collections::BTreeSet, ops::ControlFlow};

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::keys::{ACCOUNT, fits};
use crate::{
    base::clock::UnixMillis,
    store::{Batch, ReadError, View},
};

/// A local account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The PHC string of the password; none if this account has no password.
    pub password_hash: Option<String>,
    /// A guest: may do little (client-server API, "Guest access").
    pub guest: bool,
    /// An administrator: may redact what other local users sent, and name and publish any room.
    pub admin: bool,
    /// May do nothing but log out ("Account locking").
    pub locked: bool,
    /// May read, but not take part ("Account suspension").
    pub suspended: bool,
    /// Ended for ever; its user id is never given out again.
    pub deactivated: bool,
    /// When it was created.
    pub created_at: UnixMillis,
}

/// The account of `user_id`, if there is one.
pub fn get(view: &View<'_>, user_id: &UserId) -> Result<Option<Account>, ReadError> {
    if fits(user_id.as_str()) { view.get(&ACCOUNT, &(user_id.as_str(),)) } else { Ok(None) }
}

/// Creates an account; the commit fails with a conflict if the user id was ever given out.
pub fn create(batch: &mut Batch, user_id: &UserId, account: &Account) {
    batch.assert_absent(&ACCOUNT, &(user_id.as_str(),));
    batch.put(&ACCOUNT, &(user_id.as_str(),), account);
}

/// Changes an account that still is `old`.
pub fn replace(batch: &mut Batch, user_id: &UserId, old: &Account, new: &Account) {
    batch.assert_is(&ACCOUNT, &(user_id.as_str(),), old);
    batch.put(&ACCOUNT, &(user_id.as_str(),), new);
}

/// The commit fails with a conflict unless the account still is `account`: no token for one who was locked meanwhile.
pub fn assert_still(batch: &mut Batch, user_id: &UserId, account: &Account) {
    batch.assert_is(&ACCOUNT, &(user_id.as_str(),), account);
}

/// Whether there is any account at all.
pub fn any(view: &View<'_>) -> Result<bool, ReadError> {
    Ok(view.first(&ACCOUNT.span(&()))?.is_some())
}

/// Those of these users who are guests of this server: one wave.
pub fn guests_among(
    view: &View<'_>,
    users: impl Iterator<Item = OwnedUserId>,
) -> Result<BTreeSet<OwnedUserId>, ReadError> {
    let users: Vec<OwnedUserId> = users.filter(|user_id| fits(user_id.as_str())).collect();
    let accounts = view.multi_get(&ACCOUNT, users.iter().map(|user_id| (user_id.as_str(),)))?;
    let found = users.into_iter().zip(accounts);
    Ok(found.filter_map(|(user_id, account)| account?.guest.then_some(user_id)).collect())
}

/// Up to `limit` accounts in the order of their user ids, behind `after` if given.
pub fn page(view: &View<'_>, after: Option<&UserId>, limit: usize) -> Result<Vec<(OwnedUserId, Account)>, ReadError> {
    let mut span = ACCOUNT.span(&());
    if let Some(after) = after {
        span = span.after(&(after.as_str(),));
    }
    let rows = view.scan(&span, limit)?.rows;
    Ok(rows.into_iter().filter_map(|((user,), account)| Some((UserId::parse(user).ok()?, account))).collect())
}

/// Calls `visit` with every account until it breaks.
pub fn each(view: &View<'_>, mut visit: impl FnMut(OwnedUserId, Account) -> ControlFlow<()>) -> Result<(), ReadError> {
    let mut after: Option<OwnedUserId> = None;
    loop {
        let page = page(view, after.as_deref(), 500)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (user_id, account) in page {
            if visit(user_id, account).is_break() {
                return Ok(());
            }
        }
    }
}
