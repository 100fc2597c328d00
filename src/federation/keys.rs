//! What is stored about other servers: keyspaces and records. Used nowhere outside `federation`.
//!
//! Prefixes 0xA0 to 0xBF. Server names and key ids are at most 255 bytes.

use serde::{Deserialize, Serialize};

use crate::{
    base::clock::UnixMillis,
    graph::RoomNo,
    store::{Family, Keyspace, KeyspaceInfo, Position, Record},
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
    "server → failing since, tries, next try, from where on it has missed events; it fails, and is gone once it has all",
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
pub const KEYSPACES: &[KeyspaceInfo] =
    &[SERVER_KEY.info(), KEY_DOCUMENT.info(), FED_TXN.info(), FED_TXN_AT.info(), STAGED.info(), DESTINATION.info()];

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
    /// It has missed events of this commit or later.
    pub(super) resume: Position,
}

impl Record for DestinationRow {}
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
