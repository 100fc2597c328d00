//! Writing rooms: events are built or judged over a draft of the room, and the draft becomes one commit.
//!
//! [`lane`] gathers what is to be sent to a room; [`assemble`] makes a [`draft`] of it, by [`build`] for what is ours to
//! make and by [`accept`] for what is signed already; [`resolve`] makes one state of a fork; [`commit`] turns the draft into
//! rows; [`wide`] writes ahead what is too much for one commit.

mod accept;
mod adopt;
mod ahead;
mod assemble;
mod auth_graph;
mod build;
mod commit;
mod create;
mod draft;
mod gap;
mod indexes;
mod lane;
mod outlier;
mod outside;
mod reading;
mod redaction;
mod relations;
mod resolve;
mod room;
mod wide;

use std::{fmt, sync::Arc};

use ruma::OwnedServerName;

pub use self::indexes::forget;
pub(super) use self::{
    adopt::{Adopting, adopt, sweep_staged},
    ahead::{countersign, sign, template},
    create::create,
    lane::Lanes,
    outside::{settle, stand},
};
use super::Reader;
use crate::{
    base::{
        clock::{Clock, UnixMillis},
        random::Random,
    },
    event::SigningKey,
};

/// Events that one commit holds at the most.
pub(super) const MOST_EVENTS: usize = 50;

/// What building and judging events takes beside the room itself.
pub(super) struct Env {
    pub(super) server_name: OwnedServerName,
    pub(super) key: Arc<SigningKey>,
    pub(super) reader: Reader,
    pub(super) clock: Clock,
    pub(super) random: Random,
    /// How long the content of a redacted event is kept, in ms.
    pub(super) keep_redacted: UnixMillis,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Env({})", self.server_name)
    }
}
