//! Logging in: by password, or by a one-time login token.

use std::{net::IpAddr, sync::Arc};

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use thiserror::Error;

use crate::{
    store::{Batch, CommitError, ReadError, View},
    users::{
        Account, AttemptError, Users, accounts, changes,
        devices::{self, DeviceError, LONGEST_DISPLAY_NAME},
        login_tokens,
        tokens::{self, Issued, Secret},
        uia::Passed,
    },
};

/// What a client wishes for its session.
#[derive(Clone, Debug, Default)]
pub struct DeviceChoice {
    /// The device to be; a new one if absent.
    pub device_id: Option<OwnedDeviceId>,
    /// The display name, if the device is new.
    pub display_name: Option<String>,
    /// Whether the client can refresh: then its access token expires.
    pub refresh: bool,
}

/// Who is in, and with what.
#[derive(Debug)]
pub struct LoggedIn {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// The tokens.
    pub tokens: Issued,
}

/// Why somebody is not let in.
#[derive(Debug, Error)]
pub enum LoginError {
    /// No such user, or not this password, or no such token: nobody learns which.
    #[error("the user name or the password is wrong")]
    Forbidden,
    /// The login token is unknown, used or over.
    #[error("this login token is not valid")]
    BadToken,
    /// The account has ended.
    #[error("this account has been deactivated")]
    Deactivated,
    /// The account is locked.
    #[error("this account has been locked")]
    Locked,
    /// The device can't be.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The password could not be tried.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl DeviceChoice {
    /// Whether such a device can be.
    pub fn check(&self) -> Result<(), DeviceError> {
        if self.device_id.as_ref().is_some_and(|device_id| !devices::is_valid_id(device_id.as_str())) {
            return Err(DeviceError::BadId);
        }
        if self.display_name.as_ref().is_some_and(|name| name.len() > LONGEST_DISPLAY_NAME) {
            return Err(DeviceError::BadDisplayName);
        }
        Ok(())
    }
}

/// Logs in with a password, from an address. An unknown user takes as long as a known one.
pub async fn with_password(
    (users, from): (&Users, IpAddr),
    user_id: OwnedUserId,
    password: String,
    choice: DeviceChoice,
) -> Result<LoggedIn, LoginError> {
    choice.check()?;
    let account = users.try_password(&user_id, password, from).await?.ok_or(LoginError::Forbidden)?;
    let maker = users.clone();
    let login = move |view: &View<'_>, batch: &mut Batch| {
        // The password that was right must still be the account's.
        let now = accounts::get(view, &user_id)?.filter(|now| now.password_hash == account.password_hash);
        admit(&maker, view, batch, &user_id, now.as_ref(), &choice)
    };
    users.change(login).await
}

/// Logs in with a one-time login token, which is used up in the same commit.
pub async fn with_token(users: &Users, token: String, choice: DeviceChoice) -> Result<LoggedIn, LoginError> {
    choice.check()?;
    let maker = users.clone();
    let login = move |view: &View<'_>, batch: &mut Batch| {
        let redeemed = login_tokens::redeem(view, batch, &token, maker.clock.now())?;
        let (user_id, account) = redeemed.ok_or(LoginError::BadToken)?;
        admit(&maker, view, batch, &user_id, Some(&account), &choice)
    };
    users.change(login).await
}

/// Logs in as a user of an application service, which asks for it.
pub async fn by_appservice(users: &Users, user_id: OwnedUserId, choice: DeviceChoice) -> Result<LoggedIn, LoginError> {
    choice.check()?;
    let maker = users.clone();
    let login = move |view: &View<'_>, batch: &mut Batch| {
        admit(&maker, view, batch, &user_id, accounts::get(view, &user_id)?.as_ref(), &choice)
    };
    users.change(login).await
}

/// Makes a one-time login token for a user who has proved just now who they are.
pub async fn new_login_token(users: &Users, user_id: &UserId, passed: Passed) -> Result<Secret, LoginError> {
    let (maker, user_id, passed) = (users.clone(), user_id.to_owned(), Arc::new(passed));
    let make = move |view: &View<'_>, batch: &mut Batch| {
        passed.consume(batch);
        let account = accounts::get(view, &user_id)?.ok_or(LoginError::Forbidden)?;
        Ok(login_tokens::issue(batch, &maker.random, maker.clock.now(), (&user_id, &account)))
    };
    users.change(make).await
}

/// Adds a session of an account that has proved who it is, if it may log in.
fn admit(
    users: &Users,
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    account: Option<&Account>,
    choice: &DeviceChoice,
) -> Result<LoggedIn, LoginError> {
    match account {
        None => Err(LoginError::Forbidden),
        Some(account) if account.deactivated => Err(LoginError::Deactivated),
        Some(account) if account.locked => Err(LoginError::Locked),
        Some(account) => {
            accounts::assert_still(batch, user_id, account);
            open_session(users, view, batch, user_id, choice)
        }
    }
}

/// Adds a device and its tokens to a commit.
pub(super) fn open_session<E: From<DeviceError> + From<ReadError>>(
    users: &Users,
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    choice: &DeviceChoice,
) -> Result<LoggedIn, E> {
    let device_id = choice.device_id.clone().unwrap_or_else(|| devices::new_id(&users.random));
    let now = users.clock.now();
    let owner = (user_id, &*device_id);
    let is_new = devices::log_in(view, batch, owner, choice.display_name.clone(), now)?;
    let most = users.options.most_devices;
    if is_new && devices::list(view, user_id, most)?.len() >= most {
        return Err(DeviceError::TooMany.into());
    }
    if is_new {
        changes::devices(batch, user_id);
    } else {
        // Its old tokens have ended.
        changes::sessions(batch, user_id);
    }
    let lifetime = choice.refresh.then_some(users.options.access_token_lifetime);
    let tokens = tokens::issue(batch, &users.random, now, owner, lifetime);
    Ok(LoggedIn { user_id: user_id.to_owned(), device_id, tokens })
}
