//! What a server gets that has missed events: of each room that it shares the last ones, not all. It asks for what lies
//! between by itself, as for any event whose previous events it lacks.

use std::collections::BTreeMap;

use ruma::{ServerName, UserId};

use super::queue::Item;
use crate::{
    graph::{Event, Head, Reader, RoomNo, RoomServer, Seq, Status},
    store::{Position, ReadError, View},
};

/// Rooms that are looked at together.
const ROOMS: usize = 50;
/// The most extremities of a room that are sent.
const MOST_EXTREMITIES: usize = 10;
/// The most events of a room that a server gets which is not in it any more.
const MOST_MISSED: usize = 200;

/// Some rooms of a server.
pub(super) struct CatchUpPage {
    /// Their last events that the server has missed, those of a room in the order of arrival.
    pub(super) events: Vec<Item>,
    /// Those in which it is, and since when receipts of them are to be told.
    pub(super) receipts: BTreeMap<RoomNo, Position>,
    /// Behind which room the next page begins; `None` if there is none.
    pub(super) next: Option<RoomNo>,
}

/// What a server has missed since the commit `from`, in the rooms behind `after`.
pub(super) fn page(
    reader: &Reader,
    view: &View<'_>,
    server: &ServerName,
    from: Position,
    after: Option<RoomNo>,
) -> Result<CatchUpPage, ReadError> {
    let rooms = reader.server_rooms(view, server, (after, ROOMS))?;
    let next = rooms.rows.last().map(|(room, _)| *room).filter(|_| rooms.more);
    let shared: Vec<(RoomNo, RoomServer)> = rooms.rows.into_iter().filter(|(_, row)| row.left >= from).collect();
    let numbers: Vec<RoomNo> = shared.iter().map(|(room, _)| *room).collect();
    let mut page = CatchUpPage { events: Vec::new(), receipts: BTreeMap::new(), next };
    for ((room, row), head) in shared.into_iter().zip(reader.heads(view, &numbers)?) {
        let Some(head) = head else { continue };
        let is_in = row.left == RoomServer::STILL;
        if is_in {
            page.receipts.insert(room, from);
        }
        if head.last_relayed_position < from {
            continue;
        }
        if is_in {
            page.events.extend(extremities(reader, view, (room, &head), from.max(row.joined))?);
        } else {
            page.events.extend(farewell(reader, view, server, room, (from.max(row.joined), row.left))?);
        }
    }
    Ok(page)
}

/// The events of a room that nothing follows yet. Also those of others: whoever asks for what is before them gets to all
/// of ours.
fn extremities(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    from: Position,
) -> Result<Vec<Item>, ReadError> {
    let youngest = head.extremities.iter().rev().take(MOST_EXTREMITIES);
    let wanted: Vec<(RoomNo, Seq)> = youngest.map(|seq| (room, *seq)).collect();
    let metas = reader.metas(view, &wanted)?;
    let items = wanted.into_iter().zip(metas).filter_map(|((room, seq), meta)| {
        let position = meta?.position();
        (position >= from).then_some(Item { position, room, seq })
    });
    let mut items: Vec<Item> = items.collect();
    items.sort_unstable();
    Ok(items)
}

/// What a server gets of a room in which it is not any more: all that it has missed up to the event by which it left, as it
/// may not ask for what lies between.
fn farewell(
    reader: &Reader,
    view: &View<'_>,
    server: &ServerName,
    room: RoomNo,
    (from, left): (Position, Position),
) -> Result<Vec<Item>, ReadError> {
    let after = Position(from.0.saturating_sub(1));
    let arrived = reader.log_back(view, room, after, left, MOST_MISSED)?.rows;
    let wanted: Vec<(RoomNo, Seq)> = arrived.into_iter().map(|(_, logged)| (room, logged.seq)).collect();
    let mut events: Vec<Event> = reader.events(view, &wanted)?.into_iter().flatten().collect();
    // In the commit by which it left, what lies behind the last leave is not for it.
    if let Some(last) = events.iter().position(|event| event.meta.position() == left && takes_leave(event, server)) {
        events.drain(..last);
    }
    if !events.iter().any(|event| event.meta.relay) {
        return Ok(Vec::new());
    }
    let item = |event: Event| Item { position: event.meta.position(), room, seq: event.seq };
    Ok(events.into_iter().rev().filter(|event| event.meta.status == Status::Accepted).map(item).collect())
}

/// Whether an event says that a user of a server is not in the room (any more).
pub(super) fn takes_leave(event: &Event, server: &ServerName) -> bool {
    membership_of(event).is_some_and(|(user, joins)| !joins && user.server_name() == server)
}

/// Whom a membership event is about, and whether it says that they are in the room.
pub(super) fn membership_of(event: &Event) -> Option<(&UserId, bool)> {
    #[derive(serde::Deserialize)]
    struct Content {
        membership: String,
    }
    if event.kind != "m.room.member" {
        return None;
    }
    let user = <&UserId>::try_from(event.state_key.as_deref()?).ok()?;
    let content: Content = serde_json::from_slice(event.content()).ok()?;
    Some((user, content.membership == "join"))
}
