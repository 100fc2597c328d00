//! Saying up to where one has read.

use ruma::{EventId, OwnedEventId, OwnedRoomId, UserId};
use serde_json::value::to_raw_value;

use super::room_error::RoomError;
use crate::{
    app::App,
    graph::{Event, Reader, RoomNo},
    rooms::{
        access::Access,
        content,
        receipts::{self, ReceiptType, Thread},
    },
    store::{Batch, ReadError, View},
    users::account_data,
};

const FULLY_READ: &str = "m.fully_read";

/// What a user has read.
#[derive(Clone, Debug, Default)]
pub struct Markers {
    /// Receipts to move.
    pub receipts: Vec<(ReceiptType, Thread, OwnedEventId)>,
    /// The read marker (`m.fully_read`), which nobody else sees.
    pub fully_read: Option<OwnedEventId>,
}

/// Moves receipts and the read marker, in one commit. What would move back, and what names an unknown event, is left as
/// it is.
pub async fn mark(app: &App, user_id: &UserId, room_id: OwnedRoomId, markers: Markers) -> Result<(), RoomError> {
    let (user_id, reader, clock) = (user_id.to_owned(), app.rooms.reader().clone(), app.clock.clone());
    let mark = move |view: &View<'_>, batch: &mut Batch| {
        let room = Access::as_member(&reader, view, &room_id, &user_id)?.room;
        let mut moved = false;
        for (kind, thread, event_id) in &markers.receipts {
            let receipt = (*kind, thread, &**event_id, clock.now());
            moved |= receipts::put(&reader, view, batch, (room, &user_id), receipt)?;
        }
        if moved {
            receipts::record(batch, room);
        }
        if let Some(event_id) = &markers.fully_read
            && is_ahead(&reader, view, room, (&user_id, &room_id), event_id)?
        {
            let content = serde_json::json!({ "event_id": event_id });
            // INVARIANT: an id is always JSON.
            let Ok(content) = to_raw_value(&content) else { return Ok(()) };
            account_data::set(view, batch, &user_id, (Some(&room_id), FULLY_READ), &content)?;
        }
        Ok(())
    };
    app.users.change(mark).await
}

/// Whether an event lies behind the one that the read marker names now.
fn is_ahead(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    (user_id, room_id): (&UserId, &OwnedRoomId),
    event_id: &EventId,
) -> Result<bool, ReadError> {
    let Some(new) = reader.event_in(view, room, event_id)?.filter(Event::is_accepted) else { return Ok(false) };
    let now = account_data::get(view, user_id, Some(room_id), FULLY_READ)?;
    let now = now.and_then(|now| content::text(now.as_bytes(), "event_id"));
    let Some(now) = now.and_then(|now| EventId::parse(now).ok()) else { return Ok(true) };
    let place = |event: &Event| (event.meta.depth, event.meta.tie);
    Ok(reader.event_in(view, room, &now)?.is_none_or(|now| place(&now) < place(&new)))
}
