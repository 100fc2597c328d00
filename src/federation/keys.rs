//! What is stored about other servers: keyspaces and records. Used nowhere outside `federation`.
//!
//! Prefixes 0xA0 to 0xBF. Server names and key ids are at most 255 bytes.

use serde::{Deserialize, Serialize};

use crate::{
    base::clock::UnixMillis,
    graph::{RoomNo, Seq},
    store::{DecodeError, Family, Keyspace, KeyspaceInfo, Position, Record, Value},
};

/// Keys of other servers, kept for ever: an old event may need an old key.
pub(super) const SERVER_KEY: Keyspace<(String, String), KeyRow> = Keyspace::new(
    Family::Hot,
    0xA0,
    "server_key",
    "server, key id → public key, until when it is valid, when it was replaced; fetch, lazily",
);

/// The last document of each server, for those that ask this one as a notary.
pub(super) const KEY_DOCUMENT: Keyspace<(String,), DocumentRow> =
    Keyspace::new(Family::Hot, 0xA1, "key_document", "server → its last key document, when it came; fetch, lazily");

/// Other servers that do not answer, or have not got yet what they missed.
pub(super) const DESTINATION: Keyspace<(String,), DestinationRow> = Keyspace::new(
    Family::Hot,
    0xA8,
    "destination",
    "server → failing since, tries, next try, from where on it has missed events, the transaction that it has not answered; \
     it fails, and is gone once it has all",
);

/// Events for servers that were not in the room, and did not answer: that an invite was taken back. What a server has missed
/// of rooms that it is in is told by their last events; of these it would never learn.
pub(super) const OUTSIDE: Keyspace<(String, Position, RoomNo, Seq), ()> = Keyspace::new(
    Family::Hot,
    0xA9,
    "due_outside",
    "server, commit, room, number of an event; while the server fails, until it has got it",
);

/// What transactions of other servers were answered, for when they ask again.
pub(super) const FED_TXN: Keyspace<(String, String), TxnRow> = Keyspace::new(
    Family::Inbox,
    0xB0,
    "fed_txn",
    "server, transaction id → answer; with what the transaction brought, for a day",
);
/// The same by time, to be thrown away.
pub(super) const FED_TXN_AT: Keyspace<(UnixMillis, String, String), ()> =
    Keyspace::new(Family::Inbox, 0xB1, "fed_txn_at", "when, server, transaction id; with the answer");
/// Events of other servers that were acknowledged and are not judged yet.
pub(super) const STAGED: Keyspace<(RoomNo, Position, u32), StagedRow> = Keyspace::new(
    Family::Inbox,
    0xB2,
    "staged",
    "room, position, index → event, who sent it, tries; from its transaction until it is judged",
);

/// All keyspaces of this module, for the catalogue and the golden bytes.
pub const KEYSPACES: &[KeyspaceInfo] = &[
    SERVER_KEY.info(),
    KEY_DOCUMENT.info(),
    FED_TXN.info(),
    FED_TXN_AT.info(),
    STAGED.info(),
    DESTINATION.info(),
    OUTSIDE.info(),
];

/// A key of another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRow {
    pub(super) public_key: [u8; 32],
    /// Until when its server said it is valid, at most seven days after it said so.
    pub(super) valid_until: UnixMillis,
    /// From when on it signed nothing, if it was replaced.
    pub(super) expired_at: Option<UnixMillis>,
}

/// A document as its server signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DocumentRow {
    pub(super) json: String,
    pub(super) fetched_at: UnixMillis,
}

/// A server that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DestinationRow {
    /// Since when.
    pub(super) failing_since: UnixMillis,
    /// How often in a row it was tried.
    pub(super) tries: u32,
    /// When it is tried next.
    pub(super) next_try: UnixMillis,
    /// It has missed events of this commit or later, besides those of the transaction.
    pub(super) resume: Position,
    /// The transaction that it has not answered. It gets this one again before any other.
    pub(super) unanswered: Option<TransactionRow>,
}

impl Record for DestinationRow {
    const VERSION: u8 = 2;
    fn upgrade(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let DestinationRowV1 { failing_since, tries, next_try, resume } = Value::decode(version, body)?;
        Ok(Self { failing_since, tries, next_try, resume, unanswered: None })
    }
}

/// [`DestinationRow`] as it was first stored.
#[derive(Serialize, Deserialize)]
struct DestinationRowV1 {
    failing_since: UnixMillis,
    tries: u32,
    next_try: UnixMillis,
    resume: Position,
}

impl Record for DestinationRowV1 {}

/// A transaction that was sent, without the bodies of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TransactionRow {
    /// Its id.
    pub(super) id: String,
    /// When it was made.
    pub(super) made_at: UnixMillis,
    /// Its events: which commit brought them, and their numbers in their rooms.
    pub(super) events: Vec<(Position, RoomNo, Seq)>,
    /// Rooms whose receipts it tells, and of which commits: from the first to the last of two.
    pub(super) receipts: Vec<(RoomNo, Position, Position)>,
}

/// What a transaction was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TxnRow {
    /// The body, JSON.
    pub(super) answer: String,
}

/// An event that waits to be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedRow {
    pub(super) event_id: String,
    /// In canonical JSON; its format is right, its signatures may be anybody's.
    pub(super) pdu: Vec<u8>,
    /// The server that sent it.
    pub(super) origin: String,
    /// How often what it needs could not be had.
    pub(super) tries: u8,
    /// Not before this time, in ms since the Unix epoch, is it tried again.
    pub(super) next_try: UnixMillis,
}

impl Record for TxnRow {}
impl Record for StagedRow {}
impl Record for KeyRow {}
impl Record for DocumentRow {}
