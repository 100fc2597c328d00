//! How many requests for events run at once.

use std::sync::Arc;

use ruma::{OwnedServerName, ServerName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::federation::turns::{self, Turns};

/// Requests to one server at once, so that a slow one holds up only who asks it.
const OF_A_SERVER: usize = 4;
/// Requests at once.
const OF_ALL: usize = 64;
/// Large answers in memory at once.
const LARGE: usize = 2;

pub(super) struct Requests {
    servers: Turns<OwnedServerName>,
    all: Semaphore,
    large: Arc<Semaphore>,
}

impl Default for Requests {
    fn default() -> Self {
        let (all, large) = (Semaphore::new(OF_ALL), Arc::new(Semaphore::new(LARGE)));
        Self { servers: Turns::of(OF_A_SERVER, usize::MAX), all, large }
    }
}

/// Leave to ask a server, for as long as it is there: the server's own, and one of those that all share, which is taken only
/// behind it, so that who waits for a server holds nothing.
pub(super) type Turn<'a> = (Option<turns::Turn<'a, OwnedServerName>>, Option<tokio::sync::SemaphorePermit<'a>>);

impl Requests {
    /// Waits for leave to have a large answer in memory, from the request until its events are kept.
    pub(super) async fn large(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.large).acquire_owned().await.ok()
    }

    /// Waits for a turn to ask a server.
    pub(super) async fn take(&self, server: &ServerName) -> Turn<'_> {
        let own = self.servers.take(&server.to_owned()).await;
        // Never closed.
        (own, self.all.acquire().await.ok())
    }
}
