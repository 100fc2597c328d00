//! Metrics, in the form that Prometheus reads.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
    core::{AtomicU64, GenericGauge},
};

/// All metrics of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: HistogramVec,
    panics: IntCounterVec,
    gauges: Mutex<HashMap<String, GenericGauge<AtomicU64>>>,
}

/// Upper bounds of request times, in seconds.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 30.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty set.
    #[expect(clippy::expect_used, reason = "INVARIANT: names and labels are constants that Prometheus allows")]
    pub fn new() -> Self {
        let times =
            HistogramOpts::new("myelin_http_request_seconds", "Time to answer a request").buckets(BUCKETS.to_vec());
        let panics = Opts::new("myelin_panics_total", "Panics, by where they were caught");
        let inner = Inner {
            registry: Registry::new(),
            requests: HistogramVec::new(times, &["endpoint", "status"]).expect("a valid metric"),
            panics: IntCounterVec::new(panics, &["where"]).expect("a valid metric"),
            gauges: Mutex::default(),
        };
        inner.registry.register(Box::new(inner.requests.clone())).expect("registered once");
        inner.registry.register(Box::new(inner.panics.clone())).expect("registered once");
        Self(Arc::new(inner))
    }

    /// A request was answered.
    pub fn request(&self, endpoint: &str, status: u16, took: Duration) {
        let status = match status {
            0..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.0.requests.with_label_values(&[endpoint, status]).observe(took.as_secs_f64());
    }

    /// Something panicked and was caught.
    pub fn panicked(&self, place: &str) {
        self.0.panics.with_label_values(&[place]).inc();
    }

    /// The number of this name that goes up and down; the same one each time.
    pub fn gauge(&self, name: &str, help: &str) -> GenericGauge<AtomicU64> {
        let mut gauges = self.0.gauges.lock();
        if let Some(gauge) = gauges.get(name) {
            return gauge.clone();
        }
        #[expect(clippy::expect_used, reason = "INVARIANT: names are constants that Prometheus allows")]
        let gauge = GenericGauge::new(name, help).expect("a valid metric");
        #[expect(clippy::expect_used, reason = "INVARIANT: it was not in the map of all gauges")]
        self.0.registry.register(Box::new(gauge.clone())).expect("registered once");
        gauges.insert(name.to_owned(), gauge.clone());
        gauge
    }

    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics cannot be written");
        }
        out
    }
}
