//! The end of a server, told to everybody who waits.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells that the server is stopping. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not stopping.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Stops.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether the server is stopping.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when the server is stopping; at once if it already is.
    pub async fn wait(&self) {
        // An error would mean that the sender is gone, and this handle holds it.
        let _ = self.0.subscribe().wait_for(|stopping| *stopping).await;
    }
}
