//! Tests of federation.

mod discovery;
mod first_versions;
mod holes;
mod https;
mod inbound;
mod invited;
mod invites;
mod joins;
mod keys;
mod knocks;
mod large;
mod liars;
mod queries;
mod reads;
mod receiving;
mod rooms;
mod rotation;
mod sender;
mod servers;
mod strangers;
