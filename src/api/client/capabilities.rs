//! `GET /capabilities` (client-server API, "Capabilities negotiation").

use std::collections::BTreeMap;

use ::http::Method;
use serde_json::json;

use crate::{
    app::App,
    event::version,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/capabilities");
        routes.raw(Method::GET, &path, RateClass::Light, get_capabilities);
    }
}

/// ruma's type leaves out what is the default by the specification; clients of older versions have other defaults.
async fn get_capabilities(app: App, _: Caller, _: RawRequest) -> Result<Json, Refusal> {
    let available: BTreeMap<_, _> = version::SUPPORTED.iter().map(|version| (version.as_str(), "stable")).collect();
    Ok(Json::of(&json!({
        "capabilities": {
            "m.room_versions": {"default": app.config.rooms.default_version, "available": available},
            "m.change_password": {"enabled": true},
            "m.set_displayname": {"enabled": true},
            "m.set_avatar_url": {"enabled": true},
            "m.profile_fields": {"enabled": true},
            "m.3pid_changes": {"enabled": false},
            "m.get_login_token": {"enabled": true},
        },
    })))
}
