//! Views over the graph: members, timeline, visibility, receipts; and the verbs that send into a room.

pub mod access;
pub mod aliases;
pub mod content;
pub mod directory;
pub mod events;
pub mod filter;
pub mod for_servers;
pub mod format;
#[cfg(test)]
mod golden;
pub mod guest_access;
mod handle;
pub mod ignored;
mod keys;
pub mod members;
pub mod page_token;
pub mod power;
pub mod receipts;
pub mod relations;
pub mod restricted;
pub mod stripped;
pub mod summary;
pub mod sync_token;
pub mod timeline;
pub mod visibility;

pub use self::{handle::Rooms, keys::KEYSPACES};
