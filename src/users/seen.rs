//! When a device was last seen: kept in memory, and written now and then.
//!
//! Losing what was not written yet is harmless: the device is seen again with its next request.

use std::{collections::HashMap, mem};

use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, UserId};

use super::{
    Users,
    devices::{self, Device, Seen as SeenRow},
    keys::{DEVICE, SEEN},
};
use crate::store::{Batch, CommitError, ReadError};

/// How old a time may be before it is replaced, in ms.
const COARSENESS: u64 = 60_000;
/// Devices that are remembered between two writes; beyond, requests leave no trace until the next write.
const MOST_WAITING: usize = 50_000;
/// Devices of one user that are listed; more than a user may have.
const MOST_LISTED: usize = 1_000;
/// Rows of one commit.
const ROWS: usize = 1_000;

#[derive(Default)]
pub(super) struct Seen {
    waiting: Mutex<HashMap<(String, String), SeenRow>>,
}

impl Users {
    /// Notes that a device made a request just now, from `ip`.
    pub fn saw(&self, user_id: &UserId, device_id: &DeviceId, ip: Option<&str>) {
        let now = self.clock.now();
        let mut waiting = self.seen.waiting.lock();
        let key = (user_id.to_string(), device_id.to_string());
        if let Some(row) = waiting.get_mut(&key) {
            if row.at.saturating_add(COARSENESS) <= now {
                *row = SeenRow { at: now, ip: ip.map(ToOwned::to_owned) };
            }
        } else if waiting.len() < MOST_WAITING {
            waiting.insert(key, SeenRow { at: now, ip: ip.map(ToOwned::to_owned) });
        }
    }

    /// Writes what was noted since the last time. To be called about once a minute, and before the end.
    pub async fn write_seen(&self) -> Result<(), CommitError> {
        let waiting = mem::take(&mut *self.seen.waiting.lock());
        let mut rows: Vec<_> = waiting.into_iter().collect();
        rows.sort_by(|(left, _), (right, _)| left.cmp(right));
        for chunk in rows.chunks(ROWS) {
            let keys: Vec<_> = chunk.iter().map(|(key, _)| key.clone()).collect();
            // A device that was deleted meanwhile must not come back as a row that nobody ever deletes.
            let alive =
                self.store.read(move |view| view.multi_get(&DEVICE, keys.iter().map(|(user, device)| (user, device))));
            let alive = alive.await.map_err(|error: ReadError| match error {
                ReadError::Engine(error) => CommitError::Engine(error),
                ReadError::Corrupt { .. } => CommitError::Conflict,
            })?;
            let mut batch = Batch::new();
            for (((user, device), row), alive) in chunk.iter().zip(alive) {
                if let Some(alive) = alive {
                    batch.assert_is(&DEVICE, &(user, device), &alive);
                    batch.put(&SEEN, &(user, device), row);
                }
            }
            match self.store.commit_lazy(batch).await {
                Ok(_) | Err(CommitError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// When and from where a device was last seen: what was noted, or what was written.
    pub async fn last_seen(&self, user_id: &UserId, device_id: &DeviceId) -> Result<Option<SeenRow>, ReadError> {
        let key = (user_id.to_string(), device_id.to_string());
        let noted = self.seen.waiting.lock().get(&key).cloned();
        if noted.is_some() {
            return Ok(noted);
        }
        let (user_id, device_id) = (user_id.to_owned(), device_id.to_owned());
        self.store.read(move |view| devices::last_seen(view, &user_id, &device_id)).await
    }

    /// The devices of a user, in the order of their ids, and when each was last seen.
    pub async fn devices_of(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<(OwnedDeviceId, Device, Option<SeenRow>)>, ReadError> {
        let reader = user_id.to_owned();
        let read = self.store.read(move |view| {
            let devices = devices::list(view, &reader, MOST_LISTED)?;
            let keys = devices.iter().map(|(device_id, _)| (reader.as_str(), device_id.as_str()));
            let seen = view.multi_get(&SEEN, keys)?;
            Ok::<_, ReadError>(devices.into_iter().zip(seen).map(|((id, device), seen)| (id, device, seen)).collect())
        });
        let mut rows: Vec<(OwnedDeviceId, Device, Option<SeenRow>)> = read.await?;
        let waiting = self.seen.waiting.lock();
        for (device_id, _, seen) in &mut rows {
            if let Some(noted) = waiting.get(&(user_id.to_string(), device_id.to_string())) {
                *seen = Some(noted.clone());
            }
        }
        Ok(rows)
    }
}
