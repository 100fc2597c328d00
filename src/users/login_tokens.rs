//! Login tokens: a signed-in user lets one more client in (`POST /v1/login/get_token`, `m.login.token`).

use std::time::Duration;

use ruma::{OwnedUserId, UserId};

use super::{
    accounts::{self, Account},
    keys::LOGIN_TOKEN,
    tokens::{LoginToken, Secret, TokenHash},
};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, ReadError, View},
};

/// How long a login token lives; the specification recommends this.
pub const LIFETIME: Duration = Duration::from_mins(2);

/// Adds a login token for a user, which lives as long as the credentials of this account.
pub fn issue(batch: &mut Batch, random: &Random, now: UnixMillis, (user_id, account): (&UserId, &Account)) -> Secret {
    let token = Secret::new("myll", random);
    let lifetime = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
    let (user, expires_at) = (user_id.to_string(), now.saturating_add(lifetime));
    let row = LoginToken { user, expires_at, credentials: credentials(account) };
    batch.put(&LOGIN_TOKEN, &(token.hash(),), &row);
    token
}

/// Uses a login token up and says whose it is; `None` if it is unknown, used or over, or made before the last change of
/// the account's password. The commit fails with a conflict
/// if another login used it first.
pub fn redeem(
    view: &View<'_>,
    batch: &mut Batch,
    token: &str,
    now: UnixMillis,
) -> Result<Option<(OwnedUserId, Account)>, ReadError> {
    let key = (TokenHash::of(token),);
    let Some(row) = view.get(&LOGIN_TOKEN, &key)?.filter(|row| row.expires_at > now) else { return Ok(None) };
    let Ok(user_id) = UserId::parse(&row.user) else { return Ok(None) };
    let Some(account) = accounts::get(view, &user_id)? else { return Ok(None) };
    // An account that has ended has no credentials any more; its user is told that it has.
    if !account.deactivated && credentials(&account) != row.credentials {
        return Ok(None);
    }
    batch.assert_is(&LOGIN_TOKEN, &key, &row);
    batch.delete(&LOGIN_TOKEN, &key);
    Ok(Some((user_id, account)))
}

/// What proves who one is, hashed: the stored password is new with each change, since it is salted.
fn credentials(account: &Account) -> [u8; 16] {
    let hash = blake3::hash(account.password_hash.as_deref().unwrap_or_default().as_bytes());
    let mut credentials = [0; 16];
    credentials.copy_from_slice(hash.as_bytes().split_at(16).0);
    credentials
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Value as _, users::tokens::LoginTokenV1};

    #[test]
    fn a_token_of_the_first_version_is_read_and_void() {
        let mut body = Vec::new();
        LoginTokenV1 { user: "@alice:localhost".to_owned(), expires_at: 9 }.encode(&mut body);
        let row = LoginToken::decode(1, &body).unwrap();
        assert_eq!((row.user.as_str(), row.expires_at), ("@alice:localhost", 9));
        assert_ne!(row.credentials, credentials(&Account::default()));
        assert!(LoginToken::decode(3, &body).is_err());
    }
}
