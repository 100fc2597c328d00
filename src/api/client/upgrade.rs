//! `POST /rooms/{roomId}/upgrade`

use ::http::Method;
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{raw, room};
use crate::{
    app::App,
    flows::{
        create_room::{CreateRoomError, PlanError},
        upgrade,
    },
    http::{self, Caller, RateClass, RawRequest, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/upgrade");
        routes.raw(Method::POST, &path, RateClass::Send, upgrade_room);
    }
}

#[derive(Deserialize)]
struct Upgrade {
    new_version: String,
    #[serde(default)]
    additional_creators: Option<Json>,
}

async fn upgrade_room(app: App, caller: Caller, request: RawRequest) -> Result<http::Json, Refusal> {
    let room_id = raw::room_id(&request)?;
    let Upgrade { new_version, additional_creators } = raw::parse(&request.body)?;
    let version = room::version(new_version)?;
    let creators: Vec<OwnedUserId> = match additional_creators {
        None | Some(Json::Null) => Vec::new(),
        Some(creators) => serde_json::from_value(creators).map_err(|_| {
            CreateRoomError::from(PlanError::Invalid("`additional_creators` must be a list of user ids"))
        })?,
    };
    let replacement = upgrade::upgrade(&app, &room::sender(&caller), room_id, version, creators).await?;
    Ok(http::Json::of(&json!({ "replacement_room": replacement })))
}
