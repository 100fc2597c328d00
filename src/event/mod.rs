//! Matrix events, pure: no I/O, no clock, nothing asynchronous.
//!
//! An event passes through types that say what is known of it: raw bytes become a [`Pdu`] when they respect the format of
//! their room version ([`pdu`]), and a [`Verified`] one when their signatures hold ([`verify`]). Only the latter is fit
//! for the graph. [`build`] makes events of our own, [`auth`] decides whether a state allows an event, [`resolve`] which of
//! several states holds, [`redact`] removes what a redaction removes.

pub mod auth;
pub mod build;
mod fields;
pub mod format;
pub mod hash;
pub mod json;
mod levels;
mod member;
mod members;
pub mod pdu;
pub mod power;
pub mod redact;
pub mod resolve;
pub mod server_acl;
pub mod sign;
pub mod verify;
pub mod version;

pub use self::{
    build::{BuildError, Template},
    format::FormatError,
    pdu::Pdu,
    sign::SigningKey,
    verify::Verified,
    version::Rules,
};

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
