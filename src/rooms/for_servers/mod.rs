//! What other servers may read of a room (server-server API, "Backfilling and retrieving missing events", "Retrieving
//! events").
//!
//! Every read begins with [`ServerAccess`]: a server reads only rooms in which a user of its own is or was joined, and whose
//! access control list lets it in. One that is out of the room reads from the events on at which it was in it, back from its
//! own leave: others may not have reached it with what only it can tell, or it was put out by an event whose history it lacks.
//! Which events a server gets whole is decided by [`visibility`]; of others it gets what a redaction would leave, as it needs
//! their place in the graph.

mod large;
mod state;
pub mod visibility;
mod walk;

use bytes::Bytes;
use ruma::{EventId, OwnedServerName, RoomId, ServerName};
use thiserror::Error;

use self::visibility::ServerEyes;
pub use self::{
    large::{Large, LargeReads},
    state::{event_auth, joined, state, state_ids},
    walk::{MOST_BACKFILLED, MOST_MISSING, Missing, backfill, missing_events},
};
use crate::{
    event::{Pdu, Rules, server_acl::ServerAcl, version},
    graph::{Direction, Event, Head, Reader, RoomNo, Status, Tie},
    store::{ReadError, View},
};

/// Why a server does not get what it asks for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ServerAccessError {
    /// This server does not know the room, or none of the other's users is in it, or was at the event in question: which of
    /// these is not said.
    #[error("none of your users is in this room")]
    NotInRoom,
    /// The room's `m.room.server_acl` keeps the server out.
    #[error("the room's access control list does not let your server in")]
    Denied,
    /// There is no such event in the room, or nothing is known of its place there.
    #[error("no such event is known in this room")]
    UnknownEvent,
    /// The answer would be larger than others take.
    #[error("the answer would be too large")]
    TooLarge,
    /// Too much that was read for others still waits to be sent.
    #[error("too much is being read")]
    Busy,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A room that a server may read.
#[derive(Debug)]
pub struct ServerAccess {
    room: RoomNo,
    head: Head,
    rules: &'static Rules,
    eyes: ServerEyes,
    /// A user of the server is joined now.
    is_in: bool,
}

impl ServerAccess {
    /// Of a server to a room. One that has left reads only what was there while it was in it: see `begins_at`.
    pub fn to_room(
        reader: &Reader,
        view: &View<'_>,
        room_id: &RoomId,
        server: &ServerName,
    ) -> Result<Self, ServerAccessError> {
        let (room, head) = reader.room(view, room_id)?.ok_or(ServerAccessError::NotInRoom)?;
        Self::checked(reader, view, (room, head), server)
    }

    /// Of a server to the room of an event, and the event. Whether the server may not read the room, or the event is not
    /// known, is not said.
    pub fn to_event(
        reader: &Reader,
        view: &View<'_>,
        event_id: &EventId,
        server: &ServerName,
    ) -> Result<(Self, Event), ServerAccessError> {
        let unknown = ServerAccessError::UnknownEvent;
        let at = reader.locate(view, event_id)?.ok_or_else(|| unknown.clone())?;
        let head = reader.head(view, at.room)?.ok_or_else(|| unknown.clone())?;
        let mut access = Self::checked(reader, view, (at.room, head), server).map_err(|error| match error {
            ServerAccessError::NotInRoom | ServerAccessError::Denied => unknown.clone(),
            error => error,
        })?;
        let event = reader.event_in(view, at.room, event_id)?.ok_or_else(|| unknown.clone())?;
        // What is in a state that `/state` gives whole is given alone, too.
        let is_of_state = access.is_in && event.meta.status == Status::Outlier && event.state_key.is_some();
        let is_open = is_of_state || is_served(&event) && access.begins_at(reader, view, &event)?;
        if is_open { Ok((access, event)) } else { Err(unknown) }
    }

