//! Idempotent requests: the answer to a request with a transaction id, written in the commit of its effect.
//!
//! A transaction id belongs to a device and an endpoint (client-server API, "Transaction identifiers").

use ruma::{DeviceId, UserId};
use serde::{Deserialize, Serialize};

use super::keys::TXN;
use crate::{
    base::clock::UnixMillis,
    store::{Batch, ReadError, View},
};

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// When, for the sweep.
    pub(super) at: UnixMillis,
    /// What the request answered.
    pub(super) answer: Vec<u8>,
}

/// Names one request of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnKey {
    user: String,
    device: String,
    request: [u8; 16],
}

impl TxnKey {
    /// The request that these parts name (the endpoint, its arguments, the transaction id), of a device and when that was
    /// made: a device that had the same id before is another. Or of a user without devices.
    pub fn new(user_id: &UserId, device: Option<(&DeviceId, UnixMillis)>, parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&device.map_or(0, |(_, created_at)| created_at).to_be_bytes());
        // Each with its length: none can look like the end of one and the beginning of the next.
        for part in parts {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes()).update(part.as_bytes());
        }
        let mut request = [0; 16];
        request.copy_from_slice(hasher.finalize().as_bytes().split_at(16).0);
        let device = device.map_or_else(String::new, |(device_id, _)| device_id.to_string());
        Self { user: user_id.to_string(), device, request }
    }

    /// The whole key, for who puts it into a record of their own (the transaction id of an event's `unsigned`).
    pub fn request(&self) -> [u8; 16] {
        self.request
    }
}

/// The answer that this request got before, if it was made before.
pub fn recorded(view: &View<'_>, key: &TxnKey) -> Result<Option<Vec<u8>>, ReadError> {
    Ok(view.get(&TXN, &(&key.user, &key.device, key.request))?.map(|row| row.answer))
}

/// Records the answer with its effect. The commit fails with a conflict if the same request was answered meanwhile: read
/// [`recorded`] again.
pub fn record(batch: &mut Batch, key: &TxnKey, answer: Vec<u8>, now: UnixMillis) {
    let stored = (&key.user, &key.device, key.request);
    batch.assert_absent(&TXN, &stored);
    batch.put(&TXN, &stored, &Transaction { at: now, answer });
}

/// A row that a request claims for its effect, so that of two at once that may not both be only one is done. It is kept as
/// long as answers are: for whatever comes later the effect itself must tell.
#[derive(Clone, Debug)]
pub struct Claim {
    key: TxnKey,
    old: Option<Transaction>,
}

impl Claim {
    /// What is to be claimed, as it is now.
    pub fn of(view: &View<'_>, key: TxnKey) -> Result<Self, ReadError> {
        let old = view.get(&TXN, &(&key.user, &key.device, key.request))?;
        Ok(Self { key, old })
    }

    /// Claims it. The commit fails with a conflict if somebody else did since it was read.
    pub fn take(&self, batch: &mut Batch, answer: Vec<u8>, now: UnixMillis) {
        let stored = (&self.key.user, &self.key.device, self.key.request);
        batch.assert_still(&TXN, &stored, self.old.as_ref());
        batch.put(&TXN, &stored, &Transaction { at: now, answer });
    }
}
