//! The keyspaces of `sync`.

use serde::{Deserialize, Serialize};

use crate::{
    graph::RoomNo,
    store::{Family, Keyspace, KeyspaceInfo, Position, Record},
};

/// What was counted of a user's unread events in a room: a memo, which may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnreadRow {
    /// The hash of the user's receipts that this was counted behind, and of whom they ignored.
    pub(super) receipts: u64,
    /// Up to where it was counted.
    pub(super) counted_to: Position,
    /// By thread (its root's id, or empty for what is in none): notifications and highlights.
    pub(super) threads: Vec<(String, u32, u32)>,
}
impl Record for UnreadRow {}

pub(super) const UNREAD: Keyspace<(String, RoomNo), UnreadRow> = Keyspace::new(
    Family::Hot,
    0x70,
    "unread",
    "user, room → receipts, counted to, notifications and highlights by thread; lazily, when many were counted",
);

/// All of them.
pub const KEYSPACES: &[KeyspaceInfo] = &[UNREAD.info()];
