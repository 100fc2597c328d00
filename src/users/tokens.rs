//! Tokens: opaque, random, and known to the store only by their hash.
//!
//! An access token belongs to a device. A client that can refresh gets one that expires, and a refresh token beside it.
//! Refreshing makes a new pair; the old pair stays valid until the new one is first used, so that a client that never
//! received the answer can ask again (client-server API, "Refreshing access tokens").

use std::{fmt, time::Duration};

use ruma::{DeviceId, UserId};
use serde::{Deserialize, Serialize};

use super::{
    devices,
    keys::{DEVICE_TOKEN, REFRESH, TOKEN},
};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, ReadError, View},
};

/// What a token is known by. The token itself is nowhere stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token. It needs no salt and no cost: a token has 190 bits that nobody chose.
    pub fn of(token: &str) -> Self {
        Self(*blake3::hash(token.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// A token in the clear: shown to its client once, and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new token. The prefix lets secret scanners know it for what it is.
    pub fn new(prefix: &str, random: &Random) -> Self {
        Self(format!("{prefix}_{}", random.alphanumeric(32)))
    }

    /// What the store knows it by.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The token, to be sent to its client.
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenRow {
    pub(super) user: String,
    pub(super) device: String,
    /// When it ends; never, if absent.
    pub(super) expires_at: Option<UnixMillis>,
    /// The refresh token that this one came from: revoked, with its pair, when this one is first used.
    pub(super) replaces: Option<TokenHash>,
}

/// A refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefreshRow {
    pub(super) user: String,
    pub(super) device: String,
    /// The access token that was given out with it.
    pub(super) access: TokenHash,
    /// The refresh token that this one came from.
    pub(super) replaces: Option<TokenHash>,
    /// The refresh token that came from this one and was not used yet.
    pub(super) next: Option<TokenHash>,
}

/// A one-time login token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LoginToken {
    pub(super) user: String,
    pub(super) expires_at: UnixMillis,
    /// A hash of the credentials that the account had then: with others, the token is void.
    pub(super) credentials: [u8; 16],
}

/// A one-time login token, as it was stored before it knew credentials.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LoginTokenV1 {
    pub(super) user: String,
    pub(super) expires_at: UnixMillis,
}

/// What a client gets.
#[derive(Debug)]
pub struct Issued {
    /// The access token.
    pub access: Secret,
    /// The refresh token, if the client can refresh.
    pub refresh: Option<Secret>,
    /// How long the access token lives, if it does not live for ever.
    pub lifetime: Option<Duration>,
}

/// Kinds in `device_token`.
pub(super) const ACCESS: u8 = 0;
pub(super) const REFRESHER: u8 = 1;

/// Adds new tokens for a device. With `lifetime` the client can refresh, and the access token expires.
pub fn issue(
    batch: &mut Batch,
    random: &Random,
    now: UnixMillis,
    (user_id, device_id): (&UserId, &DeviceId),
    lifetime: Option<Duration>,
) -> Issued {
    let owner = Owner { user: user_id.as_str(), device: device_id.as_str() };
    issue_for(batch, random, now, owner, lifetime, None)
}

#[derive(Clone, Copy)]
struct Owner<'a> {
    user: &'a str,
    device: &'a str,
}

fn issue_for(
    batch: &mut Batch,
    random: &Random,
    now: UnixMillis,
    Owner { user, device }: Owner<'_>,
    lifetime: Option<Duration>,
    replaces: Option<TokenHash>,
) -> Issued {
    let access = Secret::new("myl", random);
    let millis = lifetime.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
    let expires_at = millis.map(|millis| now.saturating_add(millis));
    let row = TokenRow { user: user.to_owned(), device: device.to_owned(), expires_at, replaces };
    batch.put(&TOKEN, &(access.hash(),), &row);
    batch.put(&DEVICE_TOKEN, &(user, device, ACCESS, access.hash()), &());
    let refresh = lifetime.map(|_| {
        let refresh = Secret::new("mylr", random);
        let (user, device) = (user.to_owned(), device.to_owned());
        batch.put(&DEVICE_TOKEN, &(&user, &device, REFRESHER, refresh.hash()), &());
        let row = RefreshRow { user, device, access: access.hash(), replaces, next: None };
        batch.put(&REFRESH, &(refresh.hash(),), &row);
        refresh
    });
    Issued { access, refresh, lifetime }
}

