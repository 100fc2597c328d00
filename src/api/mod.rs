//! The endpoints, one short file for each or for a small family.

pub mod admin;
pub mod client;
mod landing;
mod refusals;

use crate::http::Routes;

/// All endpoints.
pub fn routes(routes: &mut Routes) {
    admin::routes(routes);
    client::routes(routes);
    landing::routes(routes);
}
