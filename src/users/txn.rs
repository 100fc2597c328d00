//! Idempotent requests: the answer to a request with a transaction id, written in the commit of its effect.
//!
//! A transaction id belongs to a device and a path (client-server API, "Transaction identifiers").

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
    /// The request `method path` (the path with the transaction id, decoded or not, but always the same way) of a device.
    pub fn new(user_id: &UserId, device_id: &DeviceId, method: &str, path: &str) -> Self {
        let hash = blake3::Hasher::new().update(method.as_bytes()).update(b" ").update(path.as_bytes()).finalize();
        let mut request = [0; 16];
        request.copy_from_slice(hash.as_bytes().split_at(16).0);
        Self { user: user_id.to_string(), device: device_id.to_string(), request }
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
