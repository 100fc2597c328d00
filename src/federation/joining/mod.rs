//! Handshakes about memberships: joining, leaving and knocking through a server that is in the room, and inviting across
//! servers (server-server API, "Joining Rooms" to "Leaving Rooms").
//!
//! - [`resident`]: what this server does for users of others who want into its rooms
//! - `template`: the event of a user of ours, from what a resident server says of it
//! - [`join`]: joining through another server, `answer`: what it says of the room, `under_way`: which rooms are being joined; [`outside`]: leaving and knocking through one
//! - [`invite`]: inviting users of others, and being invited by them
//!
//! Whatever another server says, the event that this one signs is its own: taken from a template is only what the resident
//! server alone can know.

mod answer;
pub mod invite;
mod invite_budget;
pub mod join;
pub mod outside;
pub mod resident;
mod stripped;
mod taken_back;
mod template;
mod under_way;

use std::{fmt, sync::Arc};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId};
use thiserror::Error;
use tokio::sync::Semaphore;

use self::invite_budget::InviteBudgets;
pub(super) use self::under_way::UnderWay;
use super::{
    Client, ClientError, Federation, Keys, PolicyServers,
    turns::{self, Turns},
};
use crate::{
    ephemeral::typing::Typing,
    event::version,
    graph::{AdoptError, Graph, Reader, SendError},
    rooms::Rooms,
    store::{ReadError, View},
};

/// Rooms that a user joins through others at once.
const JOINS_OF_A_USER: usize = 4;
/// The same, with those that wait.
const MOST_JOINS_OF_A_USER: usize = 64;
/// Attempts of a user to join one room, with those that wait.
const MOST_ATTEMPTS: usize = 4;
/// Joins whose answers are on their way at once: each may be 100 MB.
const MOST_ANSWERS: usize = 16;

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
    policy: PolicyServers,
    typing: Typing,
    invites: InviteBudgets,
    /// Answers of the size of a room's state that are on their way.
    answers: Semaphore,
    rooms_turns: Turns<OwnedRoomId>,
    users_turns: Turns<OwnedUserId>,
    attempts: Turns<(OwnedUserId, OwnedRoomId)>,
}

/// Nobody else's turn at a room, until it is dropped.
pub struct Turn<'a> {
    _room: Option<turns::Turn<'a, OwnedRoomId>>,
}

/// An attempt to join, until it is dropped.
pub struct Attempt<'a> {
    _room: turns::Turn<'a, (OwnedUserId, OwnedRoomId)>,
    _user: turns::Turn<'a, OwnedUserId>,
}

impl Handshakes {
    /// Handshakes about these rooms.
    pub fn new(
        (federation, policy): (&Federation, &PolicyServers),
        graph: &Graph,
        rooms: &Rooms,
        typing: &Typing,
    ) -> Self {
        Self(Arc::new(Inner {
            federation: federation.clone(),
            graph: graph.clone(),
            rooms: rooms.clone(),
            policy: policy.clone(),
            typing: typing.clone(),
            invites: InviteBudgets::new(),
            answers: Semaphore::new(MOST_ANSWERS),
            rooms_turns: Turns::of(1, usize::MAX),
            users_turns: Turns::of(JOINS_OF_A_USER, MOST_JOINS_OF_A_USER),
            attempts: Turns::of(1, MOST_ATTEMPTS),
        }))
    }

    /// Waits for a turn at a room: of several local users who join it through others at the same time, the first brings the
    /// room, and the rest find it here.
    pub async fn turn(&self, room_id: &RoomId) -> Turn<'_> {
        Turn { _room: self.0.rooms_turns.take(&room_id.to_owned()).await }
    }

    /// Waits for leave to begin an attempt of a user to join a room through others: one at a time for each room, a few for all
    /// rooms, so that nobody keeps others waiting by attempts that take long. `None` if too many wait already.
    pub async fn attempt(&self, user_id: &UserId, room_id: &RoomId) -> Option<Attempt<'_>> {
        let room = self.0.attempts.take(&(user_id.to_owned(), room_id.to_owned())).await?;
        let user = self.0.users_turns.take(&user_id.to_owned()).await?;
        Some(Attempt { _room: room, _user: user })
    }

    /// Whether this server is in a room.
    async fn is_here(&self, room_id: &RoomId) -> Result<bool, ReadError> {
        let room_id = room_id.to_owned();
        let read = move |reader: &Reader, view: &View<'_>| reader.room(view, &room_id);
        Ok(self.0.rooms.read(read).await?.is_some_and(|(_, head)| !head.is_left))
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

/// A segment of a path.
fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshakes({:?})", self.0.federation)
    }
}
