//! The write side of rooms: the event graph, its state, its two orders, its log.

mod bytes;
pub mod event_row;
pub mod head;
pub mod keys;
pub mod log;
pub mod rows;
pub mod state;
pub mod types;
