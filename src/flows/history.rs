//! Reading history: where it has a hole, other servers are asked for what is missing before the reader is answered.

use std::sync::Arc;

use super::room_error::RoomError;
use crate::{
    app::App,
    federation::inbox::Hole,
    graph::{Reader, RoomNo, Seq},
    store::View,
};

/// Holes that are filled for one reader.
const MOST_HOLES: usize = 3;

/// What was read, and the deepest hole in it: the room, depth and number of the event above it.
pub type Read<T> = (T, Option<(RoomNo, (u64, Seq))>);

/// Reads; has a hole in it filled, and reads again. What can't be had is left out; what can be had, but only with more time
/// than one reader gets, is where the page ends: `read` is told the depth at which to cut it.
///
/// # Errors
/// Those of reading.
pub async fn read<T: Send + 'static>(
    app: &App,
    read: impl Fn(&Reader, &View<'_>, Option<u64>) -> Result<Read<T>, RoomError> + Send + Sync + 'static,
) -> Result<T, RoomError> {
    let (read, mut filled, mut cut) = (Arc::new(read), 0_usize, None);
    loop {
        let again = Arc::clone(&read);
        let (page, hole) = app.rooms.read(move |reader, view| again(reader, view, cut)).await?;
        let Some((room, (depth, seq))) = hole.filter(|_| cut.is_none()) else { return Ok(page) };
        if filled >= MOST_HOLES {
            cut = Some(depth);
            continue;
        }
        if !app.inbox.backfill(Hole { room, depth, seq }).await {
            return Ok(page);
        }
        filled = filled.saturating_add(1);
    }
}