    fn checked(
        reader: &Reader,
        view: &View<'_>,
        (room, head): (RoomNo, Head),
        server: &ServerName,
    ) -> Result<Self, ServerAccessError> {
        let rules = version::rules(&head.room_version).ok_or(ServerAccessError::NotInRoom)?;
        let row = reader.server(view, room, server)?.filter(|_| !head.is_blocked);
        let is_in = row.ok_or(ServerAccessError::NotInRoom)?.joined_users > 0;
        if !acl_allows(reader, view, (room, &head), server)? {
            return Err(ServerAccessError::Denied);
        }
        let eyes = ServerEyes::of(room, OwnedServerName::from(server));
        Ok(Self { room, head, rules, eyes, is_in })
    }

    /// An event that has a place in the graph of this room, from which on the server may read back. Not one of another room, one
    /// that was only fetched to authorise others, or one that was rejected: of these nothing is said.
    fn event(&mut self, reader: &Reader, view: &View<'_>, event_id: &EventId) -> Result<Event, ServerAccessError> {
        let event = reader.event_in(view, self.room, event_id)?.filter(is_served);
        match event {
            Some(event) if self.begins_at(reader, view, &event)? => Ok(event),
            _ if self.is_in => Err(ServerAccessError::UnknownEvent),
            _ => Err(ServerAccessError::NotInRoom),
        }
    }

    /// Whether the server may read the room back from this event on: it is in the room now, or was at the event. By its own
    /// leave, or the ban that put it out, it was; by what came after, it was not.
    fn begins_at(&mut self, reader: &Reader, view: &View<'_>, event: &Event) -> Result<bool, ReadError> {
        Ok(self.is_in || self.eyes.was_in(reader, view, event)?)
    }

    /// The event as the server gets it: whole if it may see it, else what a redaction would leave.
    pub fn shown(&mut self, reader: &Reader, view: &View<'_>, event: &Event) -> Result<Option<Bytes>, ReadError> {
        if self.eyes.sees(reader, view, event)? {
            return Ok(Some(event.body.pdu.clone()));
        }
        // What can't be redacted is no event of its room version, and would help nobody.
        Ok(event.body.redacted(self.rules).ok().map(|event| event.pdu))
    }

    /// A stored event, parsed; `None` if it does not parse.
    fn pdu(&self, event: &Event) -> Option<Pdu> {
        Pdu::from_stored(event.event_id.clone(), event.body.pdu.clone(), self.rules).ok()
    }

    /// The accepted event that is the nearest to a time: its id, and its own time, in ms. Both stand in its redacted form,
    /// so the history visibility is not asked.
    pub fn nearest_by_time(
        &self,
        reader: &Reader,
        view: &View<'_>,
        ts: u64,
        direction: Direction,
    ) -> Result<Event, ServerAccessError> {
        if !self.is_in {
            return Err(ServerAccessError::NotInRoom);
        }
        let found = reader.nearest_by_time(view, self.room, ts, direction)?;
        let (_, seq) = found.ok_or(ServerAccessError::UnknownEvent)?;
        reader.event(view, self.room, seq)?.ok_or(ServerAccessError::UnknownEvent)
    }
}

/// Whether a room's current `m.room.server_acl` lets a server take part (server-server API, "Server Access Control Lists").
pub fn acl_allows(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    server: &ServerName,
) -> Result<bool, ReadError> {
    Ok(acl(reader, view, (room, head))?.allows(server))
}

/// A room's current `m.room.server_acl`; without one it lets everybody in.
pub fn acl(reader: &Reader, view: &View<'_>, (room, head): (RoomNo, &Head)) -> Result<ServerAcl, ReadError> {
    let Some(event) = reader.state_event(view, room, head.root, "m.room.server_acl", "")? else {
        return Ok(ServerAcl::everybody());
    };
    let rules = version::rules(&head.room_version);
    let pdu = rules.and_then(|rules| Pdu::from_stored(event.body.event_id, event.body.pdu, rules).ok());
    // INVARIANT: a stored event of a known version parses; whom a list lets in that can't be read is not known.
    Ok(pdu.map_or_else(ServerAcl::nobody, |pdu| ServerAcl::of(&pdu)))
}

/// Whether what comes before an event is known, so that it stands somewhere in the graph.
fn has_place(event: &Event) -> bool {
    event.meta.tie != Tie::default()
}

/// Whether an event is shown to other servers at all: soft-failed ones are, since others may have accepted them.
fn is_served(event: &Event) -> bool {
    has_place(event) && event.meta.status.counts_in_state()
}
