//! What callers hand to the graph, and what they get back.

use std::{fmt, sync::Arc};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, canonical_json::CanonicalJsonObject};
use thiserror::Error;

use super::{
    event_row::LocalEcho,
    types::{RoomNo, Seq},
};
use crate::{
    base::clock::UnixMillis,
    event::{BuildError, FormatError, Pdu, Verified, auth::AuthError},
    store::{Batch, CommitError, ReadError},
};

/// Adds a caller's own rows to the commit of its event: a transaction id, a token, what it has staged.
///
/// It may run more than once (the commit is built anew when something else came first) and has no other effects. What it
/// asserts is asked before the commit: when it does not hold, only this caller is answered [`SendError::Rider`].
pub type Rider = Arc<dyn Fn(&Placed, &mut Batch) + Send + Sync>;

/// Where an event was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its room.
    pub room: RoomNo,
    /// Its number there.
    pub seq: Seq,
    /// Its id.
    pub event_id: OwnedEventId,
}

/// An event that a local user wants to send.
#[derive(Clone)]
pub struct Proposal {
    /// Who.
    pub sender: OwnedUserId,
    /// `type`.
    pub kind: String,
    /// `state_key`, for a state event.
    pub state_key: Option<String>,
    /// `content`. Canonical JSON, so no floats.
    pub content: CanonicalJsonObject,
    /// The event to redact, for `m.room.redaction`; goes where the room version wants it.
    pub redacts: Option<OwnedEventId>,
    /// `origin_server_ts`, in ms; now if absent.
    pub origin_server_ts: Option<UnixMillis>,
    /// The request that it comes from.
    pub local_echo: Option<LocalEcho>,
    /// For a state event: the event that must be in its place of the current state, or it is not sent
    /// ([`SendError::Rider`]).
    pub replaces: Option<Seq>,
    /// Rows to commit with it.
    pub rider: Option<Rider>,
}

impl Proposal {
    /// A message (or any other event without a state key).
    pub fn message(sender: impl Into<OwnedUserId>, kind: impl Into<String>, content: CanonicalJsonObject) -> Self {
        Self {
            sender: sender.into(),
            kind: kind.into(),
            state_key: None,
            content,
            redacts: None,
            origin_server_ts: None,
            local_echo: None,
            replaces: None,
            rider: None,
        }
    }

    /// A state event.
    pub fn state(
        sender: impl Into<OwnedUserId>,
        kind: impl Into<String>,
        state_key: impl Into<String>,
        content: CanonicalJsonObject,
    ) -> Self {
        Self { state_key: Some(state_key.into()), ..Self::message(sender, kind, content) }
    }

    /// A redaction.
    pub fn redaction(sender: impl Into<OwnedUserId>, target: OwnedEventId, content: CanonicalJsonObject) -> Self {
        Self { redacts: Some(target), ..Self::message(sender, "m.room.redaction", content) }
    }

    /// Sends it only if it replaces this event: who read the state before decides nothing on what is no more.
    #[must_use]
    pub fn replacing(mut self, seq: Seq) -> Self {
        self.replaces = Some(seq);
        self
    }

    /// Adds the request that it comes from.
    #[must_use]
    pub fn from_request(mut self, local_echo: LocalEcho) -> Self {
        self.local_echo = Some(local_echo);
        self
    }

    /// Adds rows to commit with it.
    #[must_use]
    pub fn with_rider(mut self, rider: impl Fn(&Placed, &mut Batch) + Send + Sync + 'static) -> Self {
        self.rider = Some(Arc::new(rider));
        self
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} {:?} by {})", self.kind, self.state_key, self.sender)
    }
}

