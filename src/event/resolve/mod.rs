//! State resolution: which of several states of a room holds (room versions 1–12, "State resolution").
//!
//! Pure, and over plain numbers: an event is known by its number in its room ([`Seq`]), which is always higher than those of
//! its auth events. Whoever stores events implements [`Room`] and calls [`resolve`] with the entries at which the states
//! differ ([`Conflict`]); the answer says what those entries become ([`Decision`]). All others stay as they are: what is read
//! and judged grows with what is in conflict. Only numbers are swept through further: those of the auth graph, and mostly
//! once those of a state ([`Room::all_agreed`]).
//!
//! | Room version | Algorithm | Here |
//! |---|---|---|
//! | 1 | version 1: by depth, then by the SHA-1 of the event id | `v1` |
//! | 2–11 | version 2 | `v2` |
//! | 12 | version 2.1: the checks start from nothing, the conflicted state subgraph is looked at, too | `v2` |
//!
//! # Use
//!
//! 1. Take the states (those after the previous events, or after the forward extremities), without repetition. If one is
//!    left, it is the result.
//! 2. Ask the trees where they differ (k-way), and make a [`Conflict`] of each slot, its `seqs` in the order of the states.
//! 3. Call [`resolve`]. It asks the [`Room`] in waves: for the events of the conflicts, for the agreed entries by which these
//!    are judged, for the auth events, and for each step back in the history of power levels.
//! 4. Take any of the states and set each decided entry: to its event, or to nothing.
//!
//! Where the text is open, this does as other servers do (`docs/decisions/0022-where-state-resolution-is-silent.md`).
//!
//! The result does not depend on the order of the states. An auth event that is not known is an error
//! ([`ResolveError::NotInAuthGraph`], [`AuthGraphError`]), never silently dropped: two servers of which one leaves it out
//! would go apart. Give the error back to whoever can fetch the event.

mod auth_graph;
mod checks;
mod conflicted;
mod memory;
mod order;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ruma::room_version_rules::StateResolutionVersion;
use thiserror::Error;

pub use self::auth_graph::{AuthGraph, AuthGraphError};
use super::{pdu::Pdu, version::Rules};

/// An event's number in its room. Its auth events have lower ones.
pub type Seq = u32;

/// What an entry of a state is found by: type and state key.
pub type Entry = (String, String);

/// What resolution asks of a room. Each call is one wave: it names all that it wants at once.
pub trait Room {
    /// Why a question got no answer.
    type Error;

    /// The events of these numbers, in this order; rejected ones marked so ([`Pdu::rejected`]). Asked are state events that
    /// are in the states or in their auth chains.
    fn events(&self, seqs: &[Seq]) -> Result<Vec<Pdu>, Self::Error>;

    /// What stands at these entries, on which all states agree; of an entry that is in none of them, `None`. Entries in
    /// conflict are never asked for, so that any one of the states may be looked at.
    fn agreed(&self, entries: &[Entry]) -> Result<Vec<Option<Seq>>, Self::Error>;

    /// All events on which the states agree, in any order. An event in the auth chain of one of these is in that of every
    /// state, and so no part of the auth difference: asked for at most once in a resolution, and only if the conflicts alone
    /// would make a difference.
    fn all_agreed(&self) -> Result<Vec<Seq>, Self::Error>;

    /// The auth graph of all state events of the room, or at least of those in the states and in their auth chains. Not
    /// asked for in version 1.
    fn auth_graph(&self) -> Result<Arc<AuthGraph>, Self::Error>;
}

/// An entry at which not all states are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The entry.
    pub entry: Entry,
    /// What stands there in each state, in the order of the states.
    pub seqs: Vec<Option<Seq>>,
}

/// What an entry of the resolved state is. There is one for every [`Conflict`], and possibly some for entries that no state
/// had (version 2: the auth difference brought them).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// The entry.
    pub entry: Entry,
    /// The event; `None` if nothing stands there.
    pub seq: Option<Seq>,
}

/// Why states could not be resolved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ResolveError<E> {
    /// The room gave no answer.
    #[error(transparent)]
    Room(#[from] E),
    /// The room answered with fewer events than it was asked for; this one is missing.
    #[error("the event {0} is missing")]
    NoEvent(Seq),
    /// The auth events of this event are not known.
    #[error("the event {0} is not in the auth graph")]
    NotInAuthGraph(Seq),
    /// This event is in a state, or cited as authorising, and is no state event.
    #[error("the event {0} is no state event")]
    NoStateEvent(Seq),
    /// The conflicts are not all of the same number of states.
    #[error("the conflicts are of different numbers of states")]
    Uneven,
}

/// Resolves states that differ at these entries. The decisions are in the order of their entries.
pub fn resolve<R: Room>(
    room: &R,
    rules: &Rules,
    conflicts: &[Conflict],
) -> Result<Vec<Decision>, ResolveError<R::Error>> {
    let states = conflicts.first().map_or(0, |conflict| conflict.seqs.len());
    if conflicts.iter().any(|conflict| conflict.seqs.len() != states) {
        return Err(ResolveError::Uneven);
    }
    if conflicts.is_empty() {
        return Ok(Vec::new());
    }
    match &rules.state_res {
        StateResolutionVersion::V2(tweaks) => v2::resolve(room, rules, *tweaks, conflicts),
        _ => v1::resolve(room, rules, conflicts),
    }
}
