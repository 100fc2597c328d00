//! The integration tests: one binary, one module an area.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what it expects and stops when it is not so"
)]

mod architecture;
mod client;
mod crash;
mod documentation;
mod event;
mod federation;
mod golden;
mod graph;
mod harness;
mod server;
mod simulation;
mod store;
mod sync;
