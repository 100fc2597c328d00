//! The client-server API.

mod account;
mod account_data;
mod devices;
mod filters;
pub(super) mod login;
mod not_offered;
mod profile;
mod push_rules;
pub(super) mod raw;
mod register;
mod uia;

use crate::http::Routes;

/// All endpoints of the client-server API.
pub fn routes(routes: &mut Routes) {
    account::routes(routes);
    account_data::routes(routes);
    devices::routes(routes);
    filters::routes(routes);
    login::routes(routes);
    not_offered::routes(routes);
    profile::routes(routes);
    push_rules::routes(routes);
    register::routes(routes);
}
