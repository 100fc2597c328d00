//! Creating rooms.

pub mod plan;
