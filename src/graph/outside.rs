//! What a local user is to a room that this server is not in: invited, knocking, or no longer so.
//!
//! Nobody outside of a room can say who may invite there. So each server that invites stands for itself: its invite takes the
//! place of none of another's, and only it takes it back. The user is shown the oldest that stands.

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    event_row::StoredEvent,
    keys::{OUTSIDE, OUTSIDE_OF_USER, bounded},
    read::Reader,
    rows::{OutsideRow, UserRoom},
    types::{Membership, RoomNo},
};
use crate::{
    event::{Pdu, version},
    store::{ReadError, View},
};

/// The event that made a local user's standing in a room that this server is not in, and what is known of the room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outside {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub room_version: RoomVersionId,
    /// The membership event: whole, as servers exchange it.
    event: Box<RawValue>,
    /// Its id.
    event_id: OwnedEventId,
    /// What is told of the room, as clients get it: stripped state events.
    pub stripped: Vec<Box<RawValue>>,
    /// Servers that may be in the room.
    pub via: Vec<OwnedServerName>,
}

/// The most bytes of stripped state that are kept.
const MOST_STRIPPED: usize = 16 << 10;
/// The largest event that is kept. An invite has some hundred bytes, and what those of a user say is told at once.
const LARGEST_EVENT: usize = 16 << 10;
/// Invites and knocks of a user that wait at the same time, of all servers.
pub const MOST_PENDING: usize = 500;
/// … and of one server.
pub const MOST_OF_SERVER: usize = 50;
/// Leaves and bans of a user that are kept for the user's clients.
pub(super) const MOST_OVER: usize = 200;

impl Outside {
    /// Of an event whose signatures hold, and that is not too large. Stripped state beyond a bound is left out, the last
    /// first. The first of the servers is the one that it came from.
    pub fn new(
        pdu: &Pdu,
        room_version: RoomVersionId,
        mut stripped: Vec<Box<RawValue>>,
        via: Vec<OwnedServerName>,
    ) -> Option<Self> {
        if pdu.json().len() > LARGEST_EVENT {
            return None;
        }
        let mut bytes = 0_usize;
        stripped.retain(|event| {
            bytes = bytes.saturating_add(event.get().len());
            bytes <= MOST_STRIPPED
        });
        let event = serde_json::from_slice(pdu.json()).ok()?;
        let (room_id, event_id) = (pdu.room_id().to_owned(), pdu.event_id().to_owned());
        Some(Self { room_id, room_version, event, event_id, stripped, via })
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

    /// The server that it came from, as it stands in keys.
    pub(super) fn key(&self) -> Option<String> {
        Some(bounded(self.via.first()?.as_str()).into_owned())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn of(row: &OutsideRow) -> Option<Self> {
        serde_json::from_slice(&row.told).ok()
    }
}

/// Rows of one user and one room that are read: one for each server that has invited them.
const MOST_SERVERS: usize = 100;
/// Servers of which one is asked to let the user in.
const MOST_VIA: usize = 20;

impl Reader {
    /// What came from outside for these users' rooms, in their order; `None` where nothing did. One wave.
    pub fn outside_of<'a>(
        &self,
        view: &View<'_>,
        user: &UserId,
        rows: impl IntoIterator<Item = (RoomNo, &'a UserRoom)>,
    ) -> Result<Vec<Option<Outside>>, ReadError> {
        let (user, rows): (_, Vec<_>) = (bounded(user.as_str()), rows.into_iter().collect());
        let keys = rows.iter().filter_map(|(room, row)| Some((*room, &*user, row.outside.as_deref()?)));
        let mut found = view.multi_get(&OUTSIDE, keys)?.into_iter();
        let of = |(_, row): (RoomNo, &UserRoom)| {
            row.outside.as_ref()?;
            Outside::of(&found.next()??)
        };
        Ok(rows.into_iter().map(of).collect())
    }

    /// What came from outside for a user and a room, if the user's row is of that: what is shown, with the servers of
    /// everything else that came.
    pub fn outside(
        &self,
        view: &View<'_>,
        user: &UserId,
        (room, row): (RoomNo, &UserRoom),
    ) -> Result<Option<Outside>, ReadError> {
        let Some(shown) = &row.outside else { return Ok(None) };
        let user = bounded(user.as_str());
        let page = view.scan(&OUTSIDE.span(&(room, &*user)), MOST_SERVERS)?;
        let mut rows = page.rows;
        rows.sort_by_key(|((_, _, server), row)| (server != shown, row.position));
        let mut told = rows.iter().filter_map(|(_, row)| Outside::of(row));
        let Some(mut outside) = told.next() else { return Ok(None) };
        for server in told.flat_map(|other| other.via) {
            if outside.via.len() < MOST_VIA && !outside.via.contains(&server) {
                outside.via.push(server);
            }
        }
        Ok(Some(outside))
    }

    /// What came from one server for a user and a room.
    pub fn outside_by(
        &self,
        view: &View<'_>,
        user: &UserId,
        (room, server): (RoomNo, &ServerName),
    ) -> Result<Option<(Membership, Outside)>, ReadError> {
        let row = view.get(&OUTSIDE, &(room, &*bounded(user.as_str()), &*bounded(server.as_str())))?;
        Ok(row.and_then(|row| Some((row.membership, Outside::of(&row)?))))
    }

    /// How many invites and knocks of a user wait for an answer, of rooms that this server is not in.
    pub fn pending_outside(&self, view: &View<'_>, user: &UserId) -> Result<usize, ReadError> {
        let page = view.scan(&OUTSIDE_OF_USER.span(&(&*bounded(user.as_str()),)), MOST_PENDING + MOST_OVER)?;
        Ok(page.rows.iter().filter(|(_, at)| !at.is_over).count())
    }
}

/// A local user's standing in a room that this server is not in changes.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The user.
    pub user_id: OwnedUserId,
    /// `invite`, `knock`, `leave` or `ban`.
    pub membership: Membership,
    /// By which event. It came from the first of its servers.
    pub outside: Outside,
    /// Whose doing it is.
    pub by: By,
    /// Only if this event made the standing that the user has: the one that is shown, or, if another server does it, that by
    /// this server.
    pub instead_of: Option<OwnedEventId>,
}

/// Whose doing a change from outside is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The user's own: nothing else stands any more.
    User,
    /// The other server's: what further servers say stands as it stood.
    Server,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Stood {
    /// It is so now.
    Yes,
    /// This server is in the room: its graph says what the user is there.
    InRoom(RoomNo),
    /// The user has another standing than the one that this was to change.
    Otherwise,
    /// Too much waits for the user. If it is this server of whom there is too much, the oldest of it comes along.
    Crowded(Option<Box<Outside>>),
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
