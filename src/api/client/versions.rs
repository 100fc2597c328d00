//! `GET /_matrix/client/versions`

use http::Method;
use ruma::api::client::discovery::get_supported_versions as versions;

use super::features;
use crate::{
    app::App,
    http::{Outgoing, RateClass, RawRequest, Refusal, Routes, reply::IntoOutgoing as _},
};

pub(super) fn routes(routes: &mut Routes) {
    // Read by hand: the answer is the same for everybody, also for whoever comes with a token that has ended.
    routes.raw(Method::GET, "/_matrix/client/versions", RateClass::Light, get_versions);
}

async fn get_versions(_: App, _: RawRequest) -> Result<Outgoing, Refusal> {
    let mut response = versions::Response::new(features::VERSIONS.map(str::to_owned).to_vec());
    response.unstable_features = features::UNSTABLE.map(|(name, works)| (name.to_owned(), works)).into();
    response.server = Some(versions::Server::new("Myelin".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    response.into_outgoing()
}
