//! The keyspaces of the graph. Nothing outside `graph` reads or writes them.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    event_row::{EventMeta, StoredEvent},
    head::Head,
    log::Entry,
    rows::{
        AuthEvents, Cursor, EventAt, Gap, Logged, Member, NextIndexes, Original, OutsideAt, OutsideRow, PartialJoin,
        RoomServer, StagedRoom, StateKey, UserRoom,
    },
    state::Node,
    types::{RoomNo, Root, Seq, Slot, Tie},
};
use crate::store::{Family, Keyspace, KeyspaceInfo, Position};

/// Which room an id names.
pub const ROOM_BY_ID: Keyspace<(String,), RoomNo> =
    Keyspace::new(Family::Hot, 0x01, "room_by_id", "room id → room; at first contact");
/// Heads.
pub const HEAD: Keyspace<(RoomNo,), Head> = Keyspace::new(
    Family::Hot,
    0x02,
    "head",
    "room → id, versions, counters, extremities, current state, flags; every commit of the room",
);
/// What became of events.
pub const EVENT_META: Keyspace<(RoomNo, Seq), EventMeta> = Keyspace::new(
    Family::Hot,
    0x03,
    "event_meta",
    "room, seq → status, state before, order, redacted by, origin; with the event, and when its status changes",
);
/// Where history has holes.
pub const GAP: Keyspace<(RoomNo, u64, Seq), Gap> = Keyspace::new(
    Family::Hot,
    0x04,
    "gap",
    "room, depth, seq → missing previous events, last try; at a jump or a join",
);
/// Rooms whose state is not whole yet.
pub const PARTIAL: Keyspace<(RoomNo,), PartialJoin> =
    Keyspace::new(Family::Hot, 0x05, "partial", "room → join, servers, via; during a partial join");
/// Events to check again once the state is whole.
pub const PARTIAL_EVENT: Keyspace<(RoomNo, Seq), ()> =
    Keyspace::new(Family::Hot, 0x06, "partial_event", "room, seq; accepted during a partial join");
/// How far followers have come.
pub const CURSOR: Keyspace<(String, u32), Cursor> =
    Keyspace::new(Family::Hot, 0x07, "cursor", "follower, shard → position, epoch; lazily, as the follower moves");

/// Where the log stood on each day (counted from the Unix epoch); under day 0, up to where it was cut.
pub const LOG_MARK: Keyspace<(u32,), u64> =
    Keyspace::new(Family::Hot, 0x08, "log_mark", "day → position of the log; once a day, and when the log is cut");

/// Rooms that are written ahead of a join through another server: nobody sees their rows before it is done.
pub const STAGED: Keyspace<(RoomNo,), StagedRoom> = Keyspace::new(
    Family::Hot,
    0x10,
    "staged_room",
    "room → id, since when; while a join through another server is written",
);

/// Rooms whose indexes are written anew, aside of those that are read, and those where that was just done.
pub const NEXT_INDEXES: Keyspace<(RoomNo,), NextIndexes> = Keyspace::new(
    Family::Hot,
    0x11,
    "next_indexes",
    "room → generation before and after, users due; while indexes are written aside, until all of the old ones are gone",
);

/// Event bodies.
pub const EVENT: Keyspace<(RoomNo, Seq), StoredEvent> =
    Keyspace::new(Family::Event, 0x01, "event", "room, seq → header and canonical JSON; once, and by redaction");
/// Bodies before redaction.
pub const ORIGINAL: Keyspace<(RoomNo, Seq), Original> =
    Keyspace::new(Family::Event, 0x02, "original", "room, seq → expiry and the event as it was; redaction");

/// Where events are.
pub const EVENT_ID: Keyspace<(String,), EventAt> =
    Keyspace::new(Family::Index, 0x01, "event_id", "event id → room, seq; with the event");
/// Events in graph order.
pub const TIMELINE: Keyspace<(RoomNo, u64, Tie), Seq> =
    Keyspace::new(Family::Index, 0x02, "timeline", "room, depth, tie → seq; accepted or backfilled");
/// Who waits for an event that we lack.
pub const MISSING: Keyspace<(RoomNo, String, Seq), ()> = Keyspace::new(
    Family::Index,
    0x03,
    "missing",
    "room, event id, citing seq; unknown previous event, redaction or relation target",
);
/// Members in the current state.
pub const MEMBER: Keyspace<(RoomNo, u32, String), Member> = Keyspace::new(
    Family::Index,
    0x04,
    "member",
    "room, index generation, user → membership, seq, position; it changes",
);
/// Rooms of local users.
pub const USER_ROOM: Keyspace<(String, RoomNo), UserRoom> = Keyspace::new(
    Family::Index,
    0x05,
    "user_room",
    "local user, room → membership, seq, position, state at the leave, forgotten, position of the join, server of an event from outside; own membership changes",
);
/// Servers of a room.
pub const ROOM_SERVER: Keyspace<(RoomNo, u32, String), RoomServer> = Keyspace::new(
    Family::Index,
    0x06,
    "room_server",
    "room, index generation, server → joined users, joined, left; a user joins or leaves",
);
/// Rooms of a server, also those that it has left: a server that could not be reached when its last user was removed is told
/// later.
pub const SERVER_ROOM: Keyspace<(String, RoomNo), ()> =
    Keyspace::new(Family::Index, 0x07, "server_room", "server, room; the server's first user joins");
