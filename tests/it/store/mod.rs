//! The store: one suite for every engine, then what only one of them can do.

mod budgets;
mod conformance;
mod faulty;
mod lane;
#[cfg(feature = "rocksdb")]
mod rocks;

use myelin::store::{Family, Keyspace, Position};

/// Keyspaces of the tests, with prefixes that no module uses.
pub const NUMBERS: Keyspace<(u64, String), u64> = Keyspace::new(Family::Hot, 0xE0, "numbers", "test");
/// Ordered by position.
pub const EVENTS: Keyspace<(Position,), String> = Keyspace::new(Family::Log, 0xE0, "events", "test");
/// With values that may be large.
pub const BLOBS: Keyspace<(u64,), Vec<u8>> = Keyspace::large(Family::Hot, 0xE1, "blobs", "test");
