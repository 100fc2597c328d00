//! What is stored about other servers: keyspaces and records. Used nowhere outside `federation`.
//!
//! Prefixes 0xA0 to 0xBF. Server names and key ids are at most 255 bytes.

use serde::{Deserialize, Serialize};

use crate::{
    base::clock::UnixMillis,
    store::{Family, Keyspace, KeyspaceInfo, Record},
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

/// All keyspaces of this module, for the catalogue and the golden bytes.
pub const KEYSPACES: &[KeyspaceInfo] = &[SERVER_KEY.info(), KEY_DOCUMENT.info()];

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

impl Record for KeyRow {}
impl Record for DocumentRow {}
