//! `GET /_matrix/federation/v1/query/{queryType}`: `profile` and `directory`

use ::http::Method;
use ruma::api::federation::query::{
    get_profile_information::v1 as get_profile_information, get_room_information::v1 as get_room_information,
};

use super::super::client::profile;
use crate::{
    app::App,
    federation::Origin,
    flows::room_error::RoomError,
    http::{Json, RateClass, RawRequest, Refusal, Routes},
    rooms::aliases,
};

/// The most servers that are named as residents of a room.
const MOST_SERVERS: usize = 250;

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_profile_information::Request, _, _>(RateClass::Federation, get_profile);
    routes.add::<get_room_information::Request, _, _>(RateClass::Federation, get_room);
    routes.raw(Method::GET, "/_matrix/federation/v1/query/{query_type}", RateClass::Federation, get_other);
}

async fn get_profile(app: App, _: Origin, request: get_profile_information::Request) -> Result<Json, Refusal> {
    if !app.users.is_local(&request.user_id) {
        return Err(Refusal::invalid_param("this is no user of this server"));
    }
    let mut profile = profile::of_local(&app, request.user_id).await?;
    if let Some(field) = request.field {
        profile.0.retain(|name, _| name == field.as_str());
    }
    Ok(Json::text(profile::object(&profile.0)))
}

/// The room that an alias of ours names, and servers that are in it: this one first, as it answers for the alias.
async fn get_room(app: App, _: Origin, request: get_room_information::Request) -> Result<Json, Refusal> {
    let own = app.server_name.to_string();
    let find = app.rooms.read(move |reader, view| {
        let alias = aliases::get(view, &request.room_alias)?.ok_or(RoomError::UnknownAlias)?;
        let head = reader.head(view, alias.room)?.ok_or(RoomError::UnknownAlias)?;
        let servers = reader.servers(view, alias.room)?.into_iter();
        let joined: Vec<String> = servers.filter(|(_, row)| row.joined_users > 0).map(|(server, _)| server).collect();
        Ok::<_, RoomError>((head.room_id, joined))
    });
    let (room_id, joined) = find.await?;
    let (here, there): (Vec<_>, Vec<_>) = joined.into_iter().partition(|server| *server == own);
    let servers: Vec<_> = here.into_iter().chain(there).take(MOST_SERVERS).collect();
    Ok(Json::of(&serde_json::json!({ "room_id": room_id, "servers": servers })))
}

/// Other types of queries are not known.
async fn get_other(_: App, _: Origin, _: RawRequest) -> Result<Json, Refusal> {
    Err(Refusal::unrecognized())
}
