//! Devices: one for each login of a user.

use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    changes,
    keys::{DEVICE, SEEN, fits},
    tokens,
};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, CommitError, ReadError, View},
};

/// The longest display name of a device, in bytes.
pub const LONGEST_DISPLAY_NAME: usize = 1_024;

/// Why a device can't be as a client wishes.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// There is no such device.
    #[error("there is no such device")]
    NotFound,
    /// The id is empty or too long.
    #[error("a device id must have 1 to 255 bytes")]
    BadId,
    /// The display name is too long.
    #[error("the display name of a device must not be longer than 1,024 bytes")]
    BadDisplayName,
    /// The user has as many devices as allowed.
    #[error("this user has too many devices: log out of some")]
    TooMany,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// How its user calls it.
    pub display_name: Option<String>,
    /// When it first logged in; tells it from an earlier device of the same id.
    pub created_at: UnixMillis,
    /// Counts the logins and refreshes, so that of two changes to its tokens at once one starts again.
    pub generation: u32,
}

impl Device {
    /// The same device after a change to its tokens.
    fn next(self) -> Self {
        Self { generation: self.generation.wrapping_add(1), ..self }
    }
}

/// When and from where a device was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When, to within a minute.
    pub at: UnixMillis,
    /// From which address.
    pub ip: Option<String>,
}

/// A new device id, as this server makes them: ten capital letters.
pub fn new_id(random: &Random) -> OwnedDeviceId {
    let letters = random.bytes::<10>().map(|byte| char::from(b'A'.saturating_add(byte % 26)));
    letters.iter().collect::<String>().into()
}

/// Whether a client may choose this device id: 1 to 255 bytes.
pub fn is_valid_id(device_id: &str) -> bool {
    !device_id.is_empty() && fits(device_id)
}

/// One device.
pub fn get(view: &View<'_>, user_id: &UserId, device_id: &DeviceId) -> Result<Option<Device>, ReadError> {
    if fits(device_id.as_str()) { view.get(&DEVICE, &(user_id.as_str(), device_id.as_str())) } else { Ok(None) }
}

/// When and from where a device was last seen.
pub fn last_seen(view: &View<'_>, user_id: &UserId, device_id: &DeviceId) -> Result<Option<Seen>, ReadError> {
    view.get(&SEEN, &(user_id.as_str(), device_id.as_str()))
}

/// Up to `limit` devices of a user, in the order of their ids.
pub fn list(view: &View<'_>, user_id: &UserId, limit: usize) -> Result<Vec<(OwnedDeviceId, Device)>, ReadError> {
    let rows = view.scan(&DEVICE.span(&(user_id.as_str(),)), limit)?.rows;
    Ok(rows.into_iter().map(|((_, device_id), device)| (device_id.into(), device)).collect())
}

/// Logs a device in: makes it, or takes the existing one over, whose tokens end. Returns whether it is new.
pub fn log_in(
    view: &View<'_>,
    batch: &mut Batch,
    (user_id, device_id): (&UserId, &DeviceId),
    display_name: Option<String>,
    now: UnixMillis,
) -> Result<bool, ReadError> {
    let key = (user_id.as_str(), device_id.as_str());
    let old = view.get(&DEVICE, &key)?;
    batch.assert_still(&DEVICE, &key, old.as_ref());
    let new = old.is_none();
    match old {
        // The display name given at login is for new devices only (client-server API, `initial_device_display_name`).
        Some(old) => {
            tokens::revoke_device(view, batch, user_id, device_id)?;
            batch.put(&DEVICE, &key, &old.next());
        }
        None => batch.put(&DEVICE, &key, &Device { display_name, created_at: now, generation: 0 }),
    }
    Ok(new)
}

/// Makes this commit and every other change to the device's tokens exclude each other. Returns whether there is such a
/// device.
pub(super) fn bump(view: &View<'_>, batch: &mut Batch, key: (&str, &str)) -> Result<bool, ReadError> {
    let Some(device) = view.get(&DEVICE, &key)? else { return Ok(false) };
    batch.assert_is(&DEVICE, &key, &device);
    batch.put(&DEVICE, &key, &device.next());
    Ok(true)
}

/// Renames a device; without a name it stays as it is (client-server API, `PUT /devices/{deviceId}`).
pub fn rename(
    view: &View<'_>,
    batch: &mut Batch,
    (user_id, device_id): (&UserId, &DeviceId),
    display_name: Option<String>,
) -> Result<(), DeviceError> {
    if display_name.as_ref().is_some_and(|name| name.len() > LONGEST_DISPLAY_NAME) {
        return Err(DeviceError::BadDisplayName);
    }
    let old = get(view, user_id, device_id)?.ok_or(DeviceError::NotFound)?;
    if display_name.is_none() {
        return Ok(());
    }
    let key = (user_id.as_str(), device_id.as_str());
    batch.assert_is(&DEVICE, &key, &old);
    batch.put(&DEVICE, &key, &Device { display_name, ..old });
    changes::devices(batch, user_id);
    Ok(())
}

/// Deletes a device with its tokens, and when it was seen. Returns whether there was such a device.
///
/// Its transaction ids stay until they are swept: a client decides how many there are, and no number of them may keep a
/// device from ending. A later device of the same id does not meet them (see [`super::txn::TxnKey`]).
pub fn delete(view: &View<'_>, batch: &mut Batch, user_id: &UserId, device_id: &DeviceId) -> Result<bool, ReadError> {
    let key = (user_id.as_str(), device_id.as_str());
    let Some(device) = get(view, user_id, device_id)? else { return Ok(false) };
    batch.assert_is(&DEVICE, &key, &device);
    batch.delete(&DEVICE, &key);
    batch.delete(&SEEN, &key);
    tokens::revoke_device(view, batch, user_id, device_id)?;
    Ok(true)
}
