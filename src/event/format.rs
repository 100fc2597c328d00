//! The limits of the format of events, and what is said of bytes that are none (room versions, "Event format").

use std::fmt;

use thiserror::Error;

use super::json;

/// The most bytes of an event in canonical JSON, signatures included (client-server API, "Size limits").
pub const LARGEST: usize = 65_536;
/// The most bytes of `sender`, `room_id`, `state_key`, `type` and `event_id` (there too); in events of others before room
/// version 11 the most characters of `state_key` and `type`.
pub const LONGEST_FIELD: usize = 255;
/// The most events that one may cite as previous, and as authorising (room versions, "Event format").
pub const MOST_PREV_EVENTS: usize = 20;
/// See [`MOST_PREV_EVENTS`].
pub const MOST_AUTH_EVENTS: usize = 10;

/// Why bytes are no event of their room version.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// It is larger than [`LARGEST`], or one of its fields is longer than [`LONGEST_FIELD`].
    #[error("the event is too large: {0}")]
    TooLarge(&'static str),
    /// It is not JSON of the kind that its room version wants.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// A field is missing or not what it should be.
    #[error("not an event: {0}")]
    Invalid(String),
}

/// Refuses an event in canonical JSON that is too large.
pub(super) fn check_size(text: &str) -> Result<(), FormatError> {
    if text.len() > LARGEST { Err(FormatError::TooLarge("more than 65,536 bytes")) } else { Ok(()) }
}

/// For an error in a field.
pub(super) fn invalid<E: fmt::Display>(what: &'static str) -> impl Fn(E) -> FormatError {
    move |error| FormatError::Invalid(format!("{what}: {error}"))
}
