//! `/rooms/{roomId}/timestamp_to_event`: where in the history of a room a time is.

use ::http::Method;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    flows::room_error::RoomError,
    graph::{Direction, Event, Reader, RoomNo},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::access::Access,
    store::View,
};

/// Events that are looked at, the nearest first, for one that the user may see.
const MOST_LOOKED_AT: usize = 500;

pub(super) fn routes(routes: &mut Routes) {
    for version in ["v1", "unstable/org.matrix.msc3030"] {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/timestamp_to_event");
        routes.raw(Method::GET, &path, RateClass::Heavy, get_event_by_timestamp);
    }
}

async fn get_event_by_timestamp(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let direction = room::direction(&request)?.ok_or_else(|| Refusal::missing_param("`dir` is missing"))?;
    let ts = request.query_value("ts").ok_or_else(|| Refusal::missing_param("`ts` is missing"))?;
    let ts: u64 = ts.parse().map_err(|_| Refusal::invalid_param("`ts` must be a time in milliseconds"))?;
    let nearest = |room_id: OwnedRoomId, user_id: OwnedUserId| {
        app.rooms.read(move |reader, view| nearest(reader, view, (&room_id, &user_id), (ts, direction)))
    };
    let (room, mut event) = nearest(room_id.clone(), recipient.user_id.clone()).await?;
    // Another server may know a nearer one, where history is not whole here.
    let own = event.as_ref().map(|event| event.origin_server_ts);
    if own != Some(ts) && app.inbox.fetch_near(room, (ts, direction), own).await {
        event = nearest(room_id, recipient.user_id).await?.1;
    }
    let event = event.ok_or(RoomError::UnknownEvent)?;
    Ok(Json::text(json_writer::object(|reply| {
        reply.value("event_id", event.event_id.as_str());
        reply.value("origin_server_ts", &event.origin_server_ts);
    })))
}

/// The event nearest to a time that the user may see, of those that are here; and the room.
fn nearest(
    reader: &Reader,
    view: &View<'_>,
    (room_id, user_id): (&RoomId, &UserId),
    (ts, direction): (u64, Direction),
) -> Result<(RoomNo, Option<Event>), RoomError> {
    let mut access = Access::to_read(reader, view, room_id, user_id)?;
    for seq in reader.by_time(view, (access.room, ts), direction, MOST_LOOKED_AT)? {
        let Some(event) = reader.event(view, access.room, seq)? else { continue };
        if access.eyes.look_at(reader, view, &event)?.is_some() {
            return Ok((access.room, Some(event)));
        }
    }
    Ok((access.room, None))
}
