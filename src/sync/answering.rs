//! Requests of devices that are being answered: a device shall not learn of what it did from its `/sync` before it has the
//! answer to the request by which it did it.
//!
//! The specification promises no order between two requests, and clients recognise their own events by the transaction
//! id. But not in every case do they cope: matrix-js-sdk takes an event that opens a thread for somebody else's if its id
//! is not known yet. A commit wakes the sync and the sender at the same time, so without this it would be a matter of luck.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// How long a sync waits for it, at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// All such requests of this process.
#[derive(Debug, Default)]
pub(super) struct Answerings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    devices: Mutex<Devices>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct Devices {
    /// By device, numbered in the order of their coming.
    requests: HashMap<String, BTreeSet<u64>>,
    next: u64,
}

/// One request; it counts as answered once this is dropped.
#[derive(Debug)]
pub struct Answering {
    shared: Arc<Shared>,
    device: String,
    number: u64,
}

impl Answerings {
    /// A request of a device is about to do something.
    pub(super) fn begin(&self, device: String) -> Answering {
        let mut devices = self.0.devices.lock();
        let number = devices.next;
        devices.next = number.wrapping_add(1);
        devices.requests.entry(device.clone()).or_default().insert(number);
        Answering { shared: Arc::clone(&self.0), device, number }
    }

    /// Waits until those requests of a device are answered that are under way now; a moment at most.
    pub(super) async fn answered(&self, device: &str, now: Instant) {
        let oldest = || self.0.devices.lock().requests.get(device).and_then(|requests| requests.first().copied());
        let last = self.0.devices.lock().requests.get(device).and_then(|requests| requests.last().copied());
        let Some(last) = last else { return };
        let deadline = now + PATIENCE;
        loop {
            let answered = self.0.answered.notified();
            let mut answered = std::pin::pin!(answered);
            answered.as_mut().enable();
            if oldest().is_none_or(|oldest| oldest > last) {
                return;
            }
            if tokio::time::timeout_at(deadline, answered).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut devices = self.shared.devices.lock();
        if let Some(requests) = devices.requests.get_mut(&self.device) {
            requests.remove(&self.number);
            if requests.is_empty() {
                devices.requests.remove(&self.device);
            }
        }
        drop(devices);
        self.shared.answered.notify_waiters();
    }
}
