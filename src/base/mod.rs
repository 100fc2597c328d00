//! What every layer may use and that knows nothing of Matrix: time, randomness, tasks, budgets, metrics, shutdown, and
//! writing JSON piece by piece.
//!
//! Clocks and randomness come only from here (a clippy lint says so), so that a test can own both.

pub mod address;
pub mod budget;
pub mod clock;
pub mod json_writer;
pub mod metrics;
pub mod random;
pub mod shutdown;
pub mod tasks;
