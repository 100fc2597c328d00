//! `/directory/room/{roomAlias}`, `/rooms/{roomId}/aliases`, `/directory/list/room/{roomId}` and `/publicRooms`.

use ::http::Method;
use ruma::{
    OwnedServerName, UInt,
    api::client::{
        alias::{create_alias, delete_alias, get_alias},
        directory::get_room_visibility,
        room::{Visibility, aliases as get_aliases},
    },
    directory::{Filter, RoomNetwork, RoomTypeFilter},
};
use serde::Deserialize;

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    base::json_writer::Object,
    federation::PublicRoomsQuery,
    flows::{directory, room_error::RoomError},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::{Access, AccessError},
        aliases,
        directory::DirectoryFilter,
    },
};

/// Rooms of a page, if the client does not say.
const DEFAULT_LIMIT: u64 = 100;

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_alias::v3::Request, _, _>(RateClass::Light, get_room_by_alias);
    routes.add::<create_alias::v3::Request, _, _>(RateClass::Send, set_alias);
    routes.add::<delete_alias::v3::Request, _, _>(RateClass::Send, remove_alias);
    routes.add::<get_aliases::v3::Request, _, _>(RateClass::Light, get_aliases_of_room);
    routes.add::<get_room_visibility::v3::Request, _, _>(RateClass::Light, get_visibility);
    for version in room::VERSIONS {
        let path = format!("/_matrix/client/{version}/directory/list/room/{{room_id}}");
        routes.raw(Method::PUT, &path, RateClass::Send, set_visibility);
        let path = format!("/_matrix/client/{version}/publicRooms");
        routes.raw(Method::GET, &path, RateClass::Heavy, get_public_rooms);
        routes.raw(Method::POST, &path, RateClass::Heavy, search_public_rooms);
    }
}

async fn get_room_by_alias(
    app: App,
    (): (),
    request: get_alias::v3::Request,
) -> Result<get_alias::v3::Response, Refusal> {
    let server = app.server_name.clone();
    if request.room_alias.server_name() != server {
        let (room_id, servers) = app.federation.room_of_alias(request.room_alias).await?;
        return Ok(get_alias::v3::Response::new(room_id, servers));
    }
    let find = app.rooms.read(move |reader, view| {
        let alias = aliases::get(view, &request.room_alias)?.ok_or(RoomError::UnknownAlias)?;
        Ok::<_, RoomError>(reader.head(view, alias.room)?.ok_or(RoomError::UnknownAlias)?.room_id)
    });
    Ok(get_alias::v3::Response::new(find.await?, vec![server]))
}

async fn set_alias(
    app: App,
    caller: Caller,
    request: create_alias::v3::Request,
) -> Result<create_alias::v3::Response, Refusal> {
    directory::set_alias(&app, &room::sender(&caller), request.room_alias, request.room_id).await?;
    Ok(create_alias::v3::Response::new())
}

async fn remove_alias(
    app: App,
    caller: Caller,
    request: delete_alias::v3::Request,
) -> Result<delete_alias::v3::Response, Refusal> {
    directory::delete_alias(&app, &room::sender(&caller), request.room_alias).await?;
    Ok(delete_alias::v3::Response::new())
}

async fn get_aliases_of_room(app: App, caller: Caller, request: get_aliases::v3::Request) -> Result<Json, Refusal> {
    let find = app.rooms.read(move |reader, view| {
        let access = Access::to_read(reader, view, &request.room_id, &caller.user_id)?;
        Ok::<_, AccessError>(aliases::of_room(view, access.room)?)
    });
    Ok(Json::of(&serde_json::json!({ "aliases": find.await? })))
}

async fn get_visibility(
    app: App,
    (): (),
    request: get_room_visibility::v3::Request,
) -> Result<get_room_visibility::v3::Response, Refusal> {
    let find = app.rooms.read(move |reader, view| {
        let room = reader.room_no(view, &request.room_id)?.ok_or(RoomError::UnknownRoom)?;
        Ok::<_, RoomError>(aliases::is_published(view, room)?)
    });
    let visibility = if find.await? { Visibility::Public } else { Visibility::Private };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

/// Read by hand: `visibility` may be left out, which ruma's type does not know.
async fn set_visibility(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        visibility: Option<String>,
    }
    let body: Body = raw::parse(&request.body)?;
    let published = match body.visibility.as_deref() {
        None | Some("public") => true,
        Some("private") => false,
        Some(_) => return Err(Refusal::invalid_param("`visibility` must be `public` or `private`")),
    };
    directory::publish(&app, &room::sender(&caller), raw::room_id(&request)?, published).await?;
    Ok(Json::empty())
}

