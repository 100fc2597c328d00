//! The listener of the metrics: an address of its own, which should not be reachable from the outside.

use std::sync::atomic::Ordering;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    app::App,
    http::{Outgoing, RateClass, RateLimits, RawRequest, Refusal, Routes, Site},
};

/// The site of the metrics.
pub(super) fn site(app: &App) -> Site {
    let mut routes = Routes::default();
    routes.raw(Method::GET, "/metrics", RateClass::Poll, metrics);
    Site::new(app.clone(), routes, RateLimits::default())
}

async fn metrics(app: App, _: RawRequest) -> Result<Outgoing, Refusal> {
    sample(&app);
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(Outgoing {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, text)]),
        body: app.metrics.render().into(),
    })
}

/// Reads what counts itself.
fn sample(app: &App) {
    let set = |name: &str, help: &str, value: u64| app.metrics.gauge(name, help).set(value);
    let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let commits = app.store.lane_counters();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    set("myelin_store_position", "The last position that is durable", app.store.horizon().0);
    set("myelin_commit_groups", "Groups of commits written since the start", read(&commits.groups));
    set("myelin_commit_batches", "Commits written since the start", read(&commits.batches));
    set("myelin_commit_waiting", "Commits that wait to be written", read(&commits.waiting));
    set("myelin_commit_write_micros", "Time spent in writes since the start, in µs", read(&commits.write_micros));
    set("myelin_store_disk_reads", "Reads that had to go to disk since the start", app.store.disk_reads());
    set(
        "myelin_store_disk_reads_waiting",
        "Reads that wait for their turn at the disk",
        app.store.disk_reads_waiting(),
    );
    let (lanes, waiting) = app.graph.lane_depth();
    set("myelin_room_lanes", "Rooms in which something is being sent", size(lanes));
    set("myelin_room_lanes_waiting", "What waits to be sent in them", size(waiting));
    set("myelin_graph_cache_bytes", "Memory of the cache of events and states", app.graph.cache_bytes());
}
