//! `GET /_matrix/federation/v1/event/{eventId}`

use bytes::Bytes;
use ruma::api::federation::event::get_event::v1 as get_event;

use crate::{
    app::App,
    base::json_writer,
    federation::Origin,
    http::{Json, RateClass, Refusal, Routes},
    rooms::for_servers::{ServerAccess, ServerAccessError},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_event::Request, _, _>(RateClass::Federation, get);
}

async fn get(app: App, origin: Origin, request: get_event::Request) -> Result<Json, Refusal> {
    let read = app.rooms.read(move |reader, view| {
        let (mut access, event) = ServerAccess::to_event(reader, view, &request.event_id, &origin)?;
        access.shown(reader, view, &event)?.ok_or(ServerAccessError::UnknownEvent)
    });
    let pdu = read.await?;
    Ok(transaction(&app, &[pdu]))
}

/// Events as a transaction of this server.
pub(super) fn transaction(app: &App, pdus: &[Bytes]) -> Json {
    Json::text(json_writer::object(|reply| {
        reply.value("origin", &app.server_name);
        reply.value("origin_server_ts", &app.clock.now());
        reply.array("pdus", |array| pdus.iter().for_each(|pdu| array.raw(pdu)));
    }))
}
