//! What is gone after a restart: typing (and later presence).

pub mod typing;
