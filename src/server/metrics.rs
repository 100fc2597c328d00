//! The listener of the metrics: an address of its own, which should not be reachable from the outside.

use std::sync::atomic::Ordering;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    app::App,
    federation::sender::Numbers,
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
    let (staged, bytes) = app.inbox.staged();
    set("myelin_inbox_staged", "Events of other servers that wait to be judged", size(staged));
    set("myelin_inbox_staged_bytes", "Their size", size(bytes));
    sample_sender(&app.sender.numbers(), set);
    set("myelin_graph_cache_bytes", "Memory of the cache of events and states", app.graph.cache_bytes());
}

fn sample_sender(sender: &Numbers, set: impl Fn(&str, &str, u64)) {
    let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    set("myelin_federation_failing_servers", "Other servers that do not answer", size(sender.failing));
    set("myelin_federation_active_servers", "Other servers that are being sent something", size(sender.active));
    set("myelin_federation_waiting_events", "Events that wait to be sent, for each server", size(sender.waiting));
    set("myelin_federation_on_the_way", "Transactions that are not answered yet", size(sender.on_the_way));
    set("myelin_federation_arrived", "Transactions that arrived since the start", sender.arrived);
    set("myelin_federation_failed", "Transactions that did not arrive since the start", sender.failed);
    set("myelin_federation_sent_events", "Events in transactions that arrived since the start", sender.events);
    set("myelin_federation_lag", "Positions between the end of the log and what was put into queues", sender.behind);
}
