//! The integration tests: one binary, one module an area.

mod client;
mod crash;
mod event;
mod golden;
mod graph;
mod harness;
mod store;
mod sync;
