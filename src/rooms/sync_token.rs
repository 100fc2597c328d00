//! The `since` and `next_batch` of `/sync`: how far a client is known to have come.
//!
//! It lives below `sync` because clients also bring such tokens to `/messages` (as `from` and `to`) and to `/members` (as
//! `at`).
//!
//! A token says nothing that its bearer may not know and gives access to nothing: whose events are read follows from the
//! access token alone. The checksum only tells a token of ours from a guess.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;

use crate::store::Position;

/// The newest form of a token.
const VERSION: u8 = 1;
/// The checksum's length, in bytes.
const CHECKSUM: usize = 4;
/// A token's length before the checksum: version, kind, then the numbers.
const BODY: usize = 2 + 8 + 8 + 4 + 4 + 8;

/// What a token continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `/v3/sync`.
    Sync = 1,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncToken {
    /// Everything durable at or below was sent.
    pub position: Position,
    /// To-device messages at or below were sent (and are acknowledged when the token comes back).
    pub to_device: Position,
    /// The life of the store that the positions belong to: after restoring an old copy they mean nothing.
    pub epoch: u32,
    /// The process that `ephemeral` was counted by; random at each start.
    pub boot: u32,
    /// How many changes of typing this process had counted.
    pub ephemeral: u64,
}

/// A string is not a token of this server.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a sync token of this server")]
pub struct BadToken;

impl SyncToken {
    /// The form that clients carry.
    pub fn encode(&self, kind: Kind) -> String {
        let mut out = Vec::with_capacity(BODY + CHECKSUM);
        out.extend_from_slice(&[VERSION, kind as u8]);
        out.extend_from_slice(&self.position.0.to_be_bytes());
        out.extend_from_slice(&self.to_device.0.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.boot.to_be_bytes());
        out.extend_from_slice(&self.ephemeral.to_be_bytes());
        out.extend_from_slice(&checksum(&out));
        URL_SAFE_NO_PAD.encode(out)
    }

    /// Reads a token of `kind`.
    pub fn decode(token: &str, kind: Kind) -> Result<Self, BadToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(BadToken)?;
        let mut body = body;
        if body.len() != BODY || *sum != checksum(body) || number::<2>(&mut body)? != [VERSION, kind as u8] {
            return Err(BadToken);
        }
        Ok(Self {
            position: Position(u64::from_be_bytes(number(&mut body)?)),
            to_device: Position(u64::from_be_bytes(number(&mut body)?)),
            epoch: u32::from_be_bytes(number(&mut body)?),
            boot: u32::from_be_bytes(number(&mut body)?),
            ephemeral: u64::from_be_bytes(number(&mut body)?),
        })
    }
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], BadToken> {
    let (head, tail) = bytes.split_first_chunk::<N>().ok_or(BadToken)?;
    *bytes = tail;
    Ok(*head)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut out = [0; CHECKSUM];
    blake3::Hasher::new_derive_key("myelin sync token v1").update(body).finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_token() -> impl Strategy<Value = SyncToken> {
        (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
            |(position, to_device, epoch, boot, ephemeral)| SyncToken {
                position: Position(position),
                to_device: Position(to_device),
                epoch,
                boot,
                ephemeral,
            },
        )
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_went(token in any_token()) {
            prop_assert_eq!(SyncToken::decode(&token.encode(Kind::Sync), Kind::Sync), Ok(token));
        }

        #[test]
        fn a_changed_byte_is_noticed(token in any_token(), at in 0_usize..BODY + CHECKSUM, flip in 1_u8..) {
            let mut bytes = URL_SAFE_NO_PAD.decode(token.encode(Kind::Sync)).unwrap();
            bytes[at] ^= flip;
            prop_assert_eq!(SyncToken::decode(&URL_SAFE_NO_PAD.encode(bytes), Kind::Sync), Err(BadToken));
        }

        #[test]
        fn whatever_else_is_refused(guess in ".{0,80}") {
            prop_assert_eq!(SyncToken::decode(&guess, Kind::Sync), Err(BadToken));
        }
    }
}
