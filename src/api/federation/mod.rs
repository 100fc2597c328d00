//! The server-server API.

mod event;
mod history;
mod invite;
mod keys;
mod membership;
mod openid;
mod public_rooms;
mod query;
mod send;
mod state;
mod version;

use crate::http::Routes;

/// All endpoints of the server-server API.
pub fn routes(routes: &mut Routes) {
    event::routes(routes);
    history::routes(routes);
    invite::routes(routes);
    keys::routes(routes);
    membership::routes(routes);
    openid::routes(routes);
    public_rooms::routes(routes);
    query::routes(routes);
    send::routes(routes);
    state::routes(routes);
    version::routes(routes);
}
