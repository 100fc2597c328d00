//! Devices: one for each login of a user.

use ruma::{DeviceId, OwnedDeviceId, UserId};
use serde::{Deserialize, Serialize};

use super::{
    keys::{DEVICE, LONGEST_KEY_STRING, SEEN, TXN},
    tokens,
};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, ReadError, View},
};

/// The longest display name of a device, in bytes.
pub const LONGEST_DISPLAY_NAME: usize = 1_024;

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// How its user calls it.
    pub display_name: Option<String>,
    /// When it first logged in.
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
    (1..=LONGEST_KEY_STRING).contains(&device_id.len())
}

/// One device.
pub fn get(view: &View<'_>, user_id: &UserId, device_id: &DeviceId) -> Result<Option<Device>, ReadError> {
    view.get(&DEVICE, &(user_id.as_str(), device_id.as_str()))
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

/// When and from where the devices of a user were last seen.
pub fn list_seen(view: &View<'_>, user_id: &UserId, limit: usize) -> Result<Vec<(OwnedDeviceId, Seen)>, ReadError> {
    let rows = view.scan(&SEEN.span(&(user_id.as_str(),)), limit)?.rows;
    Ok(rows.into_iter().map(|((_, device_id), seen)| (device_id.into(), seen)).collect())
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

/// Renames a device that still is `old`.
pub fn rename(
    batch: &mut Batch,
    (user_id, device_id): (&UserId, &DeviceId),
    old: &Device,
    display_name: Option<String>,
) {
    let key = (user_id.as_str(), device_id.as_str());
    batch.assert_is(&DEVICE, &key, old);
    batch.put(&DEVICE, &key, &Device { display_name, ..old.clone() });
}

/// Deletes a device with all that belongs to it here: its tokens, its transaction ids, when it was seen. Returns
/// whether there was such a device.
pub fn delete(view: &View<'_>, batch: &mut Batch, user_id: &UserId, device_id: &DeviceId) -> Result<bool, ReadError> {
    let key = (user_id.as_str(), device_id.as_str());
    let Some(device) = view.get(&DEVICE, &key)? else { return Ok(false) };
    batch.assert_is(&DEVICE, &key, &device);
    batch.delete(&DEVICE, &key);
    batch.delete(&SEEN, &key);
    tokens::revoke_device(view, batch, user_id, device_id)?;
    batch.clear(TXN.span(&key));
    Ok(true)
}
