//! The tokens by which clients page through the history of a room.
//!
//! A token is a place *between* two events in graph order, and a bound in the order of arrival: backwards from it lie the
//! events before the place that arrived up to the bound; forwards, all events behind the place. The bound keeps a page
//! that was begun whole when older branches arrive meanwhile: `/sync` brings those.
//!
//! Like a sync token it gives access to nothing; the checksum only tells a token of ours from a guess.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::sync_token::{BadToken, Kind, SyncToken};
use crate::{
    graph::{Place, Tie},
    store::Position,
};

/// The newest form of a token, behind a letter that no sync token's bytes begin with.
const FORM: [u8; 2] = [b'p', 1];
/// The checksum's length, in bytes.
const CHECKSUM: usize = 4;

/// A place in the history of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// Going back, only events that arrived at or below this are meant.
    pub bound: Position,
    /// The first event behind the place would stand here.
    pub place: Place,
}

/// Where a client says that a page begins or ends: either kind of token that it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyToken {
    /// From `/messages`, `/context`, or `prev_batch`.
    Page(PageToken),
    /// `next_batch` of `/sync`: everything that had arrived by then.
    Sync(Position),
}

impl AnyToken {
    /// Reads either kind.
    pub fn decode(token: &str) -> Result<Self, BadToken> {
        match PageToken::decode(token) {
            Ok(page) => Ok(Self::Page(page)),
            Err(BadToken) => SyncToken::decode(token, Kind::Sync).map(|token| Self::Sync(token.position)),
        }
    }

    /// The order of arrival up to which it reaches.
    pub fn bound(&self) -> Position {
        match self {
            Self::Page(page) => page.bound,
            Self::Sync(position) => *position,
        }
    }
}

impl PageToken {
    /// Just before an event.
    pub fn before(place: Place, bound: Position) -> Self {
        Self { bound, place }
    }

    /// Just behind an event.
    pub fn behind(place: Place, bound: Position) -> Self {
        // Ties are spread out: between two events of one depth there is always room.
        Self { bound, place: Place { depth: place.depth, tie: Tie(place.tie.0.saturating_add(1)) } }
    }

    /// Behind everything that arrived up to `bound`.
    pub fn end(bound: Position) -> Self {
        Self { bound, place: Place { depth: u64::MAX, tie: Tie(i64::MAX) } }
    }

    /// The form that clients carry.
    pub fn encode(&self) -> String {
        let mut out = FORM.to_vec();
        out.extend_from_slice(&self.bound.0.to_be_bytes());
        out.extend_from_slice(&self.place.depth.to_be_bytes());
        out.extend_from_slice(&self.place.tie.0.to_be_bytes());
        out.extend_from_slice(&checksum(&out));
        URL_SAFE_NO_PAD.encode(out)
    }

    /// Reads a token.
    pub fn decode(token: &str) -> Result<Self, BadToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(BadToken)?;
        let numbers = body.strip_prefix(&FORM).ok_or(BadToken)?;
        if *sum != checksum(body) {
            return Err(BadToken);
        }
        let (bound, numbers) = numbers.split_first_chunk().ok_or(BadToken)?;
        let (depth, numbers) = numbers.split_first_chunk().ok_or(BadToken)?;
        let (tie, rest) = numbers.split_first_chunk().ok_or(BadToken)?;
        if !rest.is_empty() {
            return Err(BadToken);
        }
        let place = Place { depth: u64::from_be_bytes(*depth), tie: Tie(i64::from_be_bytes(*tie)) };
        Ok(Self { bound: Position(u64::from_be_bytes(*bound)), place })
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut out = [0; CHECKSUM];
    blake3::Hasher::new_derive_key("myelin page token v1").update(body).finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_token() -> impl Strategy<Value = PageToken> {
        (any::<u64>(), any::<u64>(), any::<i64>())
            .prop_map(|(bound, depth, tie)| PageToken { bound: Position(bound), place: Place { depth, tie: Tie(tie) } })
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_went(token in any_token()) {
            prop_assert_eq!(PageToken::decode(&token.encode()), Ok(token));
            prop_assert_eq!(AnyToken::decode(&token.encode()), Ok(AnyToken::Page(token)));
        }

        #[test]
        fn a_changed_byte_is_noticed(token in any_token(), at in 0_usize..30, flip in 1_u8..) {
            let mut bytes = URL_SAFE_NO_PAD.decode(token.encode()).unwrap();
            bytes[at] ^= flip;
            prop_assert_eq!(AnyToken::decode(&URL_SAFE_NO_PAD.encode(bytes)), Err(BadToken));
        }

        #[test]
        fn whatever_else_is_refused(guess in ".{0,80}") {
            prop_assert_eq!(AnyToken::decode(&guess), Err(BadToken));
        }
    }

    #[test]
    fn sync_tokens_are_taken_too() {
        let (position, to_device) = (Position(7), Position(0));
        let token = SyncToken { position, to_device, epoch: 1, boot: 2, ephemeral: 3 }.encode(Kind::Sync);
        assert_eq!(AnyToken::decode(&token), Ok(AnyToken::Sync(position)));
    }

    #[test]
    fn before_and_behind_enclose_an_event() {
        let place = Place { depth: 3, tie: Tie::live(Position(9), 0) };
        let neighbour = Place { depth: 3, tie: Tie::live(Position(9), 1) };
        let (before, behind) =
            (PageToken::before(place, Position(9)).place, PageToken::behind(place, Position(9)).place);
        assert!(before <= place && place < behind && behind <= neighbour);
    }
}
