//! Answers to what clients ask at their start about things that this server does not have (yet), said in the words of
//! the specification: none.

use ::http::Method;
use ruma::api::client::{backup::get_latest_backup_info, push::get_pushers, thirdparty::get_protocols};

use crate::{
    app::App,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_pushers::v3::Request, _, _>(RateClass::Light, get_pushers);
    routes.add::<get_protocols::v3::Request, _, _>(RateClass::Light, get_protocols);
    routes.add::<get_latest_backup_info::v3::Request, _, _>(RateClass::Light, get_latest_backup_info);
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/voip/turnServer");
        routes.raw(Method::GET, &path, RateClass::Light, get_turn_server);
    }
}

async fn get_pushers(_: App, _: Caller, _: get_pushers::v3::Request) -> Result<get_pushers::v3::Response, Refusal> {
    Ok(get_pushers::v3::Response::new(Vec::new()))
}

async fn get_protocols(
    _: App,
    _: Caller,
    _: get_protocols::v3::Request,
) -> Result<get_protocols::v3::Response, Refusal> {
    Ok(get_protocols::v3::Response::new(Default::default()))
}

async fn get_latest_backup_info(
    _: App,
    _: Caller,
    _: get_latest_backup_info::v3::Request,
) -> Result<get_latest_backup_info::v3::Response, Refusal> {
    Err(Refusal::not_found("there is no backup"))
}

/// Without a relay clients are told nothing, and call each other directly.
async fn get_turn_server(_: App, _: Caller, _: RawRequest) -> Result<Json, Refusal> {
    Ok(Json::empty())
}
