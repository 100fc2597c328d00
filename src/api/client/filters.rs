//! `/user/{userId}/filter`: filters that are uploaded once and then named.

use ::http::Method;
use serde_json::json;

use super::raw;
use crate::{
    app::App,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    store::{Batch, View},
    users::filters,
};

pub(super) fn routes(routes: &mut Routes) {
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/user/{{user_id}}/filter");
        routes.raw(Method::POST, &path, RateClass::Light, create_filter);
        routes.raw(Method::GET, &format!("{path}/{{filter_id}}"), RateClass::Light, get_filter);
    }
}

async fn create_filter(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, filter) = (raw::own_user_id(&caller, &request)?, raw::object(&request.body)?);
    let put = move |view: &View<'_>, batch: &mut Batch| filters::put(view, batch, &user_id, filter.get());
    Ok(Json::of(&json!({ "filter_id": app.users.change(put).await? })))
}

async fn get_filter(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, id) = (raw::own_user_id(&caller, &request)?, request.arg("filter_id")?.to_owned());
    let filter = app.users.read(move |view| filters::get_json(view, &user_id, &id)).await?;
    filter.map(Json::text).ok_or_else(|| Refusal::not_found("there is no such filter"))
}
