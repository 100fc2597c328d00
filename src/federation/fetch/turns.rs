//! Turns: how many requests for events run at once.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests to one server at once, so that a slow one holds up only who asks it.
const OF_A_SERVER: usize = 4;
/// Requests at once.
const OF_ALL: usize = 64;
/// Large answers in memory at once.
const LARGE: usize = 2;

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
    // The server's own, and one of those that all share: taken only behind it, so that who waits for a server holds nothing.
    permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Turns {
    /// Waits for leave to have a large answer in memory, from the request until its events are kept.
    pub(super) async fn large(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.large).acquire_owned().await.ok()
    }

    /// Waits for a turn to ask a server.
    pub(super) async fn take(&self, server: &ServerName) -> Turn<'_> {
        let own = Arc::clone(
            self.servers.lock().entry(server.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_A_SERVER))),
        );
        // Of the semaphores none is ever closed.
        // There before it waits: whoever goes away while waiting is forgotten, too.
        let mut turn = Turn { turns: self, server: server.to_owned(), permits: [None, None] };
        let own = own.acquire_owned().await.ok();
        turn.permits = [own, Arc::clone(&self.all).acquire_owned().await.ok()];
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut servers = self.turns.servers.lock();
        self.permits = [None, None];
        // The map's alone: nobody uses it or waits for it.
        if servers.get(&self.server).is_some_and(|own| Arc::strong_count(own) <= 1) {
            servers.remove(&self.server);
        }
    }
}
