//! What application services do that nobody else may: be a user who has never registered, and make devices.

use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use super::{
    login::DeviceChoice,
    register::{self, Entitlement, NewAccount, RegisterError},
};
use crate::{
    app::App,
    store::{Batch, View},
    users::{
        Account, Users, accounts, changes,
        devices::{self, DeviceError},
    },
};

/// An account without a password, whose user an application service is.
pub fn account(user_id: OwnedUserId) -> NewAccount {
    NewAccount {
        user_id,
        password_hash: None,
        admin: false,
        guest: false,
        displayname: None,
        entitlement: Entitlement::Decision,
        session: None,
    }
}

/// The account of the sender of an application service, which is made when it first asks for something.
///
/// # Errors
/// When it could not be made.
pub async fn sender(app: &App, user_id: &UserId) -> Result<Account, RegisterError> {
    match register::register(&app.users, account(user_id.to_owned())).await {
        // Another request was the first.
        Ok(_) | Err(RegisterError::UserInUse) => {}
        Err(error) => return Err(error),
    }
    let user_id = user_id.to_owned();
    let found = app.users.read(move |view| accounts::get(view, &user_id)).await?;
    found.ok_or(RegisterError::UserInUse)
}

/// Makes a device or renames it (client-server API, `PUT /devices/{deviceId}`); says whether it is new.
///
/// # Errors
/// When there can be no such device.
pub async fn put_device(
    users: &Users,
    (user_id, device_id): (OwnedUserId, OwnedDeviceId),
    display_name: Option<String>,
) -> Result<bool, DeviceError> {
    DeviceChoice { device_id: Some(device_id.clone()), display_name: display_name.clone(), refresh: false }.check()?;
    let maker = users.clone();
    let put = move |view: &View<'_>, batch: &mut Batch| {
        if devices::get(view, &user_id, &device_id)?.is_some() {
            devices::rename(view, batch, (&user_id, &device_id), display_name.clone())?;
            return Ok(false);
        }
        let most = maker.options.most_devices;
        if devices::list(view, &user_id, most)?.len() >= most {
            return Err(DeviceError::TooMany);
        }
        devices::log_in(view, batch, (&user_id, &device_id), display_name.clone(), maker.clock.now())?;
        changes::devices(batch, &user_id);
        Ok(true)
    };
    users.change(put).await
}
