//! The server-server API.

mod keys;
mod query;
mod version;

use crate::http::Routes;

/// All endpoints of the server-server API.
pub fn routes(routes: &mut Routes) {
    keys::routes(routes);
    query::routes(routes);
    version::routes(routes);
}
