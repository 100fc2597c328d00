//! The graph, from outside: rooms are made, events sent and received, and what is stored is looked at.

mod convergence;
mod cost;
mod crash;
mod forks;
mod fsck;
mod gathering;
mod random;
mod receive;
mod redaction;
mod rig;
mod rooms;
pub mod there;
pub mod wide;
