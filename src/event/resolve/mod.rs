//! State resolution: which of several states of a room holds (room versions 1–12, "State resolution").
//!
//! It gets its place here, over plain numbers and without I/O, when events from other servers can fork a room. Until then
//! the graph never has two states to choose from: it answers that it needs the state, and never guesses.
