//! A room that a user of ours joins through another server, as it is handed to the graph.

use ruma::{OwnedEventId, RoomVersionId};
use thiserror::Error;

use super::proposal::SendError;
use crate::event::{Verified, auth::AuthError};

/// A room as another server tells of it (server-server API, "Joining Rooms"): the join of a user of ours, the state before
/// it, and what authorises both. Signatures were checked; everything else is the graph's to judge.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The room's version, as the other server says; the create event must say the same.
    pub room_version: RoomVersionId,
    /// The join.
    pub join: Verified,
    /// Ids of the state before it. What is not among `events`, or was rejected, is left out.
    pub state: Vec<OwnedEventId>,
    /// State events and the events that authorise them, in any order.
    pub events: Vec<Verified>,
}

/// Why a room was not adopted. Nothing of it is visible then.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdoptError {
    /// The state has no create event of this room, or more than one.
    #[error("the state has not one create event of this room")]
    NoCreate,
    /// The create event is of another version.
    #[error("the room is not of the version that was said: {0}")]
    WrongVersion(String),
    /// Two events of the state are of one type and state key.
    #[error("what is said to be the state is none")]
    NoState,
    /// The state does not let the user join.
    #[error("the join: {0}")]
    NotAllowed(AuthError),
    /// The room is being adopted already.
    #[error("the room is being joined by somebody else")]
    InProgress,
    /// The graph could not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<crate::store::ReadError> for AdoptError {
    fn from(error: crate::store::ReadError) -> Self {
        Self::Send(error.into())
    }
}

impl From<crate::store::CommitError> for AdoptError {
    fn from(error: crate::store::CommitError) -> Self {
        Self::Send(error.into())
    }
}
