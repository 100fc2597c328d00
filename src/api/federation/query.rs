//! `GET /_matrix/federation/v1/query/profile`

use ruma::api::federation::query::get_profile_information::v1 as get_profile_information;

use super::super::client::profile;
use crate::{
    app::App,
    federation::Origin,
    http::{Json, RateClass, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_profile_information::Request, _, _>(RateClass::Federation, get_profile);
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
