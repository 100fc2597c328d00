//! Exchanging a refresh token for new tokens (client-server API, "Refreshing access tokens").

use ruma::UserId;
use thiserror::Error;

use crate::{
    store::{Batch, CommitError, ReadError, View},
    users::{
        TokenHash, Users, accounts, changes,
        tokens::{self, Issued},
    },
};

/// Why there are no new tokens.
#[derive(Debug, Error)]
pub enum RefreshError {
    /// No such refresh token (any more).
    #[error("the refresh token is unknown or was used already")]
    Unknown,
    /// The account is locked; the token stays valid.
    #[error("this account has been locked")]
    Locked,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Exchanges a refresh token. The old tokens stay valid until the new ones are used.
pub async fn refresh(users: &Users, refresh_token: &str) -> Result<Issued, RefreshError> {
    let hash = TokenHash::of(refresh_token);
    let maker = users.clone();
    let exchange = move |view: &View<'_>, batch: &mut Batch| {
        let (user, _) = tokens::refresh_owner(view, hash)?.ok_or(RefreshError::Unknown)?;
        let user_id = UserId::parse(user).map_err(|_| RefreshError::Unknown)?;
        let account = accounts::get(view, &user_id)?.filter(|account| !account.deactivated);
        let account = account.ok_or(RefreshError::Unknown)?;
        if account.locked {
            return Err(RefreshError::Locked);
        }
        accounts::assert_still(batch, &user_id, &account);
        let (now, lifetime) = (maker.clock.now(), maker.options.access_token_lifetime);
        let issued = tokens::refresh(view, batch, &maker.random, now, hash, lifetime)?;
        changes::sessions(batch, &user_id);
        issued.ok_or(RefreshError::Unknown)
    };
    users.change(exchange).await
}
