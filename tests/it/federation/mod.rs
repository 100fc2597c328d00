//! Tests of federation.

mod discovery;
mod https;
mod inbound;
mod keys;
mod rotation;
mod servers;
