//! `GET /_matrix/client/versions`

use ruma::api::client::discovery::get_supported_versions as versions;

use super::features;
use crate::{
    app::App,
    http::{Caller, RateClass, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<versions::Request, _, _>(RateClass::Light, get_versions);
}

async fn get_versions(_: App, _: Option<Caller>, _: versions::Request) -> Result<versions::Response, Refusal> {
    let mut response = versions::Response::new(features::VERSIONS.map(str::to_owned).to_vec());
    response.unstable_features = features::UNSTABLE.map(|(name, works)| (name.to_owned(), works)).into();
    response.server = Some(versions::Server::new("Myelin".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    Ok(response)
}
