//! Profiles: display name, avatar, and any other field (client-server API, "Profiles").

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, value::RawValue};
use thiserror::Error;

use super::{
    Users, changes,
    keys::{PROFILE, PROFILE_DUE, fits},
};
use crate::store::{Batch, CommitError, ReadError, View};

/// The longest display name, in characters.
pub const LONGEST_DISPLAY_NAME: usize = 256;
/// The longest avatar URL, in bytes.
pub const LONGEST_AVATAR_URL: usize = 1_000;
/// A whole profile, as JSON, must be smaller than this many bytes.
pub const LARGEST_PROFILE: usize = 64 << 10;
/// The field of the display name.
pub const DISPLAY_NAME: &str = "displayname";
/// The field of the avatar's URL.
pub const AVATAR_URL: &str = "avatar_url";
/// The field of the time zone.
pub const TIME_ZONE: &str = "m.tz";

/// Why a field can't be set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProfileError {
    /// The name is longer than 255 bytes.
    #[error("the name of a profile field must not be longer than 255 bytes")]
    KeyTooLarge,
    /// The name is not of the grammar of namespaced identifiers.
    #[error("`{0}` cannot be the name of a profile field")]
    BadKey(String),
    /// The value is not what this field holds.
    #[error("{0}")]
    BadValue(&'static str),
    /// The whole profile would be too large.
    #[error("the profile would be larger than 64 KiB")]
    TooLarge,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The fields of a profile by name, each as its JSON. They are less than 64 KiB together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile(pub BTreeMap<String, String>);

impl Profile {
    /// The bytes of its JSON object.
    fn size(&self) -> usize {
        // `{"field":value,…}`: each field costs its name, its value, two quotes, a colon and a comma (or a brace).
        self.0.iter().map(|(field, value)| field.len() + value.len() + 4).sum::<usize>() + 1
    }

    /// A field that holds a text, if it is there and not empty.
    fn text(&self, field: &str) -> Option<String> {
        let text: String = serde_json::from_str(self.0.get(field)?).ok()?;
        Some(text).filter(|text| !text.is_empty())
    }

    /// What member events say of the user.
    pub fn for_members(&self) -> MemberProfile {
        MemberProfile { displayname: self.text(DISPLAY_NAME), avatar_url: self.text(AVATAR_URL) }
    }
}

/// The profile of a user; empty if nothing was set.
pub fn get(view: &View<'_>, user_id: &UserId) -> Result<Profile, ReadError> {
    if !fits(user_id.as_str()) {
        return Ok(Profile::default());
    }
    Ok(view.get(&PROFILE, &(user_id.as_str(),))?.unwrap_or_default())
}

/// What member events say of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberProfile {
    /// The display name, if there is one.
    pub displayname: Option<String>,
    /// The avatar's URL, if there is one.
    pub avatar_url: Option<String>,
}

/// Whether a field of this name may exist.
pub fn check_key(field: &str) -> Result<(), ProfileError> {
    if !fits(field) {
        return Err(ProfileError::KeyTooLarge);
    }
    let starts = field.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    // What is in the specification by name needs no namespace; all else lies in one.
    let named = matches!(field, DISPLAY_NAME | AVATAR_URL) || field.contains('.');
    if starts && named && field.bytes().all(is_allowed) { Ok(()) } else { Err(ProfileError::BadKey(field.to_owned())) }
}

/// Whether the field may hold the value.
fn check_value(field: &str, value: &RawValue) -> Result<(), ProfileError> {
    let text = || match serde_json::from_str(value.get()) {
        Ok(Json::String(text)) => Ok(text),
        _ => Err(ProfileError::BadValue("the value of this profile field must be a string")),
    };
    match field {
        DISPLAY_NAME if text()?.chars().count() > LONGEST_DISPLAY_NAME => {
            Err(ProfileError::BadValue("a display name must not be longer than 256 characters"))
        }
        AVATAR_URL if text()?.len() > LONGEST_AVATAR_URL => {
            Err(ProfileError::BadValue("an avatar URL must not be longer than 1,000 bytes"))
        }
        TIME_ZONE if !is_time_zone(&text()?) => Err(ProfileError::BadValue("not the name of a time zone")),
        _ => Ok(()),
    }
}

