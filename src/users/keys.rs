//! What is stored about local accounts: keyspaces and records. Used nowhere outside `users`.
//!
//! Users are named by their whole user id, devices by their id as the client knows it, rooms by their room id (so that
//! account data may be set for a room that this server has never seen). All of these are at most 255 bytes.

use serde::{Deserialize, Serialize};

use super::{
    accounts::Account,
    devices::{Device, Seen},
    openid::OpenIdToken,
    profile::Profile,
    registration::RegistrationToken,
    tokens::{LoginToken, LoginTokenV1, RefreshRow, TokenHash, TokenRow},
    txn::Transaction,
    uia::UiaRow,
};
use crate::{
    base::clock::UnixMillis,
    store::{DecodeError, Family, KeyPart, Keyspace, KeyspaceInfo, Position, Record, Value},
};

/// Accounts.
pub(super) const ACCOUNT: Keyspace<(String,), Account> = Keyspace::new(
    Family::Hot,
    0x40,
    "account",
    "user → password hash, admin, locked, suspended, deactivated; registration and changes of the account",
);

/// Profiles: all fields together, since they have one limit together.
pub(super) const PROFILE: Keyspace<(String,), Profile> =
    Keyspace::new(Family::Hot, 0x41, "profile", "user → fields, each as JSON; when the user sets one");

/// Users whose memberships do not say yet what their profile says. The number differs with each change.
pub(super) const PROFILE_DUE: Keyspace<(String,), u64> =
    Keyspace::new(Family::Hot, 0x4F, "profile_due", "user → number; with the profile, until all rooms were told");

/// Devices.
pub(super) const DEVICE: Keyspace<(String, String), Device> =
    Keyspace::new(Family::Hot, 0x42, "device", "user, device → display name, created; login, rename, logout");

/// When and from where a device was last seen. Apart from the device, so that writing it disturbs nothing.
pub(super) const SEEN: Keyspace<(String, String), Seen> =
    Keyspace::new(Family::Hot, 0x43, "device_seen", "user, device → time, address; lazily");

/// Access tokens.
pub(super) const TOKEN: Keyspace<(TokenHash,), TokenRow> =
    Keyspace::new(Family::Hot, 0x44, "token", "hash of an access token → user, device, expiry; login, refresh");

/// Refresh tokens.
pub(super) const REFRESH: Keyspace<(TokenHash,), RefreshRow> =
    Keyspace::new(Family::Hot, 0x45, "refresh", "hash of a refresh token → user, device, its pair; login, refresh");

/// The tokens of a device; the last part says which kind of token.
pub(super) const DEVICE_TOKEN: Keyspace<(String, String, u8, TokenHash), ()> = Keyspace::new(
    Family::Hot,
    0x46,
    "device_token",
    "user, device, kind (0 access, 1 refresh), hash of a token; with the token",
);

/// Account data, of a room or (with an empty room) of none.
pub(super) const ACCOUNT_DATA: Keyspace<(String, String, String), AccountDataRow> = Keyspace::large(
    Family::Hot,
    0x47,
    "account_data",
    "user, room or nothing, type → JSON content, position; when the user sets it",
);

/// The account data of a user in the order in which it was set; one row for each row of `account_data`.
pub(super) const AD_LOG: Keyspace<(String, Position, String, String), ()> =
    Keyspace::new(Family::Log, 0x40, "ad_log", "user, position, room or nothing, type; with account data (moved)");

/// How much account data a user has.
pub(super) const AD_SIZE: Keyspace<(String,), AccountDataSize> =
    Keyspace::new(Family::Hot, 0x4E, "ad_size", "user → entries and bytes of account data; with each change of it");

/// Filters.
pub(super) const FILTER: Keyspace<(String, String), String> =
    Keyspace::new(Family::Hot, 0x48, "filter", "user, filter id → filter JSON; upload");

/// Answers to requests with a transaction id.
pub(super) const TXN: Keyspace<(String, String, [u8; 16]), Transaction> = Keyspace::new(
    Family::Hot,
    0x49,
    "txn",
    "user, device, hash of method and path → answer, time; with the effect of the request",
);

/// User-interactive authentication sessions.
pub(super) const UIA: Keyspace<(String,), UiaRow> =
    Keyspace::new(Family::Hot, 0x4A, "uia", "session → the request it is bound to, stages done, expiry; its stages");

/// Registration tokens.
pub(super) const REGISTRATION_TOKEN: Keyspace<(String,), RegistrationToken> =
    Keyspace::new(Family::Hot, 0x4B, "registration_token", "token → uses allowed and made, expiry; creation, use");

/// Nonces of shared-secret registration.
pub(super) const NONCE: Keyspace<(String,), UnixMillis> =
    Keyspace::new(Family::Hot, 0x4C, "registration_nonce", "nonce → expiry; deleted by its use");

/// One-time login tokens.
pub(super) const LOGIN_TOKEN: Keyspace<(TokenHash,), LoginToken> = Keyspace::new(
    Family::Hot,
    0x4D,
    "login_token",
    "hash of a login token → user, expiry, hash of the credentials; deleted by its use",
);

/// OpenID tokens.
pub(super) const OPENID_TOKEN: Keyspace<(TokenHash,), OpenIdToken> = Keyspace::new(
    Family::Hot,
    0x50,
    "openid_token",
    "hash of an OpenID token → user, expiry; when a user asks for one",
);

/// All keyspaces of this module, for the catalogue and the golden bytes.
pub const KEYSPACES: &[KeyspaceInfo] = &[
    ACCOUNT.info(),
    PROFILE.info(),
    PROFILE_DUE.info(),
    DEVICE.info(),
    SEEN.info(),
    TOKEN.info(),
    REFRESH.info(),
    DEVICE_TOKEN.info(),
    ACCOUNT_DATA.info(),
    AD_LOG.info(),
    AD_SIZE.info(),
    FILTER.info(),
    TXN.info(),
    UIA.info(),
    REGISTRATION_TOKEN.info(),
    NONCE.info(),
    LOGIN_TOKEN.info(),
    OPENID_TOKEN.info(),
];

/// Stored account data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccountDataRow {
    /// The content, as JSON.
    pub(super) content: String,
    /// The position at which it was set; its row in `ad_log`.
    pub(super) position: Position,
}

/// What a user's account data amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccountDataSize {
    /// Rows of `account_data`.
    pub(super) entries: u32,
    /// Bytes of their contents.
    pub(super) bytes: u64,
}

impl Record for AccountDataRow {}
impl Record for AccountDataSize {}
impl Record for Profile {}
impl Record for Account {}
impl Record for Device {}
impl Record for Seen {}
impl Record for TokenRow {}
impl Record for RefreshRow {}
impl Record for LoginTokenV1 {}
impl Record for LoginToken {
    const VERSION: u8 = 2;
    /// Version 1 did not know the credentials: such a token, two minutes old at most, is void.
    fn upgrade(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let LoginTokenV1 { user, expires_at } = Value::decode(version, body)?;
        Ok(Self { user, expires_at, credentials: [0; 16] })
    }
}
impl Record for Transaction {}
impl Record for UiaRow {}
impl Record for RegistrationToken {}

impl KeyPart for TokenHash {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        KeyPart::decode(input).map(Self)
    }
}

/// The longest outside string (in bytes) that may stand in a key.
pub(super) const LONGEST_KEY_STRING: usize = 255;

/// Whether an outside string may stand in a key. What does not fit was never stored.
pub(super) fn fits(text: &str) -> bool {
    text.len() <= LONGEST_KEY_STRING
}
