//! Closed loops: each of several users does one operation after another, until the time or the count is used up.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Failure,
    probe::{Probe, Usage},
};

/// One line of the report.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was done, for a table.
    pub(crate) name: String,
    /// How many times.
    pub(crate) operations: u64,
    /// In what time.
    pub(crate) elapsed: Duration,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
    /// What the server used in that time.
    pub(crate) used: Usage,
    /// What one should know to read the line.
    pub(crate) note: String,
}

impl Row {
    /// Operations a second, of a line that has a rate.
    pub(crate) fn rate(&self) -> Option<f64> {
        (!self.elapsed.is_zero()).then(|| ratio(self.operations, self.elapsed.as_secs_f64()))
    }

    /// The latency below which `share` (0 to 1) of the operations were.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((self.latencies.len() as f64) * share) as usize;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(index.min(last)).copied().unwrap_or_default()
    }

    /// CPU time of the server per operation, in µs.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 1e6 / ratio(self.operations.max(1), 1.0)
    }

    /// Bytes written by the server per operation.
    pub(crate) fn bytes_written(&self) -> f64 {
        ratio(self.used.written, 1.0) / ratio(self.operations.max(1), 1.0)
    }

    /// The same line with a note.
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn ratio(count: u64, by: f64) -> f64 {
    count as f64 / by.max(1e-9)
}

/// When a measurement ends: at the first of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) longest: Duration,
    pub(crate) operations: u64,
}

/// Runs one closed loop per worker: `operation(worker, number)` again and again, the number unique within the measurement.
pub(crate) async fn closed_loops<W, O, F>(
    name: &str,
    probe: &Probe,
    workers: Vec<W>,
    limit: Limit,
    operation: O,
) -> Result<(Row, Vec<W>), Failure>
where
    W: Send + 'static,
    O: Fn(W, u64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<W, Failure>> + Send,
{
    let numbers = Arc::new(AtomicU64::new(0));
    let before = probe.usage();
    let start = Instant::now();
    let end = start.checked_add(limit.longest).ok_or("a limit beyond all time")?;
    let loops = workers.into_iter().map(|mut worker| {
        let (numbers, operation) = (Arc::clone(&numbers), operation.clone());
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(4096);
            loop {
                let begun = Instant::now();
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if begun >= end || number >= limit.operations {
                    return Ok::<_, Failure>((worker, latencies));
                }
                worker = operation(worker, number).await?;
                latencies.push(begun.elapsed());
            }
        })
    });
    let loops: Vec<_> = loops.collect();
    let mut workers = Vec::with_capacity(loops.len());
    let mut latencies = Vec::new();
    for finished in loops {
        let (worker, own) = finished.await??;
        workers.push(worker);
        latencies.extend(own);
    }
    Ok((row(name, start.elapsed(), probe.usage().minus(before), latencies), workers))
}

/// The line of operations that took `latencies`, in `elapsed` altogether.
pub(crate) fn row(name: &str, elapsed: Duration, used: Usage, mut latencies: Vec<Duration>) -> Row {
    latencies.sort_unstable();
    let operations = u64::try_from(latencies.len()).unwrap_or(u64::MAX);
    Row { name: name.to_owned(), operations, elapsed, latencies, used, note: String::new() }
}
