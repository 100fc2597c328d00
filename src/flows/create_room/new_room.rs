//! What a client asks for when it creates a room.

use ruma::{OwnedUserId, RoomVersionId, canonical_json::CanonicalJsonObject};
use thiserror::Error;

use crate::flows::new_state::NewState;

/// Events that one commit holds; everything but invites must fit.
pub const MOST_AT_ONCE: usize = 50;
/// The most users that are invited at once.
pub const MOST_INVITES: usize = 500;

/// Which default state a room gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Joined by invite.
    PrivateChat,
    /// Joined by invite; who is invited at once has the creator's power.
    TrustedPrivateChat,
    /// Joined by anybody.
    PublicChat,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Who makes it.
    pub creator: OwnedUserId,
    /// The version.
    pub version: RoomVersionId,
    /// Which default state it gets.
    pub preset: Preset,
    /// More fields of the create event.
    pub creation_content: CanonicalJsonObject,
    /// Fields of the power levels that differ from the default.
    pub power_levels: CanonicalJsonObject,
    /// More state.
    pub initial_state: Vec<NewState>,
    /// The name.
    pub name: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// The local part of its alias.
    pub alias_name: Option<String>,
    /// Who is invited.
    pub invite: Vec<OwnedUserId>,
    /// It is a direct chat with those who are invited.
    pub is_direct: bool,
    /// It is in the published directory.
    pub published: bool,
}

/// Why there can be no such room.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// This server does not know the version.
    #[error("this server does not support room version {0}")]
    UnsupportedVersion(RoomVersionId),
    /// A field of the request is not what it must be.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too many events.
    #[error(
        "a room can't begin with more than {MOST_AT_ONCE} events (one invite among them) and {MOST_INVITES} invites"
    )]
    TooMany,
}
