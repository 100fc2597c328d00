//! Ours against a literal transcription of the specification and against `ruma-state-res`, on random rooms; and rooms whose
//! resolution is known.

mod literal;
mod named;
mod random;
mod world;

/// What the literal text speaks of.
mod subject {
    pub(super) use crate::event::{
        Pdu, Rules, auth,
        power::{Level, PowerLevels},
        resolve::Entry,
    };
}
