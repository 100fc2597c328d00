//! Whether a room lets guests in (client-server API, "Guest access"), and where somebody must look after it.

use super::{content, keys::GUESTS_DUE};
use crate::{
    graph::{Reader, RoomNo},
    store::{Batch, ReadError, View},
};

/// The type of the state event that says so.
pub const GUEST_ACCESS: &str = "m.room.guest_access";

/// Whether the content of an `m.room.guest_access` lets guests in.
pub fn is_open(content: &[u8]) -> bool {
    content::text(content, "guest_access").as_deref() == Some("can_join")
}

/// Whether a room lets guests in, by its current state.
pub fn of_room(reader: &Reader, view: &View<'_>, room: RoomNo) -> Result<bool, ReadError> {
    let root = reader.root(view, room)?;
    Ok(reader.state_event(view, room, root, GUEST_ACCESS, "")?.is_some_and(|event| is_open(event.content())))
}

/// Notes, in the commit that may leave guests in a room that is not for them, that somebody must look. `number` must differ
/// from that of an earlier note which nobody has looked after yet.
pub fn note_due(batch: &mut Batch, room: RoomNo, number: u64) {
    batch.put(&GUESTS_DUE, &(room,), &number);
}

/// The number of the last note on a room, if there is one.
pub fn due(view: &View<'_>, room: RoomNo) -> Result<Option<u64>, ReadError> {
    view.get(&GUESTS_DUE, &(room,))
}

/// Up to `limit` rooms that are to be looked after, behind `after` if given.
pub fn all_due(view: &View<'_>, after: Option<RoomNo>, limit: usize) -> Result<Vec<RoomNo>, ReadError> {
    let mut span = GUESTS_DUE.span(&());
    if let Some(after) = after {
        span = span.after(&(after,));
    }
    Ok(view.scan(&span, limit)?.rows.into_iter().map(|((room,), _)| room).collect())
}

/// The room was looked after, up to the note with this number; the commit fails with a conflict if there was another since.
pub fn done(batch: &mut Batch, room: RoomNo, number: u64) {
    batch.assert_is(&GUESTS_DUE, &(room,), &number);
    batch.delete(&GUESTS_DUE, &(room,));
}
