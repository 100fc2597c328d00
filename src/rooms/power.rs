//! What the members of a room may do.

use crate::{
    event::{Pdu, power::PowerLevels, version},
    graph::{Event, Head, Reader, RoomNo},
    store::{ReadError, View},
};

/// The power levels of a room's current state; `None` if the room has no create event that can be read.
pub fn power_levels(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
) -> Result<Option<PowerLevels>, ReadError> {
    let Some(rules) = version::rules(&head.room_version) else { return Ok(None) };
    let pdu = |event: Event| Pdu::from_stored(event.body.event_id, event.body.pdu, rules).ok();
    let create = reader.state_event(view, room, head.root, "m.room.create", "")?.and_then(pdu);
    let levels = reader.state_event(view, room, head.root, "m.room.power_levels", "")?.and_then(pdu);
    Ok(create.map(|create| PowerLevels::new(&create, levels.as_ref(), rules)))
}
