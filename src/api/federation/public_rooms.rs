//! `GET` and `POST /_matrix/federation/v1/publicRooms`

use ruma::{
    UInt,
    api::federation::directory::{
        get_public_rooms::v1 as get_public_rooms, get_public_rooms_filtered::v1 as get_public_rooms_filtered,
    },
    directory::{RoomNetwork, RoomTypeFilter},
};

use super::super::client::{directory::page_of_own, room};
use crate::{
    app::App,
    federation::Origin,
    http::{Json, RateClass, Refusal, Routes},
    rooms::directory::DirectoryFilter,
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_public_rooms::Request, _, _>(RateClass::Heavy, get);
    routes.add::<get_public_rooms_filtered::Request, _, _>(RateClass::Heavy, search);
}

async fn get(app: App, _: Origin, request: get_public_rooms::Request) -> Result<Json, Refusal> {
    page(&app, DirectoryFilter::default(), (request.limit, &request.room_network), request.since).await
}

async fn search(app: App, _: Origin, request: get_public_rooms_filtered::Request) -> Result<Json, Refusal> {
    let types = |types: Vec<RoomTypeFilter>| types.iter().map(|one| one.as_str().map(str::to_owned)).collect();
    let filter = DirectoryFilter {
        term: request.filter.generic_search_term,
        types: (!request.filter.room_types.is_empty()).then(|| types(request.filter.room_types)),
    };
    page(&app, filter, (request.limit, &request.room_network), request.since).await
}

async fn page(
    app: &App,
    filter: DirectoryFilter,
    (limit, network): (Option<UInt>, &RoomNetwork),
    since: Option<String>,
) -> Result<Json, Refusal> {
    if !app.config.federation.public_rooms {
        return Err(Refusal::forbidden("This server does not show its directory to others"));
    }
    // Server-server API: 0, the default, is no limit; pages are bounded all the same.
    let limit = limit.map(u64::from).filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    page_of_own(app, filter, (room::cut(limit), network), since).await
}
