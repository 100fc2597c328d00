//! Login tokens: a signed-in user lets one more client in (`POST /v1/login/get_token`, `m.login.token`).

use std::time::Duration;

use ruma::{OwnedUserId, UserId};

use super::{
    keys::LOGIN_TOKEN,
    tokens::{LoginToken, Secret, TokenHash},
};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, ReadError, View},
};

/// How long a login token lives; the specification recommends this.
pub const LIFETIME: Duration = Duration::from_mins(2);

/// Adds a login token for a user.
pub fn issue(batch: &mut Batch, random: &Random, now: UnixMillis, user_id: &UserId) -> Secret {
    let token = Secret::new("myll", random);
    let lifetime = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
    let row = LoginToken { user: user_id.to_string(), expires_at: now.saturating_add(lifetime) };
    batch.put(&LOGIN_TOKEN, &(token.hash(),), &row);
    token
}

/// Uses a login token up and says whose it is; `None` if it is unknown, used or over. The commit fails with a conflict
/// if another login used it first.
pub fn redeem(
    view: &View<'_>,
    batch: &mut Batch,
    token: &str,
    now: UnixMillis,
) -> Result<Option<OwnedUserId>, ReadError> {
    let key = (TokenHash::of(token),);
    let Some(row) = view.get(&LOGIN_TOKEN, &key)?.filter(|row| row.expires_at > now) else { return Ok(None) };
    batch.assert_is(&LOGIN_TOKEN, &key, &row);
    batch.delete(&LOGIN_TOKEN, &key);
    Ok(UserId::parse(row.user).ok())
}
