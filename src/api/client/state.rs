//! `/rooms/{roomId}/state`: all of it, or one entry.

use ::http::Method;
use serde_json::json;

use super::{raw, room, send};
use crate::{
    app::App,
    base::json_writer::Array,
    flows::{new_state::NewState, set_state},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::{Access, AccessError},
        events,
    },
};

/// Events that are read at once.
const CHUNK: usize = 1_000;

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let state = format!("/_matrix/client/{version}/rooms/{{room_id}}/state");
        routes.raw(Method::GET, &state, RateClass::Heavy, get_state);
        // An empty state key may be left out, with or without its slash.
        for path in [format!("{state}/{{type}}"), format!("{state}/{{type}}/"), format!("{state}/{{type}}/{{key}}")] {
            routes.raw(Method::GET, &path, RateClass::Light, get_state_for_key);
            routes.raw(Method::PUT, &path, RateClass::Send, set_state_for_key);
        }
    }
}

async fn get_state(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let read = app.rooms.read(move |reader, view| {
        let mut access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let entries = reader.state(view, access.room, access.root())?;
        let mut out = Vec::new();
        let mut array = Array::begin(&mut out);
        for chunk in entries.chunks(CHUNK) {
            let wanted: Vec<_> = chunk.iter().map(|(_, seq)| (access.room, *seq)).collect();
            let state: Vec<_> = reader.events(view, &wanted)?.into_iter().flatten().collect();
            room::all(
                &mut array,
                &events::write_state(reader, view, &mut access.eyes, &recipient, &state, Some(&room_id))?,
            );
        }
        array.end();
        Ok::<_, AccessError>(out)
    });
    Ok(Json::text(read.await?))
}

async fn get_state_for_key(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let (kind, state_key) = entry(&request)?;
    let whole = match request.query_value("format").as_deref() {
        None | Some("content") => false,
        Some("event") => true,
        Some(_) => return Err(Refusal::invalid_param("`format` must be `content` or `event`")),
    };
    let read = app.rooms.read(move |reader, view| {
        let mut access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let event = reader.state_event(view, access.room, access.root(), &kind, &state_key)?;
        let Some(event) = event else { return Ok(None) };
        if !whole {
            return Ok(Some(event.content().to_vec()));
        }
        let written = events::write_state(
            reader,
            view,
            &mut access.eyes,
            &recipient,
            std::slice::from_ref(&event),
            Some(&room_id),
        )?;
        Ok::<_, AccessError>(written.into_iter().next())
    });
    read.await?.map(Json::text).ok_or_else(|| Refusal::not_found("the room has no such state"))
}

async fn set_state_for_key(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    send::refuse_delay(&request)?;
    let room_id = raw::room_id(&request)?;
    let (kind, state_key) = entry(&request)?;
    let timestamp = room::timestamp(&caller, &request)?;
    let state = NewState { timestamp, ..NewState::new(kind, state_key, send::content(&request)?) };
    let event_id = set_state::set_state(&app, &room::sender(&caller), room_id, state).await?;
    Ok(Json::of(&json!({ "event_id": event_id })))
}

/// Type and state key of the path.
fn entry(request: &RawRequest) -> Result<(String, String), Refusal> {
    let state_key = request.args.iter().find(|(name, _)| name == "key").map(|(_, value)| value.clone());
    Ok((request.arg("type")?.to_owned(), state_key.unwrap_or_default()))
}
