//! `GET /_matrix/federation/v1/version`

use ruma::api::federation::discovery::get_server_version::v1 as get_server_version;

use crate::{
    app::App,
    http::{RateClass, Refusal, Routes},
};

pub(super) fn routes(routes: &mut Routes) {
    routes.add::<get_server_version::Request, _, _>(RateClass::Federation, get_version);
}

async fn get_version(_: App, (): (), _: get_server_version::Request) -> Result<get_server_version::Response, Refusal> {
    let mut server = get_server_version::Server::new();
    (server.name, server.version) = (Some("Myelin".to_owned()), Some(env!("CARGO_PKG_VERSION").to_owned()));
    let mut response = get_server_version::Response::new();
    response.server = Some(server);
    Ok(response)
}