/// What may stand in the body of a search.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Search {
    limit: Option<u64>,
    since: Option<String>,
    filter: Option<SearchFilter>,
    third_party_instance_id: Option<String>,
    include_all_networks: bool,
}

#[derive(Deserialize)]
struct SearchFilter {
    generic_search_term: Option<String>,
    room_types: Option<Vec<Option<String>>>,
}

async fn get_public_rooms(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let limit = room::limit(&request, room::cut(DEFAULT_LIMIT))?;
    let since = request.query_value("since");
    page(&app, &request, DirectoryFilter::default(), (limit, RoomNetwork::Matrix), since).await
}

async fn search_public_rooms(app: App, _: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let search: Search = raw::parse(&request.body)?;
    let filter = match search.filter {
        None => DirectoryFilter::default(),
        Some(filter) => DirectoryFilter { term: filter.generic_search_term, types: filter.room_types },
    };
    let network = match search.third_party_instance_id {
        Some(network) => RoomNetwork::ThirdParty(network),
        None if search.include_all_networks => RoomNetwork::All,
        None => RoomNetwork::Matrix,
    };
    let limit = room::cut(search.limit.unwrap_or(DEFAULT_LIMIT));
    page(&app, &request, filter, (limit, network), search.since).await
}

/// A page of the directory of this server, or of the one that the client names.
async fn page(
    app: &App,
    request: &RawRequest,
    filter: DirectoryFilter,
    (limit, network): (usize, RoomNetwork),
    since: Option<String>,
) -> Result<Json, Refusal> {
    let server = request.query_value("server").filter(|server| *server != app.server_name);
    let Some(server) = server else { return page_of_own(app, filter, (limit, &network), since).await };
    let server = OwnedServerName::try_from(server).map_err(|_| Refusal::invalid_param("this is no server"))?;
    let types = filter.types.unwrap_or_default().into_iter().map(RoomTypeFilter::from);
    let mut wanted = Filter::new();
    (wanted.generic_search_term, wanted.room_types) = (filter.term, types.collect());
    // INVARIANT: it was cut.
    let limit = UInt::try_from(limit).unwrap_or(UInt::MAX);
    let query = PublicRoomsQuery { limit, since, filter: wanted, network };
    Ok(Json::of(&app.federation.public_rooms_of(&server, query).await?))
}

/// A page of the directory of this server: a token is the number of rooms before it.
pub(in crate::api) async fn page_of_own(
    app: &App,
    filter: DirectoryFilter,
    (limit, network): (usize, &RoomNetwork),
    since: Option<String>,
) -> Result<Json, Refusal> {
    // No rooms come from other networks.
    let limit = if matches!(network, RoomNetwork::ThirdParty(_)) { 0 } else { limit };
    if !filter.is_bounded() {
        return Err(Refusal::invalid_param(
            "a search term has 1,024 bytes at the most, and 100 types of rooms are enough",
        ));
    }
    let skip = match since {
        None => 0,
        Some(since) => since.parse::<usize>().map_err(|_| Refusal::invalid_param("`since` is no token"))?,
    };
    let entries = app.rooms.published(filter).await?;
    Ok(Json::text(json_writer::object(|reply| {
        reply.array("chunk", |chunk| {
            for entry in entries.iter().skip(skip).take(limit) {
                let mut object = Object::begin(chunk.item());
                entry.write(&mut object);
                object.end();
            }
        });
        let next = skip.saturating_add(limit);
        if limit > 0 && next < entries.len() {
            reply.value("next_batch", &next.to_string());
        }
        if skip > 0 {
            reply.value("prev_batch", &skip.saturating_sub(limit).to_string());
        }
        reply.value("total_room_count_estimate", &entries.len());
    })))
}
