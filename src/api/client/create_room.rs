//! `POST /createRoom`.

use ::http::Method;
use ruma::{
    OwnedRoomId,
    api::client::room::{
        Visibility,
        create_room::v3::{Request, Response, RoomPreset},
    },
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::value::RawValue;

use super::room;
use crate::{
    app::App,
    event::json,
    flows::{
        create_room::{self, NewRoom, Preset},
        new_state::NewState,
    },
    http::{Caller, RateClass, RawRequest, Refusal, Routes},
    rooms,
};

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let path = format!("/_matrix/client/{version}/createRoom");
        routes.raw(Method::POST, &path, RateClass::Send, create_room);
    }
}

async fn create_room(app: App, caller: Caller, request: RawRequest) -> Result<Response, Refusal> {
    refuse_odd_version(&request)?;
    let request: Request = request.typed()?;
    let new = read(&app, &caller, request)?;
    let room_id: OwnedRoomId = create_room::create_room(&app, caller.appservice(), new).await?;
    Ok(Response::new(room_id))
}

/// Before ruma's type sees it.
fn refuse_odd_version(request: &RawRequest) -> Result<(), Refusal> {
    let version = rooms::content::text(request.object()?, "room_version");
    version.map_or(Ok(()), |version| room::version(version).map(drop))
}

fn read(app: &App, caller: &Caller, request: Request) -> Result<NewRoom, Refusal> {
    if !request.invite_3pid.is_empty() {
        return Err(crate::flows::room_error::RoomError::NoThirdPartyInvites.into());
    }
    let published = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(Refusal::invalid_param("`visibility` must be `public` or `private`")),
    };
    let preset = match request.preset {
        None if published => Preset::PublicChat,
        None | Some(RoomPreset::PrivateChat) => Preset::PrivateChat,
        Some(RoomPreset::PublicChat) => Preset::PublicChat,
        Some(RoomPreset::TrustedPrivateChat) => Preset::TrustedPrivateChat,
        Some(_) => return Err(Refusal::invalid_param("this server knows no such `preset`")),
    };
    let object = |name: &str, raw: Option<&RawValue>| match raw {
        None => Ok(CanonicalJsonObject::new()),
        Some(raw) => content(name, raw),
    };
    let creation_content = object("creation_content", request.creation_content.as_ref().map(|raw| raw.json()))?;
    let power_levels =
        object("power_level_content_override", request.power_level_content_override.as_ref().map(|raw| raw.json()))?;
    let initial_state = request.initial_state.iter().map(|raw| initial_state(raw.json())).collect::<Result<_, _>>()?;
    Ok(NewRoom {
        creator: caller.user_id.clone(),
        version: request.room_version.unwrap_or_else(|| app.config.rooms.default_version.clone()),
        preset,
        creation_content,
        power_levels,
        initial_state,
        name: request.name.filter(|name| !name.is_empty()),
        topic: request.topic.filter(|topic| !topic.is_empty()),
        alias_name: request.room_alias_name,
        invite: request.invite,
        is_direct: request.is_direct,
        published,
    })
}

fn content(name: &str, raw: &RawValue) -> Result<CanonicalJsonObject, Refusal> {
    json::parse(raw.get().as_bytes()).map_err(|error| Refusal::bad_json(format!("`{name}`: {error}")))
}

fn initial_state(raw: &RawValue) -> Result<NewState, Refusal> {
    let bad = || Refusal::bad_json("`initial_state` must hold objects with `type`, `content` and perhaps `state_key`");
    let mut event = content("initial_state", raw)?;
    let Some(CanonicalJsonValue::String(kind)) = event.remove("type") else { return Err(bad()) };
    let Some(CanonicalJsonValue::Object(content)) = event.remove("content") else { return Err(bad()) };
    let state_key = match event.remove("state_key") {
        None => String::new(),
        Some(CanonicalJsonValue::String(state_key)) => state_key,
        Some(_) => return Err(bad()),
    };
    Ok(NewState::new(kind, state_key, content))
}
