//! The graph, from outside: rooms are made, events sent and received, and what is stored is looked at.

mod gathering;
mod receive;
mod redaction;
mod rig;
mod rooms;
