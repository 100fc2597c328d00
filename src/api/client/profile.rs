//! `/profile`: names, avatars and other fields of users.

use std::collections::BTreeMap;

use ::http::Method;
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, value::RawValue};

use super::raw;
use crate::{
    app::App,
    flows::set_profile::{Change, set_profile},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    users::{
        accounts,
        profile::{self, Profile},
    },
};

const PREFIXES: [&str; 3] =
    ["/_matrix/client/r0/profile", "/_matrix/client/v3/profile", "/_matrix/client/unstable/uk.tcpip.msc4133/profile"];

pub(super) fn routes(routes: &mut Routes) {
    for prefix in PREFIXES {
        let (whole, field) = (format!("{prefix}/{{user_id}}"), format!("{prefix}/{{user_id}}/{{field}}"));
        routes.raw(Method::GET, &whole, RateClass::Light, get_profile);
        routes.raw(Method::GET, &field, RateClass::Light, get_profile_field);
        routes.raw(Method::PUT, &field, RateClass::Send, set_profile_field);
        routes.raw(Method::DELETE, &field, RateClass::Send, delete_profile_field);
    }
}

async fn get_profile(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let profile = read(&app, &request).await?;
    Ok(Json::text(object(&profile.0)))
}

async fn get_profile_field(app: App, request: RawRequest) -> Result<Json, Refusal> {
    let mut profile = read(&app, &request).await?;
    let field = request.arg("field")?;
    let value = profile.0.remove(field).ok_or_else(|| Refusal::not_found("this user has no such profile field"))?;
    Ok(Json::text(object(&BTreeMap::from([(field.to_owned(), value)]))))
}

/// The fields as a JSON object.
pub(in crate::api) fn object(fields: &BTreeMap<String, String>) -> String {
    let fields = fields.iter().map(|(field, value)| format!("{}:{value}", Value::from(field.as_str())));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// The profile of a user who exists: another server is asked about its own.
async fn read(app: &App, request: &RawRequest) -> Result<Profile, Refusal> {
    let user_id = UserId::parse(request.arg("user_id")?);
    let user_id = user_id.map_err(|_| Refusal::invalid_param("this is no user id"))?;
    if app.users.is_local(&user_id) {
        return of_local(app, user_id).await;
    }
    let fields = app.federation.profile_of(user_id).await?;
    Ok(Profile(fields.into_iter().map(|(field, value)| (field, value.to_string())).collect()))
}

/// The profile of a user of this server who exists.
pub(in crate::api) async fn of_local(app: &App, user_id: OwnedUserId) -> Result<Profile, Refusal> {
    let profile = app.users.read(move |view| {
        let exists = accounts::get(view, &user_id)?.is_some_and(|account| !account.deactivated);
        exists.then(|| profile::get(view, &user_id)).transpose()
    });
    profile.await?.ok_or_else(|| Refusal::not_found("there is no such user here"))
}

async fn set_profile_field(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, field) = (raw::own_user_id(&caller, &request)?, request.arg("field")?.to_owned());
    let body = raw::object(&request.body)?;
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(body.get()).map_err(|error| Refusal::bad_json(error.to_string()))?;
    let value = fields.into_iter().find_map(|(name, value)| (name == field).then_some(value));
    let value = value.ok_or_else(|| Refusal::missing_param(format!("`{field}` is missing")))?;
    // `null` for a name or an avatar is how older clients remove it.
    let is_text = matches!(field.as_str(), profile::DISPLAY_NAME | profile::AVATAR_URL);
    let change = if is_text && value.get() == "null" { Change::Remove } else { Change::Set(value) };
    set_profile(&app, user_id, field, change).await?;
    Ok(Json::empty())
}

async fn delete_profile_field(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (user_id, field) = (raw::own_user_id(&caller, &request)?, request.arg("field")?.to_owned());
    set_profile(&app, user_id, field, Change::Remove).await?;
    Ok(Json::empty())
}
