//! Who may get an account: user ids, registration tokens, and registration by shared secret.

use std::time::Duration;

use ring::hmac;
use ruma::{OwnedUserId, ServerName, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keys::{NONCE, REGISTRATION_TOKEN};
use crate::{
    base::{clock::UnixMillis, random::Random},
    store::{Batch, ReadError, View},
};

/// Names that nobody gets by registering; an administrator may still create them.
const RESERVED: [&str; 14] = [
    "abuse",
    "admin",
    "administrator",
    "hostmaster",
    "moderator",
    "myelin",
    "noreply",
    "postmaster",
    "root",
    "security",
    "server",
    "support",
    "system",
    "webmaster",
];

/// Why a name can't become a user id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UsernameError {
    /// Not of the grammar of user ids.
    #[error("a user name must consist of the characters a-z, 0-9, '.', '_', '=', '-', '/' and '+'")]
    Grammar,
    /// The whole user id would be longer than 255 bytes.
    #[error("the user name is too long")]
    TooLong,
    /// One of the reserved names.
    #[error("this user name is reserved")]
    Reserved,
}

/// The user id that a new account with this name gets: in small letters, so that no two differ only in case (appendices,
/// "User Identifiers"). The historical grammar is never created.
pub fn user_id_for(name: &str, server_name: &ServerName) -> Result<OwnedUserId, UsernameError> {
    let name = name.to_ascii_lowercase();
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'=' | b'-' | b'/' | b'+')
    };
    if name.is_empty() || !name.bytes().all(is_allowed) {
        return Err(UsernameError::Grammar);
    }
    let whole = format!("@{name}:{server_name}");
    if whole.len() > 255 {
        return Err(UsernameError::TooLong);
    }
    UserId::parse(whole).map_err(|_| UsernameError::Grammar)
}

/// Whether the user id is one that nobody gets by registering.
pub fn check_not_reserved(user_id: &UserId) -> Result<(), UsernameError> {
    if RESERVED.contains(&user_id.localpart()) { Err(UsernameError::Reserved) } else { Ok(()) }
}

/// A name for who does not ask for one: twelve small letters and digits.
pub fn random_name(random: &Random) -> String {
    random.alphanumeric(12).to_ascii_lowercase()
}

/// A registration token: lets some people register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationToken {
    /// How many accounts it may make; any number if absent.
    pub uses_allowed: Option<u32>,
    /// How many it made.
    pub used: u32,
    /// When it ends; never if absent.
    pub expires_at: Option<UnixMillis>,
}

