//! Ours against a literal transcription of the specification and against `ruma-state-res`, on random rooms; and rooms whose
//! resolution is known.

mod literal;
mod named;
mod random;
mod world;
