//! `/rooms/{roomId}/timestamp_to_event`: where in the history of a room a time is.

use ::http::Method;

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    flows::room_error::RoomError,
    graph::Direction,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::access::Access,
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
    let direction = match request.query_value("dir").as_deref() {
        Some("b") => Direction::Backward,
        Some("f") => Direction::Forward,
        Some(_) => return Err(Refusal::invalid_param("`dir` must be `b` or `f`")),
        None => return Err(Refusal::missing_param("`dir` is missing")),
    };
    let ts = request.query_value("ts").ok_or_else(|| Refusal::missing_param("`ts` is missing"))?;
    let ts: u64 = ts.parse().map_err(|_| Refusal::invalid_param("`ts` must be a time in milliseconds"))?;
    let read = app.rooms.read(move |reader, view| {
        let mut access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let nearest = reader.by_time(view, (access.room, ts), direction, MOST_LOOKED_AT)?;
        for seq in nearest {
            let Some(event) = reader.event(view, access.room, seq)? else { continue };
            if access.eyes.look_at(reader, view, &event)?.is_some() {
                return Ok(event);
            }
        }
        Err(RoomError::UnknownEvent)
    });
    let event = read.await?;
    Ok(Json::text(json_writer::object(|reply| {
        reply.value("event_id", event.event_id.as_str());
        reply.value("origin_server_ts", &event.origin_server_ts);
    })))
}
