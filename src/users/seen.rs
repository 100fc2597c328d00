//! When a device was last seen: kept in memory, and written now and then.
//!
//! Losing what was not written yet is harmless: the device is seen again with its next request.

use std::{
    collections::HashMap,
    mem,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use ruma::{DeviceId, OwnedDeviceId, UserId};

use super::{
    Session, TokenHash, Users,
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

/// Tokens share a place here when they fall on the same one: then they are noted more often than needed.
const RECENT: usize = 4_096;

pub(super) struct Seen {
    waiting: Mutex<HashMap<(String, String), SeenRow>>,
    /// Which token was noted in which minute, so that most requests pay nothing: the token's hash with the minute mixed
    /// in.
    recent: Box<[AtomicU64]>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { waiting: Mutex::default(), recent: (0..RECENT).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Seen {
    /// Whether this token was noted in this minute; it counts as noted from now on.
    fn is_recent(&self, token: TokenHash, minute: u64) -> bool {
        let [first, second, ..] = token.0.as_chunks::<8>().0 else { return false };
        let mark = u64::from_le_bytes(*first) ^ minute.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = usize::try_from(u64::from_le_bytes(*second)).unwrap_or_default().checked_rem(self.recent.len());
        let place = place.and_then(|place| self.recent.get(place));
        place.is_some_and(|place| place.swap(mark, Ordering::Relaxed) == mark)
    }
}

impl Users {
    /// Notes that the device with this token made a request just now, from `ip`.
    pub fn saw(&self, session: &Session, ip: IpAddr) {
        let now = self.clock.now();
        if self.seen.is_recent(session.token, now.checked_div(COARSENESS).unwrap_or_default()) {
            return;
        }
        let key = (session.user_id.to_string(), session.device_id.to_string());
        let mut waiting = self.seen.waiting.lock();
        if waiting.len() < MOST_WAITING || waiting.contains_key(&key) {
            waiting.insert(key, SeenRow { at: now, ip: Some(ip.to_string()) });
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
