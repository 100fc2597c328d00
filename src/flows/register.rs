//! Creating accounts.

use std::sync::Arc;

use ruma::{OwnedUserId, UserId};
use serde_json::value::to_raw_value;
use thiserror::Error;

use super::login::{DeviceChoice, LoggedIn, open_session};
use crate::{
    push::{RulesError, defaults, rules},
    store::{Batch, CommitError, ReadError, View},
    users::{
        Account, PasswordError, Users, accounts,
        devices::DeviceError,
        profile::{self, ProfileError},
        registration::{self, RegistrationToken, UsernameError},
        uia::Passed,
    },
};

/// An account to be.
#[derive(Debug)]
pub struct NewAccount {
    /// Its user id.
    pub user_id: OwnedUserId,
    /// Its password, hashed; without one nobody can log in to it.
    pub password_hash: Option<String>,
    /// An administrator.
    pub admin: bool,
    /// A guest.
    pub guest: bool,
    /// Its display name, if it begins with one.
    pub displayname: Option<String>,
    /// What entitles to it.
    pub entitlement: Entitlement,
    /// The session to open at once, if any.
    pub session: Option<DeviceChoice>,
}

/// What entitles to an account; used up in its commit.
#[derive(Debug)]
pub enum Entitlement {
    /// Somebody decided so: an administrator, the command line, or the configuration for guests.
    Decision,
    /// User-interactive authentication.
    Interactive(Passed),
    /// The nonce of a signed request.
    Nonce(String),
}

/// Why there is no account.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The user id was given out before.
    #[error("this user name is taken")]
    UserInUse,
    /// The name can't be one.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// The registration token is not valid any more.
    #[error("this registration token is not valid")]
    BadToken,
    /// The nonce is unknown, used or over.
    #[error("this nonce is not valid")]
    BadNonce,
    /// The device can't be.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The password can't be.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The display name can't be.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The push rules can't be stored.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Creates an account, with its first session if one is asked for, in one commit.
pub async fn register(users: &Users, account: NewAccount) -> Result<Option<LoggedIn>, RegisterError> {
    if let Some(choice) = &account.session {
        choice.check()?;
    }
    let (maker, account) = (users.clone(), Arc::new(account));
    users.change(move |view, batch| build(&maker, view, batch, &account)).await
}

fn build(
    users: &Users,
    view: &View<'_>,
    batch: &mut Batch,
    new: &NewAccount,
) -> Result<Option<LoggedIn>, RegisterError> {
    check_free(view, &new.user_id)?;
    entitle(users, view, batch, &new.entitlement)?;
    let account = Account {
        password_hash: new.password_hash.clone(),
        guest: new.guest,
        admin: new.admin,
        created_at: users.clock.now(),
        ..Account::default()
    };
    accounts::create(batch, &new.user_id, &account);
    rules::write(view, batch, &new.user_id, &defaults::rules_for(&new.user_id))?;
    if let Some(name) = &new.displayname {
        let name = to_raw_value(name).unwrap_or_default();
        profile::set(view, batch, &new.user_id, profile::DISPLAY_NAME, &name)?;
    }
    let open = |choice| open_session::<RegisterError>(users, view, batch, &new.user_id, choice);
    new.session.as_ref().map(open).transpose()
}

fn entitle(users: &Users, view: &View<'_>, batch: &mut Batch, entitlement: &Entitlement) -> Result<(), RegisterError> {
    let now = users.clock.now();
    match entitlement {
        Entitlement::Decision => {}
        Entitlement::Interactive(passed) => {
            passed.consume(batch);
            if let Some(token) = &passed.registration_token
                && !registration::use_token(view, batch, token, now)?
            {
                return Err(RegisterError::BadToken);
            }
        }
        Entitlement::Nonce(nonce) => {
            if !registration::use_nonce(view, batch, nonce, now)? {
                return Err(RegisterError::BadNonce);
            }
        }
    }
    Ok(())
}

/// Whether the user id was never given out.
pub fn check_free(view: &View<'_>, user_id: &UserId) -> Result<(), RegisterError> {
    if accounts::get(view, user_id)?.is_some() { Err(RegisterError::UserInUse) } else { Ok(()) }
}

/// Creates a registration token.
pub async fn create_token(users: &Users, limits: RegistrationToken) -> Result<String, RegisterError> {
    let maker = users.clone();
    let create = move |_: &View<'_>, batch: &mut Batch| {
        let token = registration::new_token(&maker.random);
        registration::add_token(batch, &token, &limits);
        Ok(token)
    };
    users.change(create).await
}

/// On the first start, when there is neither an account nor a registration token: a token for one account. To be shown
/// once; only its use or another token makes more.
pub async fn first_token(users: &Users) -> Result<Option<String>, RegisterError> {
    let maker = users.clone();
    let create = move |view: &View<'_>, batch: &mut Batch| {
        if accounts::any(view)? || registration::any_token(view)? {
            return Ok(None);
        }
        let token = registration::new_token(&maker.random);
        registration::add_token(batch, &token, &RegistrationToken { uses_allowed: Some(1), ..Default::default() });
        Ok(Some(token))
    };
    users.change(create).await
}
