//! Whether a user may read a room at all, and as of when.

use ruma::{RoomId, UserId};
use thiserror::Error;

use super::{
    ignored::Ignored,
    visibility::{Eyes, HistoryVisibility, Standing},
};
use crate::{
    graph::{Head, Reader, RoomNo, Root},
    store::{ReadError, View},
};

/// Why a user may not read a room.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AccessError {
    /// This server does not know the room, or the user has nothing to do with it: which of the two is not said.
    #[error("you are not in this room")]
    NotInRoom,
    /// The user may read the room, but not as it was then.
    #[error("you may not see the room as it was then")]
    NotThen,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A room that a user may read.
#[derive(Debug)]
pub struct Access {
    /// The room.
    pub room: RoomNo,
    /// Its head.
    pub head: Head,
    /// The user's view of its history.
    pub eyes: Eyes,
}

impl Access {
    /// Of a user who is joined, was joined, or peeks into a room that anybody may read (client-server API, "Room
    /// Previews").
    pub fn to_read(reader: &Reader, view: &View<'_>, room_id: &RoomId, user_id: &UserId) -> Result<Self, AccessError> {
        let mut access = Self::to_history(reader, view, room_id, user_id)?;
        if matches!(access.eyes.standing(), Standing::Outside | Standing::Forgotten) {
            let root = access.head.root;
            if access.eyes.moment(reader, view, root)?.visibility != HistoryVisibility::WorldReadable {
                return Err(AccessError::NotInRoom);
            }
        }
        Ok(access)
    }

    /// Of a user who is joined.
    pub fn as_member(
        reader: &Reader,
        view: &View<'_>,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Self, AccessError> {
        let access = Self::to_history(reader, view, room_id, user_id)?;
        if access.eyes.standing() == Standing::Joined { Ok(access) } else { Err(AccessError::NotInRoom) }
    }

    /// Of anybody: the history visibility decides on each event.
    pub fn to_history(
        reader: &Reader,
        view: &View<'_>,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Self, AccessError> {
        let (room, head) = reader.room(view, room_id)?.ok_or(AccessError::NotInRoom)?;
        let eyes = Eyes::of(reader, view, room, user_id)?;
        Ok(Self { room, head, eyes })
    }

    /// The same, of a user who ignores others.
    pub fn ignoring(self, ignored: Ignored) -> Self {
        Self { eyes: self.eyes.ignoring(ignored), ..self }
    }

    /// The newest state that the user may see: the current one, or that of their leave.
    pub fn root(&self) -> Root {
        match self.eyes.standing() {
            Standing::Left { root, .. } => root,
            Standing::Joined | Standing::Outside | Standing::Forgotten => self.head.root,
        }
    }
}
