//! `/rooms/{roomId}/receipt/{receiptType}/{eventId}`, `/read_markers` and `/typing/{userId}`.

use std::time::Duration;

use ::http::Method;
use ruma::api::client::{
    read_marker::set_read_marker,
    typing::create_typing_event::{self, v3::Typing},
};
use serde_json::Value;

use super::{raw, room};
use crate::{
    app::App,
    flows::receipts::{self, Markers},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::{Access, AccessError},
        receipts::{ReceiptType, Thread},
    },
};

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/receipt/{{type}}/{{event_id}}");
        routes.raw(Method::POST, &path, RateClass::Light, create_receipt);
    }
    routes.add::<set_read_marker::v3::Request, _, _>(RateClass::Light, set_read_markers);
    routes.add::<create_typing_event::v3::Request, _, _>(RateClass::Light, set_typing);
}

async fn create_receipt(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, event_id) = (raw::room_id(&request)?, room::event_id(&request)?);
    let body: Value = raw::parse(&request.body)?;
    let kind = match request.arg("type")? {
        "m.read" => Some(ReceiptType::Read),
        "m.read.private" => Some(ReceiptType::Private),
        "m.fully_read" => None,
        _ => return Err(Refusal::invalid_param("this server knows no such type of receipt")),
    };
    let thread = match (body.get("thread_id"), kind) {
        (None, _) => Thread::Unthreaded,
        (Some(_), None) => return Err(Refusal::invalid_param("`m.fully_read` has no `thread_id`")),
        (Some(thread_id), Some(_)) => {
            let thread = thread_id.as_str().and_then(Thread::parse);
            thread.ok_or_else(|| Refusal::invalid_param("`thread_id` must be `main` or the id of an event"))?
        }
    };
    let markers = match kind {
        Some(kind) => Markers { receipts: vec![(kind, thread, event_id)], fully_read: None },
        None => Markers { receipts: Vec::new(), fully_read: Some(event_id) },
    };
    receipts::mark(&app, &caller.user_id, room_id, markers).await?;
    Ok(Json::empty())
}

async fn set_read_markers(
    app: App,
    caller: Caller,
    request: set_read_marker::v3::Request,
) -> Result<set_read_marker::v3::Response, Refusal> {
    let receipt = |kind, event_id: Option<ruma::OwnedEventId>| Some((kind, Thread::Unthreaded, event_id?));
    let receipts =
        [receipt(ReceiptType::Read, request.read_receipt), receipt(ReceiptType::Private, request.private_read_receipt)];
    let receipts = receipts.into_iter().flatten().collect();
    let markers = Markers { receipts, fully_read: request.fully_read };
    receipts::mark(&app, &caller.user_id, request.room_id, markers).await?;
    Ok(set_read_marker::v3::Response::new())
}

/// How long a client types that does not say.
const TYPING: Duration = Duration::from_secs(30);

async fn set_typing(
    app: App,
    caller: Caller,
    request: create_typing_event::v3::Request,
) -> Result<create_typing_event::v3::Response, Refusal> {
    if request.user_id != caller.user_id {
        return Err(Refusal::forbidden("you can only type for yourself"));
    }
    let (room_id, user_id) = (request.room_id, caller.user_id.clone());
    let find = app
        .rooms
        .read(move |reader, view| Ok::<_, AccessError>(Access::as_member(reader, view, &room_id, &user_id)?.room));
    let room = find.await?;
    match request.state {
        Typing::Yes(typing) if typing.timeout.is_zero() => app.typing.start(room, &caller.user_id, TYPING),
        Typing::Yes(typing) => app.typing.start(room, &caller.user_id, typing.timeout),
        Typing::No => app.typing.stop(room, &caller.user_id),
    }
    Ok(create_typing_event::v3::Response::new())
}
