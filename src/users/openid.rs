//! OpenID tokens: by them a user proves to a third party who they are, and gives it nothing else (client-server API,
//! "OpenID").

use std::time::Duration;

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Users, accounts,
    keys::OPENID_TOKEN,
    tokens::{Secret, TokenHash},
};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, CommitError, ReadError, Record, View},
};

/// How long a token lives.
pub const LIFETIME: Duration = Duration::from_hours(1);

/// An OpenID token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenIdToken {
    pub(super) user: String,
    pub(super) expires_at: UnixMillis,
}

impl Record for OpenIdToken {}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum OpenIdError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Users {
    /// A new token for a user.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn new_openid_token(&self, user_id: &UserId) -> Result<Secret, OpenIdError> {
        let (maker, user_id) = (self.clone(), user_id.to_owned());
        self.change(move |_, batch| Ok(issue(batch, &maker.random, maker.clock.now(), &user_id))).await
    }
}

/// Adds a token for a user.
fn issue(batch: &mut Batch, random: &Random, now: UnixMillis, user_id: &UserId) -> Secret {
    let token = Secret::new("myoi", random);
    let lifetime = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
    let row = OpenIdToken { user: user_id.to_string(), expires_at: now.saturating_add(lifetime) };
    batch.put(&OPENID_TOKEN, &(token.hash(),), &row);
    token
}

/// Whose token this is; `None` if it is unknown or over, or its user's account has ended or is locked.
pub fn user_of(view: &View<'_>, token: &str, now: UnixMillis) -> Result<Option<OwnedUserId>, ReadError> {
    let row = view.get(&OPENID_TOKEN, &(TokenHash::of(token),))?.filter(|row| row.expires_at > now);
    let Some(user_id) = row.and_then(|row| UserId::parse(row.user).ok()) else { return Ok(None) };
    let account = accounts::get(view, &user_id)?;
    Ok(account.filter(|account| !account.deactivated && !account.locked).map(|_| user_id))
}
