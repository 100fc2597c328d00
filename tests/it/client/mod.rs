//! The client-server API, as a client sees it.

mod account;
mod account_data;
mod api;
mod appservices;
mod create_room;
mod devices;
mod directory;
mod discovery;
mod filters;
mod guests;
mod hostile_http;
mod ignoring;
mod membership;
mod messages;
mod profile;
mod push_rules;
mod receipts;
mod redaction;
mod relations;
mod rooms;
mod secrets;
mod sessions;
mod state;
mod timestamp;
mod upgrade;
mod visibility;
