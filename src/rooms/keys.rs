//! The keyspaces of rooms beside the graph. Nothing outside `rooms` reads or writes them.

use serde::{Deserialize, Serialize};

use crate::{
    base::clock::UnixMillis,
    graph::{RoomNo, Seq, Tie},
    store::{Family, Keyspace, KeyspaceInfo, Position, Record},
};

/// Up to where users have read.
pub(super) const RECEIPT: Keyspace<(RoomNo, String, u8, String), ReceiptRow> = Keyspace::new(
    Family::Index,
    0x30,
    "receipt",
    "room, user, type, thread → event, its place in graph order, when, position; a receipt moves",
);
/// The same in the order of arrival: one row for each receipt, at its last move.
pub(super) const RECEIPT_LOG: Keyspace<(RoomNo, Position, String, u8, String), ()> =
    Keyspace::new(Family::Index, 0x31, "receipt_log", "room, position, user, type, thread; a receipt moves");
/// Names of rooms.
pub(super) const ALIAS: Keyspace<(String,), AliasRow> =
    Keyspace::new(Family::Index, 0x32, "alias", "alias → room, who made it; directory calls");
/// Aliases of rooms.
pub(super) const ROOM_ALIAS: Keyspace<(RoomNo, String), ()> =
    Keyspace::new(Family::Index, 0x33, "room_alias", "room, alias; directory calls");
/// Rooms in the published directory.
pub(super) const PUBLISHED: Keyspace<(RoomNo,), ()> =
    Keyspace::new(Family::Index, 0x34, "published", "room; while it is in the directory");
/// Rooms in which guests may be who must not be. The number differs with each reason to look.
pub(super) const GUESTS_DUE: Keyspace<(RoomNo,), u64> = Keyspace::new(
    Family::Hot,
    0x35,
    "guests_due",
    "room → number; with an event that keeps guests out, or with a guest's join, until they were looked for",
);

/// All of the above.
pub const KEYSPACES: &[KeyspaceInfo] =
    &[RECEIPT.info(), RECEIPT_LOG.info(), ALIAS.info(), ROOM_ALIAS.info(), PUBLISHED.info(), GUESTS_DUE.info()];

/// Up to where a user has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReceiptRow {
    /// The event.
    pub(super) event_id: String,
    /// Its number.
    pub(super) seq: Seq,
    /// Its place in graph order: the depth,
    pub(super) depth: u64,
    /// and the rank among events of that depth.
    pub(super) tie: Tie,
    /// When the receipt was sent, in ms since the Unix epoch.
    pub(super) ts: UnixMillis,
    /// The commit by which it moved here.
    pub(super) position: Position,
}
impl Record for ReceiptRow {}

/// A name of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AliasRow {
    /// The room.
    pub(super) room: RoomNo,
    /// The user who made it, and may remove it.
    pub(super) creator: String,
}
impl Record for AliasRow {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_used_once_and_lies_in_our_range() {
        for (index, one) in KEYSPACES.iter().enumerate() {
            assert!((0x30..=0x3F).contains(&one.prefix), "{}", one.name);
            assert!(KEYSPACES[index + 1..].iter().all(|other| other.prefix != one.prefix), "{}", one.name);
        }
    }
}
