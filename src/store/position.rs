//! Positions: where a commit stands among all others.

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, KeyPart};

/// The place of a commit in the one order of this server.
///
/// Strictly increasing and *sparse*: nobody computes the next one. Once a reader was told horizon `p`, every row at or
/// below `p` is durable and none appears later; that is all that it may assume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self(0);
}

impl KeyPart for Position {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}
