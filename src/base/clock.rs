//! The time of day and waiting. All waits are tokio's, so a test on a paused runtime moves both with `tokio::time::advance`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// Milliseconds since the Unix epoch, as `origin_server_ts` counts them.
pub type UnixMillis = u64;

/// Where the time of day comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    /// Starts at a given time of day and advances with the runtime's own (possibly paused) clock.
    Virtual {
        start: UnixMillis,
        origin: Instant,
    },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that reads `start` now and moves with the runtime's clock. Must be called inside a runtime.
    pub fn starting_at(start: UnixMillis) -> Self {
        Self(Arc::new(Source::Virtual { start, origin: Instant::now() }))
    }

    /// The time of day, in ms since the Unix epoch. May step back when the machine's clock is set.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn now(&self) -> UnixMillis {
        match &*self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Virtual { start, origin } => {
                start.saturating_add(u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    /// A reading that never steps back, for measuring and for deadlines.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
