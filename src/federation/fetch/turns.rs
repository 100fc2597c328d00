//! Turns: how many requests for events run at once.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests to one server at once, so that a slow one holds up only who asks it.
const OF_A_SERVER: usize = 4;
/// Requests at once.
const OF_ALL: usize = 64;
/// Requests at once whose answers may be large.
const LARGE: usize = 2;
/// From how many bytes on an answer is large.
const LARGE_BYTES: usize = 16 << 20;

pub(super) struct Turns {
    servers: Mutex<HashMap<OwnedServerName, Arc<Semaphore>>>,
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { servers: Mutex::default(), all: semaphore(OF_ALL), large: semaphore(LARGE) }
    }
}

/// A turn, for as long as it is there.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    server: OwnedServerName,
    // The server's own; those that all share are taken only behind it, so that who waits for a server holds nothing.
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

impl Turns {
    /// Waits for a turn to ask a server for an answer of so many bytes at the most.
    pub(super) async fn take(&self, server: &ServerName, most_bytes: usize) -> Turn<'_> {
        let own = Arc::clone(
            self.servers.lock().entry(server.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_A_SERVER))),
        );
        // Of the semaphores none is ever closed.
        let own = own.acquire_owned().await.ok();
        let large = if most_bytes >= LARGE_BYTES { Arc::clone(&self.large).acquire_owned().await.ok() } else { None };
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Turn { turns: self, server: server.to_owned(), _permits: [own, large, all] }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut servers = self.turns.servers.lock();
        // The map's and ours: nobody else uses it or waits for it.
        if servers.get(&self.server).is_some_and(|own| Arc::strong_count(own) <= 2) {
            servers.remove(&self.server);
        }
    }
}
