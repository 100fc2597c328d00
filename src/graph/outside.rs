//! What a local user is to a room that this server is not in: invited, knocking, or no longer so.

use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    event_row::StoredEvent,
    rows::UserRoom,
    types::{Membership, RoomNo},
};
use crate::event::{Pdu, version};

/// The event that made a local user's standing in a room that this server is not in, and what is known of the room. It
/// is kept with the user's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outside {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub room_version: RoomVersionId,
    /// The membership event: whole, as servers exchange it.
    event: Box<RawValue>,
    /// Its id.
    event_id: ruma::OwnedEventId,
    /// What is told of the room, as clients get it: stripped state events.
    pub stripped: Vec<Box<RawValue>>,
    /// Servers that may be in the room.
    pub via: Vec<OwnedServerName>,
}

/// The most bytes of stripped state that are kept: with the largest event they still fit a row.
const MOST_STRIPPED: usize = 24 << 10;

impl Outside {
    /// Of an event whose signatures hold. Stripped state beyond a bound is left out, the last first.
    pub fn new(
        pdu: &Pdu,
        room_version: RoomVersionId,
        mut stripped: Vec<Box<RawValue>>,
        via: Vec<OwnedServerName>,
    ) -> Option<Self> {
        let mut bytes = 0_usize;
        stripped.retain(|event| {
            bytes = bytes.saturating_add(event.get().len());
            bytes <= MOST_STRIPPED
        });
        let event = serde_json::from_slice(pdu.json()).ok()?;
        let (room_id, event_id) = (pdu.room_id().to_owned(), pdu.event_id().to_owned());
        Some(Self { room_id, room_version, event, event_id, stripped, via })
    }

    /// What a row says, if it is of a standing from outside.
    pub fn of(row: &UserRoom) -> Option<Self> {
        serde_json::from_slice(row.out_of_band.as_deref()?).ok()
    }

    /// The membership event.
    pub fn pdu(&self) -> Option<Pdu> {
        let rules = version::rules(&self.room_version)?;
        Pdu::from_stored(self.event_id.clone(), self.event.get().to_owned().into(), rules).ok()
    }

    /// The membership event as events are stored.
    pub fn event(&self) -> Option<StoredEvent> {
        self.pdu().map(|pdu| StoredEvent::of(&pdu))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A local user's standing in a room that this server is not in changes.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The user.
    pub user_id: OwnedUserId,
    /// `invite`, `knock`, `leave` or `ban`.
    pub membership: Membership,
    /// By which event.
    pub outside: Outside,
    /// Only if this event made the standing that they have.
    pub instead_of: Option<ruma::OwnedEventId>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// It is so now.
    Yes,
    /// This server is in the room: its graph says what the user is there.
    InRoom(RoomNo),
    /// The user has another standing than the one that this was to change.
    Otherwise,
}

impl Outside {
    /// The id of the membership event.
    pub fn event_id(&self) -> &ruma::EventId {
        &self.event_id
    }

    /// The room.
    pub fn room_id(&self) -> &RoomId {
        &self.room_id
    }
}
