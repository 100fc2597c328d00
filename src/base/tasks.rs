//! Tasks that run beside requests, by name: a panic in one is seen, and ends nothing else.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::{runtime::Handle, time::Instant};

use super::{metrics::Metrics, shutdown::Shutdown};

/// The shortest wait before a task that failed is started again; doubled each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
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
            let mut pause = SHORTEST_PAUSE;
            while !shutdown.is_triggered() {
                let started = Instant::now();
                let ended = tokio::select! {
                    ended = AssertUnwindSafe(task()).catch_unwind() => ended,
                    () = shutdown.wait() => return,
                };
                if ended.is_err() {
                    metrics.panicked(name);
                    tracing::error!(name, "a task panicked and will be started again");
                }
                if started.elapsed() > LONGEST_PAUSE {
                    pause = SHORTEST_PAUSE;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(LONGEST_PAUSE),
                    () = shutdown.wait() => return,
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_ever_more_slowly() {
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let tasks = Tasks::new(Handle::current(), shutdown.clone(), metrics.clone());
        let starts = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&starts);
        tasks.spawn_forever("shaky", move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async { panic!("on purpose") }
        });
        tokio::time::sleep(Duration::from_millis(750)).await;
        assert_eq!(starts.load(Ordering::Relaxed), 4, "at 0, 100, 300 and 700 ms");
        assert!(metrics.render().contains("myelin_panics_total{where=\"shaky\"} 4"));
        shutdown.trigger();
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(starts.load(Ordering::Relaxed), 4, "nothing starts after the end");
    }
}