impl RegistrationToken {
    fn is_valid(&self, now: UnixMillis) -> bool {
        self.uses_allowed.is_none_or(|allowed| self.used < allowed) && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The longest registration token, in characters (client-server API, "Token-authenticated registration").
pub const LONGEST_TOKEN: usize = 64;

/// Whether a string has the grammar of a registration token.
pub fn is_token(token: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(is_allowed)
}

/// A new token, hard to guess and possible to type.
pub fn new_token(random: &Random) -> String {
    random.alphanumeric(24)
}

/// Adds a registration token; the commit fails with a conflict if it exists.
pub fn add_token(batch: &mut Batch, token: &str, limits: &RegistrationToken) {
    batch.assert_absent(&REGISTRATION_TOKEN, &(token,));
    batch.put(&REGISTRATION_TOKEN, &(token,), limits);
}

/// Whether there is any registration token, used up or not.
pub fn any_token(view: &View<'_>) -> Result<bool, ReadError> {
    Ok(view.first(&REGISTRATION_TOKEN.span(&()))?.is_some())
}

/// Whether the token may make an account now.
pub fn is_valid_token(view: &View<'_>, token: &str, now: UnixMillis) -> Result<bool, ReadError> {
    if !is_token(token) {
        return Ok(false);
    }
    Ok(view.get(&REGISTRATION_TOKEN, &(token,))?.is_some_and(|row| row.is_valid(now)))
}

/// Uses the token for one account, in the commit that creates it; `false` if it may not. The commit fails with a
/// conflict if somebody else uses the same token at the same time.
pub fn use_token(view: &View<'_>, batch: &mut Batch, token: &str, now: UnixMillis) -> Result<bool, ReadError> {
    if !is_token(token) {
        return Ok(false);
    }
    let Some(row) = view.get(&REGISTRATION_TOKEN, &(token,))?.filter(|row| row.is_valid(now)) else { return Ok(false) };
    batch.assert_is(&REGISTRATION_TOKEN, &(token,), &row);
    batch.put(&REGISTRATION_TOKEN, &(token,), &RegistrationToken { used: row.used.saturating_add(1), ..row });
    Ok(true)
}

/// How long a nonce of shared-secret registration lives.
const NONCE_LIFETIME: Duration = Duration::from_mins(1);

/// Adds a nonce for one shared-secret registration.
pub fn new_nonce(batch: &mut Batch, random: &Random, now: UnixMillis) -> String {
    let nonce = random.alphanumeric(43);
    let lifetime = u64::try_from(NONCE_LIFETIME.as_millis()).unwrap_or(u64::MAX);
    batch.put(&NONCE, &(&nonce,), &now.saturating_add(lifetime));
    nonce
}

/// Uses a nonce up; `false` if it is unknown, used or over. The commit fails with a conflict if another request used it
/// first.
pub fn use_nonce(view: &View<'_>, batch: &mut Batch, nonce: &str, now: UnixMillis) -> Result<bool, ReadError> {
    if nonce.len() > LONGEST_TOKEN {
        return Ok(false);
    }
    let Some(end) = view.get(&NONCE, &(nonce,))?.filter(|end| *end > now) else { return Ok(false) };
    batch.assert_is(&NONCE, &(nonce,), &end);
    batch.delete(&NONCE, &(nonce,));
    Ok(true)
}

/// What a shared-secret registration signs.
#[derive(Clone, Copy, Debug)]
pub struct SharedSecretRequest<'a> {
    /// The nonce that the server gave out.
    pub nonce: &'a str,
    /// The name of the account.
    pub username: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Whether it becomes an administrator.
    pub admin: bool,
    /// The kind of user, if given.
    pub user_type: Option<&'a str>,
}

/// Whether `mac` (hexadecimal HMAC-SHA1, as Synapse's admin API defines it) signs the request. In constant time.
pub fn is_signed(secret: &str, request: &SharedSecretRequest<'_>, mac: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let admin = if request.admin { "admin" } else { "notadmin" };
    let mut message = [request.nonce, request.username, request.password, admin].join("\0");
    if let Some(user_type) = request.user_type {
        message.push('\0');
        message.push_str(user_type);
    }
    from_hex(mac).is_some_and(|mac| hmac::verify(&key, message.as_bytes(), &mac).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        let server = server_name!("localhost");
        assert_eq!(user_id_for("alice.b=c_d-e/f+0", server).unwrap(), "@alice.b=c_d-e/f+0:localhost");
        assert_eq!(user_id_for("Alice", server).unwrap(), "@alice:localhost");
        let longest = "a".repeat(255 - "@:localhost".len());
        assert!(user_id_for(&longest, server).is_ok());
        assert_eq!(user_id_for(&format!("{longest}a"), server), Err(UsernameError::TooLong));
        for wrong in ["", "älice", "a b", "a:b", "а", "a\0", "a!", "@a", "a#", "a\n"] {
            assert_eq!(user_id_for(wrong, server), Err(UsernameError::Grammar), "{wrong:?}");
        }
        assert_eq!(check_not_reserved(user_id!("@admin:a.b")), Err(UsernameError::Reserved));
        assert_eq!(check_not_reserved(user_id!("@alice:a.b")), Ok(()));
    }

    #[test]
    fn random_names_are_valid() {
        let random = Random::seeded(3);
        assert!(user_id_for(&random_name(&random), server_name!("localhost")).is_ok());
        assert!(is_token(&new_token(&random)));
    }

    #[test]
    fn a_mac_signs_one_request() {
        let request = SharedSecretRequest {
            nonce: "thisisanonce",
            username: "pepper_roni",
            password: "pizza",
            admin: true,
            user_type: None,
        };
        // hmac.new(b"shared_secret", b"thisisanonce\0pepper_roni\0pizza\0admin", hashlib.sha1).hexdigest()
        let mac = "48715842ad67d5dc9a9ee938a3bda4fcfae8d7c7";
        assert!(is_signed("shared_secret", &request, mac));
        assert!(is_signed("shared_secret", &request, &mac.to_uppercase()));
        assert!(!is_signed("other", &request, mac));
        assert!(!is_signed("shared_secret", &SharedSecretRequest { admin: false, ..request }, mac));
        assert!(!is_signed("shared_secret", &SharedSecretRequest { user_type: Some("bot"), ..request }, mac));
        for wrong in ["", "0", "zz", "48715842ad67d5dc9a9ee938a3bda4fcfae8d7"] {
            assert!(!is_signed("shared_secret", &request, wrong), "{wrong}");
        }
    }
}
