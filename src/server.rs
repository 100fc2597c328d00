//! Wires a server, binds its listeners, stops it.

pub mod open;
