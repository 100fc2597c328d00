//! What every layer may use and that knows nothing of Matrix: time, randomness, tasks, lanes, metrics, shutdown.
//!
//! Clocks and randomness come only from here (a clippy lint says so), so that a test can own both.

pub mod clock;
pub mod json_writer;
pub mod metrics;
pub mod random;
pub mod shutdown;
pub mod tasks;
