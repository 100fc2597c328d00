//! `PUT /rooms/{roomId}/send/{eventType}/{txnId}` and `PUT /rooms/{roomId}/redact/{eventId}/{txnId}`.
//!
//! Read by hand: an event's type must stay as the client wrote it, and ruma's types know more than one name for some.

use ::http::Method;
use ruma::canonical_json::{CanonicalJsonObject, CanonicalJsonValue};
use serde_json::json;

use super::{raw, room};
use crate::{
    app::App,
    event::json,
    flows::send::{self, Message, Transaction},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
};

/// The longest transaction id, in bytes.
const LONGEST_TXN_ID: usize = 255;

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let rooms = format!("/_matrix/client/{version}/rooms/{{room_id}}");
        routes.raw(Method::PUT, &format!("{rooms}/send/{{type}}/{{txn_id}}"), RateClass::Send, send_message);
        routes.raw(Method::PUT, &format!("{rooms}/redact/{{event_id}}/{{txn_id}}"), RateClass::Send, redact);
    }
}

async fn send_message(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    refuse_delay(&request)?;
    let (room_id, kind) = (raw::room_id(&request)?, request.arg("type")?.to_owned());
    let content = content(&request)?;
    let timestamp = room::timestamp(&caller, &request)?;
    let message = Message { timestamp, ..Message::new(kind.clone(), content)? };
    let transaction = transaction(&request, ["send", room_id.as_str(), &kind])?;
    let answering = app.sync.answering(&caller.user_id, caller.device_id.as_deref());
    let event_id = send::send(&app, &room::sender(&caller), room_id, message, transaction).await?;
    Ok(Json::of(&json!({ "event_id": event_id })).holding(answering))
}

async fn redact(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, target) = (raw::room_id(&request)?, room::event_id(&request)?);
    let mut content =
        if request.body.trim_ascii().is_empty() { CanonicalJsonObject::new() } else { content(&request)? };
    content.remove("redacts");
    if content.get("reason").is_some_and(|reason| !matches!(reason, CanonicalJsonValue::String(_))) {
        return Err(Refusal::bad_json("`reason` must be a string"));
    }
    let transaction = transaction(&request, ["redact", room_id.as_str(), target.as_str()])?;
    let message = Message::redaction(target, content);
    let answering = app.sync.answering(&caller.user_id, caller.device_id.as_deref());
    let event_id = send::send(&app, &room::sender(&caller), room_id, message, transaction).await?;
    Ok(Json::of(&json!({ "event_id": event_id })).holding(answering))
}

/// The content of an event, from a body.
pub(super) fn content(request: &RawRequest) -> Result<CanonicalJsonObject, Refusal> {
    if request.body.trim_ascii().is_empty() {
        return Err(Refusal::not_json("The body is not JSON"));
    }
    let body = request.object()?;
    json::parse(body).map_err(|error| match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => Refusal::bad_json(error.to_string()),
        Err(_) => Refusal::not_json("The body is not JSON"),
    })
}

/// Delayed events (MSC4140) are not offered yet: sent at once they would be what the client did not ask for.
pub(super) fn refuse_delay(request: &RawRequest) -> Result<(), Refusal> {
    if request.query_value("org.matrix.msc4140.delay").is_some() {
        return Err(Refusal::custom(
            ::http::StatusCode::BAD_REQUEST,
            "M_UNRECOGNIZED",
            "delayed events are not offered by this server",
        ));
    }
    Ok(())
}

fn transaction(request: &RawRequest, endpoint: [&str; 3]) -> Result<Transaction, Refusal> {
    let txn_id = request.arg("txn_id")?.to_owned();
    if txn_id.is_empty() || txn_id.len() > LONGEST_TXN_ID {
        return Err(Refusal::invalid_param("a transaction id has 1 to 255 bytes"));
    }
    Ok(Transaction { endpoint: endpoint.map(str::to_owned), txn_id })
}
