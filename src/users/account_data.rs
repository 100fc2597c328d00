//! Account data: what clients keep for a user, for all rooms or for one (client-server API, "Client Config").

use ruma::{RoomId, UserId};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    changes,
    keys::{ACCOUNT_DATA, AD_LOG, AD_SIZE, AccountDataRow, AccountDataSize, fits},
};
use crate::{
    rooms::{
        content,
        ignored::{IGNORED_USER_LIST, Ignored},
    },
    store::{Batch, CommitError, Position, ReadError, View},
};

/// The largest content, in bytes.
pub const LARGEST_CONTENT: usize = 512 << 10;
/// The most entries of a user, in all scopes together.
pub const MOST_ENTRIES: u32 = 50_000;
/// The most bytes of contents of a user, in all scopes together.
pub const MOST_BYTES: u64 = 64 << 20;
/// The most entries that are read of one scope.
const PAGE: usize = 5_000;

const INVITE_PERMISSION_CONFIG: &str = "m.invite_permission_config";

/// Types that only the server sets.
const SERVER_CONTROLLED: [&str; 2] = ["m.fully_read", "m.push_rules"];

/// Where account data belongs: to no room (`None`) or to one.
pub type Scope<'a> = Option<&'a RoomId>;

/// Why account data can't be set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AccountDataError {
    /// The type is longer than 255 bytes or empty.
    #[error("the type of account data must have 1 to 255 bytes")]
    BadType,
    /// The room id is longer than 255 bytes.
    #[error("a room id must not be longer than 255 bytes")]
    BadRoom,
    /// The type is the server's.
    #[error("account data of this type is controlled by the server")]
    ServerControlled,
    /// The content is not an object.
    #[error("the content of account data must be a JSON object")]
    NotAnObject,
    /// The content is larger than [`LARGEST_CONTENT`].
    #[error("account data must not be larger than 512 KiB")]
    TooLarge,
    /// The user has [`MOST_ENTRIES`] or [`MOST_BYTES`] already.
    #[error("this user has too much account data")]
    TooMuch,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// An entry, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The room's id, or nothing for global data.
    pub room_id: String,
    /// The type.
    pub kind: String,
    /// The content, as JSON; `{}` for what was deleted.
    pub content: String,
    /// When it was set.
    pub position: Position,
}

fn scope_key(scope: Scope<'_>) -> &str {
    scope.map_or("", RoomId::as_str)
}

/// The content of one entry, as JSON.
pub fn get(view: &View<'_>, user_id: &UserId, scope: Scope<'_>, kind: &str) -> Result<Option<String>, ReadError> {
    if !fits(kind) || !fits(scope_key(scope)) {
        return Ok(None);
    }
    Ok(view.get(&ACCOUNT_DATA, &(user_id.as_str(), scope_key(scope), kind))?.map(|row| row.content))
}

/// Whom the user ignores, of what they set in [`IGNORED_USER_LIST`].
pub fn ignored(view: &View<'_>, user_id: &UserId) -> Result<Ignored, ReadError> {
    let content = get(view, user_id, None, IGNORED_USER_LIST)?;
    Ok(content.map(|content| Ignored::of_content(content.as_bytes())).unwrap_or_default())
}

/// Whether the user takes no invites (client-server API, "Invite Permission").
pub fn blocks_invites(view: &View<'_>, user_id: &UserId) -> Result<bool, ReadError> {
    let config = get(view, user_id, None, INVITE_PERMISSION_CONFIG)?;
    let action = config.and_then(|config| content::text(config.as_bytes(), "default_action"));
    Ok(action.as_deref() == Some("block"))
}

/// All entries of one scope.
pub fn scope(view: &View<'_>, user_id: &UserId, scope: Scope<'_>) -> Result<Vec<Entry>, ReadError> {
    let span = ACCOUNT_DATA.span(&(user_id.as_str(), scope_key(scope)));
    Ok(view.scan(&span, PAGE)?.rows.into_iter().map(entry).collect())
}

