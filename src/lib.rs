//! Myelin, a Matrix homeserver.
//!
//! # Layout
//! One line a layer, low to high; a module uses only what stands above it here, and `tests/it/architecture.rs` holds this.
//!
//! - [`base`]: time, randomness, tasks, metrics, shutdown
//! - [`store`]: typed keyspaces over RocksDB or memory, commits, positions; knows no Matrix
//! - [`event`]: Matrix events, pure: formats, hashes, signatures, redaction, auth rules, state resolution
//! - [`graph`]: the write side of rooms: building and judging events, room lanes, state, both orders, the log
//! - [`rooms`]: views over the graph: visibility, pages, members, receipts, relations, aliases
//! - [`users`]: accounts, devices, tokens, profiles, account data
//! - [`ephemeral`]: typing and presence, in memory only
//! - [`push`]: push rules
//! - [`federation`]: this server among others: keys, finding servers, requests to them
//! - [`appservice`]: application services: who is registered, and what is theirs
//! - [`sync`]: tokens, subscribers, `/sync`
//! - [`config`]: the configuration; [`app`]: the handles of a running server
//! - [`flows`]: verbs that cross several of the above, one a file
//! - [`http`]: dispatch, routes, extraction, replies
//! - [`api`]: the endpoints
//! - [`catalogue`]: every keyspace and every check of the layers below
//! - [`server`], [`cli`]: wiring and the command line

pub mod api;
pub mod app;
pub mod appservice;
pub mod base;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod ephemeral;
pub mod event;
pub mod federation;
pub mod flows;
pub mod graph;
pub mod http;
pub mod push;
pub mod rooms;
pub mod server;
pub mod store;
pub mod sync;
pub mod users;
