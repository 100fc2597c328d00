//! Handshakes about memberships: joining, leaving and knocking through a server that is in the room, and inviting across
//! servers (server-server API, "Joining Rooms" to "Leaving Rooms").
//!
//! - [`resident`]: what this server does for users of others who want into its rooms
//! - `template`: the event of a user of ours, from what a resident server says of it
//! - [`join`]: joining through another server; [`outside`]: leaving and knocking through one
//! - [`invite`]: inviting users of others, and being invited by them
//!
//! Whatever another server says, the event that this one signs is its own: taken from a template is only what the resident
//! server alone can know.

pub mod invite;
pub mod join;
pub mod outside;
pub mod resident;
mod stripped;
mod taken_back;
mod template;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId, RoomVersionId};
use thiserror::Error;

use super::{Client, ClientError, Federation, Keys};
use crate::{
    ephemeral::typing::Typing,
    event::version,
    graph::{AdoptError, Graph, SendError},
    rooms::Rooms,
    store::ReadError,
};

/// Why a handshake with another server came to nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// The other server did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What the other server says is not what the specification says.
    #[error("{0}")]
    Malformed(String),
    /// The room is of a version that this server does not know.
    #[error("room version {0} is not supported")]
    UnknownVersion(RoomVersionId),
    /// The room that it tells of cannot be.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The event could not be made, or not be kept.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Handshakes with other servers. Cheap to clone.
#[derive(Clone)]
pub struct Handshakes(Arc<Inner>);

struct Inner {
    federation: Federation,
    graph: Graph,
    rooms: Rooms,
    typing: Typing,
    turns: Mutex<HashMap<OwnedRoomId, Weak<tokio::sync::Mutex<()>>>>,
}

/// Nobody else's turn at a room, until it is dropped.
pub type Turn = tokio::sync::OwnedMutexGuard<()>;

impl Handshakes {
    /// Handshakes about these rooms.
    pub fn new(federation: &Federation, graph: &Graph, rooms: &Rooms, typing: &Typing) -> Self {
        Self(Arc::new(Inner {
            federation: federation.clone(),
            graph: graph.clone(),
            rooms: rooms.clone(),
            typing: typing.clone(),
            turns: Mutex::default(),
        }))
    }

    /// Waits for a turn at a room: of several local users who join it through others at the same time, the first brings the
    /// room, and the rest find it here.
    pub async fn turn(&self, room_id: &RoomId) -> Turn {
        let mutex = {
            let mut turns = self.0.turns.lock();
            let waiting = turns.get(room_id).and_then(Weak::upgrade);
            waiting.unwrap_or_else(|| {
                turns.retain(|_, turn| turn.strong_count() > 0);
                let fresh = Arc::default();
                turns.insert(room_id.to_owned(), Arc::downgrade(&fresh));
                fresh
            })
        };
        mutex.lock_owned().await
    }

    fn client(&self) -> &Client {
        self.0.federation.client()
    }

    fn keys(&self) -> &Keys {
        self.0.federation.keys()
    }
}

/// The room versions that this server can take part in, as `ver` of a request.
fn versions() -> Vec<RoomVersionId> {
    version::SUPPORTED.to_vec()
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshakes({:?})", self.0.federation)
    }
}
