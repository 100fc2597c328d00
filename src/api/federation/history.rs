//! `GET /_matrix/federation/v1/backfill/{roomId}`, `POST …/get_missing_events/{roomId}` and
//! `GET …/timestamp_to_event/{roomId}`

use ruma::api::{
    Direction as RumaDirection,
    federation::{
        backfill::get_backfill::v1 as get_backfill,
        event::{get_event_by_timestamp::v1 as get_event_by_timestamp, get_missing_events::v1 as get_missing_events},
    },
};

use super::event::transaction;
use crate::{
    app::App,
    base::json_writer,
    federation::Origin,
    graph::Direction,
    http::{Json, RateClass, Refusal, Routes},
    rooms::for_servers::{self, Missing, ServerAccess},
};

/// Events before which others are missing, in one request. Servers name one, or a few.
const MOST_LATEST: usize = 100;
/// Events that a server has, in one request.
const MOST_EARLIEST: usize = 1_000;

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_backfill::Request, _, _>(RateClass::Federation, backfill);
    routes.add::<get_missing_events::Request, _, _>(RateClass::Federation, missing_events);
    routes.add::<get_event_by_timestamp::Request, _, _>(RateClass::Federation, timestamp_to_event);
}

async fn backfill(app: App, origin: Origin, request: get_backfill::Request) -> Result<Json, Refusal> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let read = app.rooms.read(move |reader, view| {
        let mut access = ServerAccess::to_room(reader, view, &request.room_id, &origin)?;
        for_servers::backfill(&mut access, reader, view, &request.v, limit)
    });
    let pdus = read.await?;
    Ok(transaction(&app, &pdus))
}

async fn missing_events(app: App, origin: Origin, request: get_missing_events::Request) -> Result<Json, Refusal> {
    if request.latest_events.len() > MOST_LATEST || request.earliest_events.len() > MOST_EARLIEST {
        return Err(Refusal::too_large("Too many events are named at once"));
    }
    let wanted = Missing {
        latest: request.latest_events,
        earliest: request.earliest_events,
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        min_depth: request.min_depth.into(),
    };
    let read = app.rooms.read(move |reader, view| {
        let mut access = ServerAccess::to_room(reader, view, &request.room_id, &origin)?;
        for_servers::missing_events(&mut access, reader, view, &wanted)
    });
    let events = read.await?;
    Ok(Json::text(json_writer::object(|reply| {
        reply.array("events", |array| events.iter().for_each(|event| array.raw(event)));
    })))
}

async fn timestamp_to_event(
    app: App,
    origin: Origin,
    request: get_event_by_timestamp::Request,
) -> Result<Json, Refusal> {
    let direction = match request.dir {
        RumaDirection::Forward => Direction::Forward,
        RumaDirection::Backward => Direction::Backward,
    };
    let read = app.rooms.read(move |reader, view| {
        let access = ServerAccess::to_room(reader, view, &request.room_id, &origin)?;
        access.nearest_by_time(reader, view, request.ts.get().into(), direction)
    });
    let event = read.await?;
    Ok(Json::text(json_writer::object(|reply| {
        reply.value("event_id", event.event_id.as_str());
        reply.value("origin_server_ts", &event.origin_server_ts);
    })))
}
