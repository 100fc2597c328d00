//! The client-server API.

mod account;
mod account_data;
mod capabilities;
mod create_room;
mod devices;
pub(super) mod directory;
mod features;
mod filters;
mod initial_sync;
pub(super) mod login;
mod members;
mod membership;
mod messages;
mod not_offered;
mod openid;
pub(super) mod profile;
mod push_rules;
pub(super) mod raw;
mod receipts;
mod register;
mod relations;
pub(super) mod room;
mod send;
mod state;
mod sync;
mod timestamp;
mod uia;
mod upgrade;
mod versions;
pub(super) mod well_known;

use crate::http::Routes;

/// All endpoints of the client-server API.
pub fn routes(routes: &mut Routes) {
    account::routes(routes);
    account_data::routes(routes);
    capabilities::routes(routes);
    create_room::routes(routes);
    devices::routes(routes);
    directory::routes(routes);
    filters::routes(routes);
    initial_sync::routes(routes);
    login::routes(routes);
    members::routes(routes);
    membership::routes(routes);
    messages::routes(routes);
    not_offered::routes(routes);
    openid::routes(routes);
    profile::routes(routes);
    push_rules::routes(routes);
    receipts::routes(routes);
    register::routes(routes);
    relations::routes(routes);
    timestamp::routes(routes);
    send::routes(routes);
    state::routes(routes);
    sync::routes(routes);
    upgrade::routes(routes);
    versions::routes(routes);
    well_known::routes(routes);
}
