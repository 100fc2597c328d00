//! `GET /_matrix/federation/v1/state/{roomId}`, `…/state_ids/{roomId}` and `…/event_auth/{roomId}/{eventId}`

use ruma::{
    EventId, OwnedEventId, OwnedRoomId,
    api::federation::{
        authorization::get_event_authorization::v1 as get_event_authorization,
        event::{get_room_state::v1 as get_room_state, get_room_state_ids::v1 as get_room_state_ids},
    },
};

use crate::{
    app::App,
    federation::Origin,
    graph::Reader,
    http::{Json, RateClass, Refusal, Routes},
    rooms::for_servers::{self, ServerAccess, ServerAccessError},
    store::View,
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_room_state::Request, _, _>(RateClass::Federation, state);
    routes.add::<get_room_state_ids::Request, _, _>(RateClass::Federation, state_ids);
    routes.add::<get_event_authorization::Request, _, _>(RateClass::Federation, event_auth);
}

/// What answers from a room that the server may read, and an event's id.
type Read = fn(&mut ServerAccess, &Reader, &View<'_>, &EventId) -> Result<Vec<u8>, ServerAccessError>;

async fn answer(
    app: &App,
    origin: Origin,
    (room_id, event_id): (OwnedRoomId, OwnedEventId),
    read: Read,
) -> Result<Json, Refusal> {
    let reading = app.rooms.read(move |reader, view| {
        let mut access = ServerAccess::to_room(reader, view, &room_id, &origin)?;
        read(&mut access, reader, view, &event_id)
    });
    let large = app.rooms.large_reads().take(reading).await?;
    Ok(Json::text(large.json).holding(large.share))
}

async fn state(app: App, origin: Origin, request: get_room_state::Request) -> Result<Json, Refusal> {
    answer(&app, origin, (request.room_id, request.event_id), for_servers::state).await
}

async fn state_ids(app: App, origin: Origin, request: get_room_state_ids::Request) -> Result<Json, Refusal> {
    answer(&app, origin, (request.room_id, request.event_id), for_servers::state_ids).await
}

async fn event_auth(app: App, origin: Origin, request: get_event_authorization::Request) -> Result<Json, Refusal> {
    answer(&app, origin, (request.room_id, request.event_id), for_servers::event_auth).await
}
