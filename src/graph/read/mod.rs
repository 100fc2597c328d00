//! Reading rooms: everything that the layers above read of the graph, over one snapshot.
//!
//! Reads come in forms for one and for many; a loop over rooms or events collects its keys and asks once.

mod auth;
mod events;
mod members;
mod order;
mod state;

use std::sync::Arc;

use ruma::RoomId;

pub(super) use self::state::StoredNodes;
pub use self::{
    events::Event,
    members::{MemberPage, ServerPage},
    order::{Direction, Place},
    state::Changed,
};
use super::{
    cache::Cache,
    head::Head,
    keys::{HEAD, ROOM_BY_ID, bounded},
    types::RoomNo,
};
use crate::store::{ReadError, View};

/// Reads the graph through its cache. Cheap to clone, so that a closure of `store.read` can have one.
#[derive(Clone, Debug)]
pub struct Reader {
    cache: Arc<Cache>,
}

impl Reader {
    /// Reads through `cache`.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache }
    }

    /// The cache.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The number of a room that this server knows.
    pub fn room_no(&self, view: &View<'_>, room_id: &RoomId) -> Result<Option<RoomNo>, ReadError> {
        view.get(&ROOM_BY_ID, &(&*bounded(room_id.as_str()),))
    }

    /// The head of a room.
    pub fn head(&self, view: &View<'_>, room: RoomNo) -> Result<Option<Head>, ReadError> {
        view.get(&HEAD, &(room,))
    }

    /// The heads of many rooms, in their order.
    pub fn heads(&self, view: &View<'_>, rooms: &[RoomNo]) -> Result<Vec<Option<Head>>, ReadError> {
        view.multi_get(&HEAD, rooms.iter().map(|room| (*room,)))
    }

    /// Number and head of a room by its id.
    pub fn room(&self, view: &View<'_>, room_id: &RoomId) -> Result<Option<(RoomNo, Head)>, ReadError> {
        let Some(room) = self.room_no(view, room_id)? else { return Ok(None) };
        Ok(self.head(view, room)?.map(|head| (room, head)))
    }
}