/// All entries of many rooms, in the order of `rooms`: one wave.
pub fn rooms<'a>(
    view: &View<'_>,
    user_id: &UserId,
    rooms: impl IntoIterator<Item = &'a RoomId>,
) -> Result<Vec<Vec<Entry>>, ReadError> {
    let rooms = rooms.into_iter();
    let spans: Vec<_> = rooms.map(|room_id| ACCOUNT_DATA.span(&(user_id.as_str(), room_id.as_str()))).collect();
    let pages = view.multi_scan(&spans, PAGE)?;
    Ok(pages.into_iter().map(|page| page.rows.into_iter().map(entry).collect()).collect())
}

fn entry(((_, room_id, kind), row): ((String, String, String), AccountDataRow)) -> Entry {
    Entry { room_id, kind, content: row.content, position: row.position }
}

/// Up to `limit` entries, of all scopes, that were set behind `since` and up to the view's horizon, in that order: two
/// waves. An entry that was set again counts at its last position only.
pub fn since(view: &View<'_>, user_id: &UserId, since: Position, limit: usize) -> Result<Vec<Entry>, ReadError> {
    let user = user_id.as_str();
    let span = AD_LOG.span(&(user,)).after(&(user, since)).through(&(user, view.horizon()));
    let rows = view.scan(&span, limit)?.rows;
    let keys = rows.iter().map(|((user, _, room_id, kind), ())| (user, room_id, kind));
    let values = view.multi_get(&ACCOUNT_DATA, keys)?;
    let entries = rows
        .into_iter()
        .zip(values)
        .filter_map(|(((user, _, room_id, kind), ()), row)| Some(entry(((user, room_id, kind), row?))));
    Ok(entries.collect())
}

/// Sets an entry, as a client asks for it: not of the server's types.
pub fn put(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    (scope, kind): (Scope<'_>, &str),
    content: &RawValue,
) -> Result<(), AccountDataError> {
    if SERVER_CONTROLLED.contains(&kind) {
        return Err(AccountDataError::ServerControlled);
    }
    set(view, batch, user_id, (scope, kind), content)
}

/// Sets an entry of any type, for the server's own verbs.
pub fn set(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    (scope, kind): (Scope<'_>, &str),
    content: &RawValue,
) -> Result<(), AccountDataError> {
    if kind.is_empty() || !fits(kind) {
        return Err(AccountDataError::BadType);
    }
    if !fits(scope_key(scope)) {
        return Err(AccountDataError::BadRoom);
    }
    let content = content.get();
    if !content.trim_start().starts_with('{') {
        return Err(AccountDataError::NotAnObject);
    }
    if content.len() > LARGEST_CONTENT {
        return Err(AccountDataError::TooLarge);
    }
    let (user, room_id) = (user_id.as_str().to_owned(), scope_key(scope).to_owned());
    let key = (&user, &room_id, kind);
    let old = view.get(&ACCOUNT_DATA, &key)?;
    let size = view.get(&AD_SIZE, &(&user,))?;
    let new_size = resized(size.unwrap_or_default(), old.as_ref(), content.len());
    let grows = old.as_ref().is_none_or(|old| old.content.len() < content.len());
    if grows && (new_size.entries > MOST_ENTRIES || new_size.bytes > MOST_BYTES) {
        return Err(AccountDataError::TooMuch);
    }
    // Changes of one user exclude each other, so that there is one row of the log for each entry, and the sum is right.
    batch.assert_still(&AD_SIZE, &(&user,), size.as_ref());
    batch.assert_still(&ACCOUNT_DATA, &key, old.as_ref());
    batch.put(&AD_SIZE, &(&user,), &new_size);
    if let Some(old) = &old {
        batch.delete(&AD_LOG, &(&user, old.position, &room_id, kind));
    }
    let (content, kind) = (content.to_owned(), kind.to_owned());
    let log_key = (user.clone(), room_id.clone(), kind.clone());
    batch.put_at(&ACCOUNT_DATA, move |position| ((user, room_id, kind), AccountDataRow { content, position }));
    batch.put_at(&AD_LOG, move |position| {
        let (user, room_id, kind) = log_key;
        ((user, position, room_id, kind), ())
    });
    changes::account_data(batch, user_id);
    Ok(())
}

fn resized(size: AccountDataSize, old: Option<&AccountDataRow>, new: usize) -> AccountDataSize {
    let bytes = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    AccountDataSize {
        entries: size.entries.saturating_add(u32::from(old.is_none())),
        bytes: size.bytes.saturating_sub(bytes(old.map_or(0, |old| old.content.len()))).saturating_add(bytes(new)),
    }
}
