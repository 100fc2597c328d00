//! `PUT /_matrix/federation/v1/invite/{roomId}/{eventId}` and `PUT …/v2/invite/…`
//!
//! Read by hand: what is told of the room may be absent, or odd, and ruma's type of version 1 loses most of the event.

use ::http::Method;
use ruma::{EventId, RoomId, RoomVersionId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    app::App,
    base::json_writer,
    federation::{Origin, joining::invite::Asked},
    flows::invite::invited,
    http::{Json, RateClass, RawRequest, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    let path = |version| format!("/_matrix/federation/{version}/invite/{{room_id}}/{{event_id}}");
    routes.raw(Method::PUT, &path("v1"), RateClass::Federation, invite_v1);
    routes.raw(Method::PUT, &path("v2"), RateClass::Federation, invite_v2);
}

async fn invite(
    app: &App,
    origin: &Origin,
    request: &RawRequest,
    (room_version, event, told): (RoomVersionId, &RawValue, Option<&RawValue>),
) -> Result<Vec<u8>, Refusal> {
    let room_id = RoomId::parse(request.arg("room_id")?);
    let room_id = room_id.map_err(|_| Refusal::invalid_param("this is no room id"))?;
    let event_id = EventId::parse(request.arg("event_id")?);
    let event_id = event_id.map_err(|_| Refusal::invalid_param("this is no event id"))?;
    // What is told of the room is for the user's eyes: of an odd list nothing is.
    let room_state = told.and_then(|told| serde_json::from_str(told.get()).ok()).unwrap_or_default();
    let asked = Asked { origin, room_id: &room_id, event_id: &event_id, room_version, event, room_state };
    let signed = invited(app, asked).await?;
    Ok(json_writer::object(|reply| reply.raw("event", signed.json())))
}

async fn invite_v2(app: App, origin: Origin, request: RawRequest) -> Result<Json, Refusal> {
    #[derive(Deserialize)]
    struct Body<'a> {
        room_version: RoomVersionId,
        #[serde(borrow)]
        event: &'a RawValue,
        #[serde(borrow, default)]
        invite_room_state: Option<&'a RawValue>,
    }
    let body: Body<'_> =
        serde_json::from_slice(request.object()?).map_err(|error| Refusal::bad_json(error.to_string()))?;
    let parts = (body.room_version, body.event, body.invite_room_state);
    Ok(Json::text(invite(&app, &origin, &request, parts).await?))
}

/// Version 1 is for rooms of versions 1 and 2, whose events are alike.
async fn invite_v1(app: App, origin: Origin, request: RawRequest) -> Result<Json, Refusal> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Unsigned<'a> {
        #[serde(borrow)]
        invite_room_state: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        unsigned: Option<&'a RawValue>,
    }
    let wrong = |error: serde_json::Error| Refusal::bad_json(error.to_string());
    let event: &RawValue = serde_json::from_slice(request.object()?).map_err(wrong)?;
    let body: Body<'_> = serde_json::from_str(event.get()).map_err(wrong)?;
    let unsigned: Option<Unsigned<'_>> = body.unsigned.and_then(|unsigned| serde_json::from_str(unsigned.get()).ok());
    let told = unsigned.and_then(|unsigned| unsigned.invite_room_state);
    let signed = invite(&app, &origin, &request, (RoomVersionId::V1, event, told)).await?;
    Ok(Json::text([&b"[200,"[..], &signed, b"]"].concat()))
}
