//! Requests of devices that are being answered: a device shall not learn of what it did from what it reads (its `/sync`, a
//! page of history) before it has the answer to the request by which it did it.
//!
//! The specification promises no order between two requests, and clients recognise their own events by the transaction
//! id. But not in every case do they cope: matrix-js-sdk takes an event in a thread for somebody else's, and shows it
//! twice or throws, if its id is not known yet. A commit is told to the sync and to the sender at the same time, so without
//! this it would be a matter of luck.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::base::clock::Clock;

/// How long a device that reads waits for its answers, at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer that was sent may take until the client has dealt with it. Nobody sees this: what one sends oneself
/// is on the screen at once.
const GRACE: Duration = Duration::from_millis(20);
/// After how many requests the devices that have nothing under way are looked for.
const SWEEP_EVERY: u64 = 1024;

/// All such requests of this process.
#[derive(Debug)]
pub(super) struct Answerings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    devices: Mutex<Devices>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct Devices {
    by_name: HashMap<String, Device>,
    /// The number of the next request.
    next: u64,
}

#[derive(Debug, Default)]
struct Device {
    /// Its requests that are under way, numbered in the order of their coming.
    under_way: BTreeSet<u64>,
    /// When the last of the others was answered.
    answered: Option<Instant>,
}

impl Device {
    fn is_over(&self, now: Instant) -> bool {
        self.under_way.is_empty() && self.answered.is_none_or(|answered| answered + GRACE <= now)
    }
}

/// One request; it counts as answered once this is dropped.
#[derive(Debug)]
pub struct Answering {
    shared: Arc<Shared>,
    device: String,
    number: u64,
}

impl Answerings {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, devices: Mutex::default(), answered: Notify::new() }))
    }

    /// A request of a device is about to do something.
    pub(super) fn begin(&self, device: String) -> Answering {
        let mut devices = self.0.devices.lock();
        let number = devices.next;
        devices.next = number.wrapping_add(1);
        if number.is_multiple_of(SWEEP_EVERY) {
            let now = self.0.clock.instant();
            devices.by_name.retain(|_, device| !device.is_over(now));
        }
        devices.by_name.entry(device.clone()).or_default().under_way.insert(number);
        Answering { shared: Arc::clone(&self.0), device, number }
    }

    /// Waits until those requests of a device are answered that are under way now; a moment at most.
    pub(super) async fn answered(&self, device: &str) {
        let ask = |what: &dyn Fn(&Device) -> Option<u64>| self.0.devices.lock().by_name.get(device).and_then(what);
        let oldest = || ask(&|device| device.under_way.first().copied());
        let last = ask(&|device| device.under_way.last().copied());
        let deadline = self.0.clock.instant() + PATIENCE;
        while let Some(last) = last {
            let answered = self.0.answered.notified();
            let mut answered = std::pin::pin!(answered);
            answered.as_mut().enable();
            if oldest().is_none_or(|oldest| oldest > last) {
                break;
            }
            if tokio::time::timeout_at(deadline, answered).await.is_err() {
                return;
            }
        }
        let answered = self.0.devices.lock().by_name.get(device).and_then(|device| device.answered);
        if let Some(dealt_with) = answered.map(|answered| answered + GRACE)
            && dealt_with > self.0.clock.instant()
        {
            tokio::time::sleep_until(dealt_with).await;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = self.shared.clock.instant();
        if let Some(device) = self.shared.devices.lock().by_name.get_mut(&self.device) {
            device.under_way.remove(&self.number);
            device.answered = Some(now);
        }
        self.shared.answered.notify_waiters();
    }
}