/// Relations of an event, by type (hashed) and in the order of arrival.
pub const RELATION: Keyspace<(RoomNo, Seq, [u8; 8], Tie), Seq> = Keyspace::new(
    Family::Index,
    0x08,
    "relation",
    "room, target seq, hash of the relation's type, tie → seq; with the event",
);
/// Threads of a room by their last event.
pub const THREAD: Keyspace<(RoomNo, Tie, Seq), ()> = Keyspace::new(
    Family::Index,
    0x09,
    "thread",
    "room, tie of the last event, root's seq; moved by each event of the thread",
);
/// Events by the time that they say.
pub const BY_TIME: Keyspace<(RoomNo, u64, Seq), ()> =
    Keyspace::new(Family::Index, 0x0A, "by_time", "room, origin_server_ts, seq; accepted");
/// What local users are to rooms by events that came without the room: each server may say something.
pub const OUTSIDE: Keyspace<(RoomNo, String, String), OutsideRow> = Keyspace::new(
    Family::Index,
    0x0B,
    "outside",
    "room, local user, server → membership, position, event and what is told of the room; an invite, knock or leave without the room",
);
/// The same by user, the oldest first.
pub const OUTSIDE_OF_USER: Keyspace<(String, Position, RoomNo), OutsideAt> = Keyspace::new(
    Family::Index,
    0x0C,
    "outside_of_user",
    "local user, position, room → server, whether it is over; with the event",
);

/// Events in the order of arrival.
pub const ROOM_LOG: Keyspace<(RoomNo, Position, u32), Logged> =
    Keyspace::new(Family::Log, 0x01, "room_log", "room, position, index → seq, largest depth; when clients may see it");
/// What every commit changed.
pub const LOG: Keyspace<(Position, u32), Entry> = Keyspace::new(
    Family::Log,
    0x02,
    "log",
    "position, index → stream, room or user, reference; every commit that somebody follows",
);

/// Pieces of states.
pub const NODE: Keyspace<(RoomNo, Root), Node> =
    Keyspace::new(Family::State, 0x01, "node", "room, hash → leaf or branch of a state's tree; state changes");
/// Slots by type and key.
pub const SLOT: Keyspace<(RoomNo, String, String), Slot> =
    Keyspace::new(Family::State, 0x02, "slot", "room, type, state key → slot; when it first enters a state");
/// Types and keys by slot.
pub const SLOT_NAME: Keyspace<(RoomNo, Slot), StateKey> =
    Keyspace::new(Family::State, 0x03, "slot_name", "room, slot → type, state key; when it first enters a state");
/// Current states over time.
pub const ROOM_ROOT: Keyspace<(RoomNo, Position), Root> =
    Keyspace::new(Family::State, 0x04, "room_root", "room, position → state; whenever the current state changes");
/// The auth graph.
pub const AUTH: Keyspace<(RoomNo, Seq), AuthEvents> =
    Keyspace::new(Family::State, 0x05, "auth", "room, seq → auth events; with a state event");
/// Resolved forks.
pub const RESOLVED: Keyspace<(RoomNo, [u8; 16]), Root> =
    Keyspace::new(Family::State, 0x06, "resolved", "room, hash of the states → the resolved one; after a resolution");

/// All of the above.
pub const KEYSPACES: &[KeyspaceInfo] = &[
    ROOM_BY_ID.info(),
    HEAD.info(),
    EVENT_META.info(),
    GAP.info(),
    PARTIAL.info(),
    PARTIAL_EVENT.info(),
    CURSOR.info(),
    LOG_MARK.info(),
    STAGED.info(),
    NEXT_INDEXES.info(),
    EVENT.info(),
    ORIGINAL.info(),
    EVENT_ID.info(),
    TIMELINE.info(),
    MISSING.info(),
    MEMBER.info(),
    USER_ROOM.info(),
    ROOM_SERVER.info(),
    SERVER_ROOM.info(),
    RELATION.info(),
    THREAD.info(),
    BY_TIME.info(),
    OUTSIDE.info(),
    OUTSIDE_OF_USER.info(),
    ROOM_LOG.info(),
    LOG.info(),
    NODE.info(),
    SLOT.info(),
    SLOT_NAME.info(),
    ROOM_ROOT.info(),
    AUTH.info(),
    RESOLVED.info(),
];

/// The form in which a string from outside enters a key: itself if it is at most 255 bytes and needs no escaping, else its
/// hash behind a byte that no string begins with that is kept as it is.
pub fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= 255 && !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    let hash = blake3::hash(text.as_bytes());
    let half = hash.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
    Cow::Owned(format!("\u{1}{}", URL_SAFE_NO_PAD.encode(half)))
}

/// The form in which a relation's type enters a key.
pub fn relation_hash(rel_type: &str) -> [u8; 8] {
    blake3::hash(rel_type.as_bytes()).as_bytes().first_chunk::<8>().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_used_once_and_lies_in_our_range() {
        for (index, one) in KEYSPACES.iter().enumerate() {
            assert!((0x01..=0x2F).contains(&one.prefix), "{}", one.name);
            for other in &KEYSPACES[index + 1..] {
                assert!(
                    (one.family, one.prefix) != (other.family, other.prefix) && one.name != other.name,
                    "{}",
                    one.name
                );
            }
        }
    }

    #[test]
    fn strings_in_keys_are_bounded() {
        assert_eq!(bounded("@a:b"), "@a:b");
        let long = "x".repeat(256);
        assert_eq!(bounded(&long).len(), 23);
        assert_ne!(bounded(&long), bounded(&"x".repeat(257)));
        assert_ne!(bounded("\u{1}"), "\u{1}");
        assert_ne!(bounded("a\0"), "a\0");
    }
}
