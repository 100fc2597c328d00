//! Joining, leaving and knocking for users of other servers: `/make_join`, `/send_join`, `/make_leave`, `/send_leave`,
//! `/make_knock` and `/send_knock`

use ::http::Method;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, RoomId,
    api::federation::membership::{
        create_join_event::v2 as send_join, create_knock_event::v1 as send_knock, create_leave_event::v2 as send_leave,
        prepare_join_event::v1 as make_join, prepare_knock_event::v1 as make_knock,
        prepare_leave_event::v1 as make_leave,
    },
};
use serde_json::{json, value::RawValue};

use crate::{
    app::App,
    base::json_writer,
    federation::{
        Origin,
        joining::resident::{Made, ResidentError, Wanted},
    },
    graph::Membership,
    http::{Json, RateClass, RawRequest, Refusal, Routes},
    rooms::for_servers::Large,
};

/// What was removed from the specification with version 1.18, and older servers still send.
const V1: &str = "/_matrix/federation/v1";

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<make_join::Request, _, _>(RateClass::Federation, prepare_join);
    routes.add::<make_leave::Request, _, _>(RateClass::Federation, prepare_leave);
    routes.add::<make_knock::Request, _, _>(RateClass::Federation, prepare_knock);
    routes.add::<send_join::Request, _, _>(RateClass::Federation, join);
    routes.add::<send_leave::Request, _, _>(RateClass::Federation, leave);
    routes.add::<send_knock::Request, _, _>(RateClass::Federation, knock);
    routes.raw(Method::PUT, &format!("{V1}/send_join/{{room_id}}/{{event_id}}"), RateClass::Federation, join_v1);
    routes.raw(Method::PUT, &format!("{V1}/send_leave/{{room_id}}/{{event_id}}"), RateClass::Federation, leave_v1);
}

fn wanted(origin: &Origin, room_id: OwnedRoomId, membership: Membership) -> Wanted {
    Wanted { origin: (**origin).to_owned(), room_id, membership }
}

fn made(made: &Made) -> Json {
    Json::text(json_writer::object(|reply| {
        reply.raw("event", made.event.get().as_bytes());
        reply.value("room_version", made.room_version.as_str());
    }))
}

async fn prepare_join(app: App, origin: Origin, request: make_join::Request) -> Result<Json, Refusal> {
    let wanted = wanted(&origin, request.room_id, Membership::Join);
    Ok(made(&app.handshakes.make(wanted, request.user_id, Some(request.ver)).await?))
}

async fn prepare_leave(app: App, origin: Origin, request: make_leave::Request) -> Result<Json, Refusal> {
    let wanted = wanted(&origin, request.room_id, Membership::Leave);
    Ok(made(&app.handshakes.make(wanted, request.user_id, None).await?))
}

async fn prepare_knock(app: App, origin: Origin, request: make_knock::Request) -> Result<Json, Refusal> {
    let wanted = wanted(&origin, request.room_id, Membership::Knock);
    Ok(made(&app.handshakes.make(wanted, request.user_id, Some(request.ver)).await?))
}

async fn take_join(
    app: &App,
    origin: &Origin,
    (room_id, event_id): (OwnedRoomId, OwnedEventId),
    pdu: &RawValue,
) -> Result<Large, ResidentError> {
    let placed = app.handshakes.take(wanted(origin, room_id, Membership::Join), &event_id, pdu).await?;
    app.handshakes.joined(&placed).await
}

async fn join(app: App, origin: Origin, request: send_join::Request) -> Result<Json, Refusal> {
    let large = take_join(&app, &origin, (request.room_id, request.event_id), &request.pdu).await?;
    Ok(Json::text(large.json).holding(large.share))
}

async fn leave(app: App, origin: Origin, request: send_leave::Request) -> Result<Json, Refusal> {
    let wanted = wanted(&origin, request.room_id, Membership::Leave);
    app.handshakes.take(wanted, &request.event_id, &request.pdu).await?;
    Ok(Json::empty())
}

async fn knock(app: App, origin: Origin, request: send_knock::Request) -> Result<Json, Refusal> {
    let wanted = wanted(&origin, request.room_id, Membership::Knock);
    let placed = app.handshakes.take(wanted, &request.event_id, &request.pdu).await?;
    let state = app.handshakes.knocked(&placed).await?;
    Ok(Json::text(json_writer::object(|reply| {
        reply.array("knock_room_state", |array| state.iter().for_each(|event| array.raw(event)));
    })))
}

/// The room, the event's id and the event of a request that no type of ruma's is for.
fn sent(request: &RawRequest) -> Result<((OwnedRoomId, OwnedEventId), Box<RawValue>), Refusal> {
    let room_id = RoomId::parse(request.arg("room_id")?);
    let room_id = room_id.map_err(|_| Refusal::invalid_param("this is no room id"))?;
    let event_id = EventId::parse(request.arg("event_id")?);
    let event_id = event_id.map_err(|_| Refusal::invalid_param("this is no event id"))?;
    let pdu = serde_json::from_slice(request.object()?).map_err(|error| Refusal::not_json(error.to_string()))?;
    Ok(((room_id, event_id), pdu))
}

async fn join_v1(app: App, origin: Origin, request: RawRequest) -> Result<Json, Refusal> {
    let (of, pdu) = sent(&request)?;
    let large = take_join(&app, &origin, of, &pdu).await?;
    let json = [&b"[200,"[..], &large.json, b"]"].concat();
    Ok(Json::text(json).holding(large.share))
}

async fn leave_v1(app: App, origin: Origin, request: RawRequest) -> Result<Json, Refusal> {
    let ((room_id, event_id), pdu) = sent(&request)?;
    app.handshakes.take(wanted(&origin, room_id, Membership::Leave), &event_id, &pdu).await?;
    Ok(Json::of(&json!([200, {}])))
}
