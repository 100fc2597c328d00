//! Tasks that run beside requests, by name: a panic in one is seen, and ends nothing else.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use super::{metrics::Metrics, shutdown::Shutdown};

/// The longest wait before a task that failed is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Spawns tasks on the background runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    runtime: Handle,
    shutdown: Shutdown,
    metrics: Metrics,
}

impl Tasks {
    /// Tasks on this runtime, until `shutdown`.
    pub fn new(runtime: Handle, shutdown: Shutdown, metrics: Metrics) -> Self {
        Self { runtime, shutdown, metrics }
    }

    /// Runs a task to its end. A panic is logged and counted.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let metrics = self.metrics.clone();
        self.runtime.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                metrics.panicked(name);
                tracing::error!(name, "a task panicked");
            }
        });
    }

    /// Runs a task until the server stops: when it ends or panics it is started again, after a pause that grows.
    pub fn spawn_forever<F>(&self, name: &'static str, task: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (shutdown, metrics) = (self.shutdown.clone(), self.metrics.clone());
        self.spawn(name, async move {
            let mut pause = Duration::from_millis(100);
            while !shutdown.is_triggered() {
                let ended = tokio::select! {
                    ended = AssertUnwindSafe(task()).catch_unwind() => ended,
                    () = shutdown.wait() => return,
                };
                if ended.is_err() {
                    metrics.panicked(name);
                    tracing::error!(name, "a task panicked and will be started again");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(LONGEST_PAUSE),
                    () = shutdown.wait() => return,
                }
            }
        });
    }
}