/// Whether this has the form of a name of the IANA time zone database. The names themselves change every year.
fn is_time_zone(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Sets a field. The commit fails with a conflict if the profile changes meanwhile.
pub fn set(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    field: &str,
    value: &RawValue,
) -> Result<(), ProfileError> {
    check_key(field)?;
    check_value(field, value)?;
    let old = view.get(&PROFILE, &(user_id.as_str(),))?;
    let mut new = old.clone().unwrap_or_default();
    new.0.insert(field.to_owned(), value.get().to_owned());
    if new.size() >= LARGEST_PROFILE {
        return Err(ProfileError::TooLarge);
    }
    batch.assert_still(&PROFILE, &(user_id.as_str(),), old.as_ref());
    batch.put(&PROFILE, &(user_id.as_str(),), &new);
    changes::profile(batch, user_id);
    Ok(())
}

/// Removes a field, if it is there. The commit fails with a conflict if the profile changes meanwhile.
pub fn remove(view: &View<'_>, batch: &mut Batch, user_id: &UserId, field: &str) -> Result<(), ProfileError> {
    check_key(field)?;
    let Some(old) = view.get(&PROFILE, &(user_id.as_str(),))? else { return Ok(()) };
    let mut new = old.clone();
    if new.0.remove(field).is_some() {
        batch.assert_is(&PROFILE, &(user_id.as_str(),), &old);
        batch.put(&PROFILE, &(user_id.as_str(),), &new);
        changes::profile(batch, user_id);
    }
    Ok(())
}

/// Notes, in the commit of a change, that the rooms of the user are to be told. `number` must differ from that of an
/// earlier change that is not told yet.
pub fn note_due(batch: &mut Batch, user_id: &UserId, number: u64) {
    batch.put(&PROFILE_DUE, &(user_id.as_str(),), &number);
}

/// The number of the last change that is to be told, if there is one.
pub fn due(view: &View<'_>, user_id: &UserId) -> Result<Option<u64>, ReadError> {
    view.get(&PROFILE_DUE, &(user_id.as_str(),))
}

/// Up to `limit` users whose rooms are to be told, behind `after` if given.
pub fn all_due(view: &View<'_>, after: Option<&UserId>, limit: usize) -> Result<Vec<OwnedUserId>, ReadError> {
    let mut span = PROFILE_DUE.span(&());
    if let Some(after) = after {
        span = span.after(&(after.as_str(),));
    }
    let rows = view.scan(&span, limit)?.rows;
    Ok(rows.into_iter().filter_map(|((user,), _)| UserId::parse(user).ok()).collect())
}

/// All rooms were told of the change with this number; the commit fails with a conflict if there was another since.
pub fn told(batch: &mut Batch, user_id: &UserId, number: u64) {
    batch.assert_is(&PROFILE_DUE, &(user_id.as_str(),), &number);
    batch.delete(&PROFILE_DUE, &(user_id.as_str(),));
}

/// Who is telling rooms of a profile in this process.
#[derive(Default)]
pub(super) struct Tellers(Mutex<HashSet<OwnedUserId>>);

/// The turn to tell the rooms of a user; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    users: Users,
    user_id: OwnedUserId,
}

impl Users {
    /// Takes the turn to tell the rooms of a user, if nobody has it.
    pub fn begin_telling(&self, user_id: &UserId) -> Option<Turn> {
        let begun = self.tellers.0.lock().insert(user_id.to_owned());
        begun.then(|| Turn { users: self.clone(), user_id: user_id.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.users.tellers.0.lock().remove(&self.user_id);
    }
}
