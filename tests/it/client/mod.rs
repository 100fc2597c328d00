//! The client-server API, as a client sees it.

mod account;
mod account_data;
mod api;
mod devices;
mod filters;
mod profile;
mod push_rules;
