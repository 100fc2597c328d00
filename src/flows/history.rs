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

/// Reads; has a hole in it filled, and reads again. What can't be had is left out.
///
/// # Errors
/// Those of reading.
pub async fn read<T: Send + 'static>(
    app: &App,
    read: impl Fn(&Reader, &View<'_>) -> Result<Read<T>, RoomError> + Send + Sync + 'static,
) -> Result<T, RoomError> {
    let (read, mut filled) = (Arc::new(read), 0_usize);
    loop {
        let again = Arc::clone(&read);
        let (page, hole) = app.rooms.read(move |reader, view| again(reader, view)).await?;
        let Some((room, (depth, seq))) = hole.filter(|_| filled < MOST_HOLES) else { return Ok(page) };
        if !app.inbox.backfill(Hole { room, depth, seq }).await {
            return Ok(page);
        }
        filled = filled.saturating_add(1);
    }
}
