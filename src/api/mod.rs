//! The endpoints, one short file for each or for a small family.

pub mod admin;
pub mod client;
pub mod federation;
mod landing;
mod refusals;

use crate::http::Routes;

/// What clients and administrators ask for.
pub fn client_routes(routes: &mut Routes) {
    admin::routes(routes);
    client::routes(routes);
    landing::routes(routes);
}

/// What other servers ask for, where they have a listener of their own.
pub fn federation_listener_routes(routes: &mut Routes) {
    client::well_known::routes(routes);
    federation::routes(routes);
}