/// A device has at most two pairs (four tokens) at a time; more than this is a bug, and cleared by the range below.
const MOST_TOKENS: usize = 1_000;

/// Revokes all tokens of a device.
pub fn revoke_device(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<(), ReadError> {
    let span = DEVICE_TOKEN.span(&(user_id.as_str(), device_id.as_str()));
    for ((_, _, kind, hash), ()) in view.scan(&span, MOST_TOKENS)?.rows {
        match kind {
            ACCESS => batch.delete(&TOKEN, &(hash,)),
            _ => batch.delete(&REFRESH, &(hash,)),
        }
    }
    batch.clear(span);
    Ok(())
}

/// The device that a refresh token belongs to, as (user, device), if there is such a token.
pub fn refresh_owner(view: &View<'_>, refresh: TokenHash) -> Result<Option<(String, String)>, ReadError> {
    Ok(view.get(&REFRESH, &(refresh,))?.map(|row| (row.user, row.device)))
}

/// Exchanges a refresh token for a new pair; `None` if there is no such token. The old pair stays valid until the new
/// one is used. The commit fails with a conflict if another exchange of the same token came first.
pub fn refresh(
    view: &View<'_>,
    batch: &mut Batch,
    random: &Random,
    now: UnixMillis,
    refresh: TokenHash,
    lifetime: Duration,
) -> Result<Option<Issued>, ReadError> {
    let Some(old) = view.get(&REFRESH, &(refresh,))? else { return Ok(None) };
    if !devices::bump(view, batch, (&old.user, &old.device))? {
        return Ok(None);
    }
    // The refresh token is used, so what it replaced is over; and so is an earlier exchange whose answer was lost.
    if let Some(replaced) = old.replaces {
        retire(view, batch, replaced)?;
    }
    if let Some(unused) = old.next {
        retire(view, batch, unused)?;
    }
    if let Some(access) = view.get(&TOKEN, &(old.access,))?
        && access.replaces.is_some()
    {
        batch.put(&TOKEN, &(old.access,), &TokenRow { replaces: None, ..access });
    }
    let owner = Owner { user: &old.user, device: &old.device };
    let issued = issue_for(batch, random, now, owner, Some(lifetime), Some(refresh));
    batch.assert_is(&REFRESH, &(refresh,), &old);
    let next = issued.refresh.as_ref().map(Secret::hash);
    batch.put(&REFRESH, &(refresh,), &RefreshRow { replaces: None, next, ..old.clone() });
    Ok(Some(issued))
}

/// Revokes a refresh token and the access token of its pair.
fn retire(view: &View<'_>, batch: &mut Batch, refresh: TokenHash) -> Result<(), ReadError> {
    let Some(row) = view.get(&REFRESH, &(refresh,))? else { return Ok(()) };
    batch.delete(&REFRESH, &(refresh,));
    batch.delete(&TOKEN, &(row.access,));
    batch.delete(&DEVICE_TOKEN, &(&row.user, &row.device, REFRESHER, refresh));
    batch.delete(&DEVICE_TOKEN, &(&row.user, &row.device, ACCESS, row.access));
    Ok(())
}

/// The first use of a refreshed access token: what it replaced is revoked.
pub(super) fn confirm(view: &View<'_>, batch: &mut Batch, access: TokenHash) -> Result<(), ReadError> {
    let Some(row) = view.get(&TOKEN, &(access,))? else { return Ok(()) };
    let Some(replaced) = row.replaces else { return Ok(()) };
    batch.assert_is(&TOKEN, &(access,), &row);
    batch.put(&TOKEN, &(access,), &TokenRow { replaces: None, ..row });
    retire(view, batch, replaced)
}
