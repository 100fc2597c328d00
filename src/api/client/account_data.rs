//! `/account_data` and `/tags`: what clients keep for the caller, for all rooms or for one.

use ::http::Method;
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use super::raw;
use crate::{
    app::App,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    store::{Batch, View},
    users::{account_data, tags},
};

pub(super) fn routes(routes: &mut Routes) {
    for version in ["r0", "v3"] {
        let user = format!("/_matrix/client/{version}/user/{{user_id}}");
        let room = format!("{user}/rooms/{{room_id}}");
        for scope in [&user, &room] {
            let path = format!("{scope}/account_data/{{type}}");
            routes.raw(Method::GET, &path, RateClass::Light, get_account_data);
            routes.raw(Method::PUT, &path, RateClass::Light, set_account_data);
        }
        routes.raw(Method::GET, &format!("{room}/tags"), RateClass::Light, get_tags);
        routes.raw(Method::PUT, &format!("{room}/tags/{{tag}}"), RateClass::Light, create_tag);
        routes.raw(Method::DELETE, &format!("{room}/tags/{{tag}}"), RateClass::Light, delete_tag);
    }
}

/// The room of the path, if the path has one.
fn scope(request: &RawRequest) -> Result<Option<OwnedRoomId>, Refusal> {
    request.args.iter().any(|(name, _)| name == "room_id").then(|| raw::room_id(request)).transpose()
}

async fn get_account_data(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, scope, kind) =
        (raw::own_user_id(&caller, &request)?, scope(&request)?, request.arg("type")?.to_owned());
    let content = app.users.read(move |view| account_data::get(view, &user_id, scope.as_deref(), &kind)).await?;
    content.map(Json::text).ok_or_else(|| Refusal::not_found("there is no account data of this type"))
}

async fn set_account_data(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, scope, kind) =
        (raw::own_user_id(&caller, &request)?, scope(&request)?, request.arg("type")?.to_owned());
    let content = raw::object(&request.body)?;
    let put = move |view: &View<'_>, batch: &mut Batch| {
        account_data::put(view, batch, &user_id, (scope.as_deref(), &kind), &content)
    };
    app.users.change(put).await?;
    Ok(Json::empty())
}

async fn get_tags(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, room_id) = (raw::own_user_id(&caller, &request)?, raw::room_id(&request)?);
    let tags = app.users.read(move |view| tags::get(view, &user_id, &room_id)).await?;
    Ok(Json::of(&json!({ "tags": tags })))
}

async fn create_tag(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, room_id) = (raw::own_user_id(&caller, &request)?, raw::room_id(&request)?);
    let (tag, info) = (request.arg("tag")?.to_owned(), raw::parse::<Value>(&request.body)?);
    if info.get("order").is_some_and(|order| order.as_f64().is_none()) {
        return Err(Refusal::bad_json("`order` must be a number"));
    }
    let set =
        move |view: &View<'_>, batch: &mut Batch| tags::set(view, batch, &user_id, (&room_id, &tag), info.clone());
    app.users.change(set).await?;
    Ok(Json::empty())
}

async fn delete_tag(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, room_id) = (raw::own_user_id(&caller, &request)?, raw::room_id(&request)?);
    let tag = request.arg("tag")?.to_owned();
    let remove = move |view: &View<'_>, batch: &mut Batch| tags::remove(view, batch, &user_id, &room_id, &tag);
    app.users.change(remove).await?;
    Ok(Json::empty())
}
