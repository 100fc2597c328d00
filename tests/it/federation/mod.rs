//! Tests of federation.

mod discovery;
mod https;
mod inbound;
mod keys;
mod queries;
mod reads;
mod receiving;
mod rotation;
mod sender;
mod servers;