/// An event that is signed already: from another server, or ours with a second signature.
#[derive(Clone)]
pub struct Receipt {
    /// The event.
    pub event: Verified,
    /// It goes to the other servers of the room from here: it is ours, or countersigned by us.
    pub relay: bool,
    /// The room's policy server was asked, and does not recommend it.
    pub refused_by_policy: bool,
    /// The state before it, as another server says (`/state_ids`): for an event some of whose previous events cannot be
    /// had. Ids of state events, all of which must be here, at least as outliers. Not looked at if all previous events
    /// are here.
    pub state_before: Option<Vec<OwnedEventId>>,
    /// With it this server comes back to a room that it has left: the room goes on from it, and not from what it was left
    /// with. Not looked at while the server is in the room.
    pub begins_anew: bool,
    /// It was fetched from further back, for somebody who reads history: it gets its place there, below this depth of ours,
    /// but nobody is told of it, and it changes neither the current state nor the extremities. The current state and the
    /// policy server are not asked.
    pub backfilled: Option<u64>,
    /// The request that it comes from, if it is ours.
    pub local_echo: Option<LocalEcho>,
    /// Rows to commit with it, unless it is [`Verdict::Rejected`] or [`Verdict::Needs`] something.
    pub rider: Option<Rider>,
}

impl From<Verified> for Receipt {
    fn from(event: Verified) -> Self {
        Self {
            event,
            relay: false,
            refused_by_policy: false,
            state_before: None,
            begins_anew: false,
            backfilled: None,
            local_echo: None,
            rider: None,
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({:?})", self.event.pdu())
    }
}

/// What became of a received event (server-server API, "Checks performed on receipt of a PDU").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the graph, and clients see it (but for a redaction that waits for its target).
    Accepted(Placed),
    /// It is in the graph, but the current state does not allow it: no forward extremity, not delivered.
    SoftFailed(Placed),
    /// It breaks a rule, by its auth events or by the state before it. It is stored as such.
    Rejected(AuthError),
    /// It was here before.
    Duplicate(Placed),
    /// It cannot be judged yet; nothing was stored.
    Needs(Needs),
}

/// What is needed to judge an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Events that it cites and that are not here (or, for previous events, are here without their place in the graph).
    Missing {
        /// Previous events.
        prev: Vec<OwnedEventId>,
        /// Auth events.
        auth: Vec<OwnedEventId>,
    },
    /// A signature of the room's policy server.
    PolicySignature,
}

/// Why nothing was sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// This server does not know the room.
    #[error("unknown room")]
    UnknownRoom,
    /// This server does not know the room's version.
    #[error("room version {0} is not supported")]
    UnknownVersion(RoomVersionId),
    /// An administrator has closed the room.
    #[error("the room is blocked")]
    Blocked,
    /// The auth rules forbid it.
    #[error(transparent)]
    NotAllowed(#[from] AuthError),
    /// The event to redact is not in this room.
    #[error("the event to redact is not known in this room")]
    UnknownTarget,
    /// What was proposed makes no event.
    #[error(transparent)]
    Invalid(#[from] BuildError),
    /// More than fifty events at once, or none.
    #[error("between one and fifty events can be sent at once")]
    Count,
    /// What was handed in as the state before an event is none: it has an event without a state key, or two of one type
    /// and state key.
    #[error("what is said to be the state before the event is no state")]
    NoState,
    /// The event is of another room.
    #[error("the event is of another room")]
    WrongRoom,
    /// The room's policy server has to sign this event before it can be sent: ask it, and hand in what it signed with
    /// [`Graph::receive`](super::Graph::receive).
    #[error("the room's policy server must sign the event")]
    NeedsPolicySignature(Box<Pdu>),
    /// The room's policy server does not recommend the event: its own words.
    #[error("{0}")]
    NotRecommended(String),
    /// What a rider asserts does not hold (any more), or the event to replace is not there: read again and decide again.
    #[error("what rides with the event conflicts with what is there")]
    Rider,
    /// Too many events wait for this room.
    #[error("too many events are waiting for this room")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// The store could not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not write.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<FormatError> for SendError {
    fn from(error: FormatError) -> Self {
        Self::Invalid(error.into())
    }
}

/// Why a room was not created.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("event {index} of the new room: {error}")]
pub struct CreateError {
    /// Which of the proposals.
    pub index: usize,
    /// Why.
    #[source]
    pub error: SendError,
}

/// A new room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its number.
    pub room: RoomNo,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Where its events were put, in their order.
    pub events: Vec<Placed>,
}
