//! The endpoints, one short file for each or for a small family.
pub mod admin;
pub mod client;
mod refusals;
