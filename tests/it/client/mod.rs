//! The client-server API, as a client sees it.

mod account;
mod account_data;
mod api;
mod create_room;
mod devices;
mod filters;
mod profile;
mod push_rules;
mod rooms;
