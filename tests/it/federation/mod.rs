//! Tests of federation.

mod discovery;
mod https;
mod inbound;
mod joins;
mod keys;
mod queries;
mod reads;
mod receiving;
mod rooms;
mod rotation;
mod sender;
mod servers;
