//! Tags of rooms: the account data `m.tag` of a room (client-server API, "Room Tagging").

use ruma::{RoomId, UserId};
use serde_json::{Map, Value as Json, json, value::to_raw_value};
use thiserror::Error;

use super::account_data::{self, AccountDataError};
use crate::store::{Batch, CommitError, ReadError, View};

/// The account data type of tags.
pub const TYPE: &str = "m.tag";
/// The longest name of a tag, in bytes.
pub const LONGEST_NAME: usize = 255;
/// The most tags of a room.
pub const MOST_TAGS: usize = 100;

/// Why a tag can't be set.
#[derive(Debug, Error)]
pub enum TagError {
    /// The name is empty or longer than 255 bytes.
    #[error("the name of a tag must have 1 to 255 bytes")]
    BadName,
    /// There are [`MOST_TAGS`] already.
    #[error("this room has too many tags")]
    TooMany,
    /// It can't be stored.
    #[error(transparent)]
    Store(#[from] AccountDataError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The tags of a room, by name, each with its content.
pub fn get(view: &View<'_>, user_id: &UserId, room_id: &RoomId) -> Result<Map<String, Json>, ReadError> {
    let content = account_data::get(view, user_id, Some(room_id), TYPE)?;
    let content: Option<Json> = content.and_then(|content| serde_json::from_str(&content).ok());
    let tags = content.and_then(|mut content| content.get_mut("tags").map(Json::take));
    Ok(match tags {
        Some(Json::Object(tags)) => tags,
        _ => Map::new(),
    })
}

/// Sets a tag.
pub fn set(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    (room_id, name): (&RoomId, &str),
    info: Json,
) -> Result<(), TagError> {
    if !(1..=LONGEST_NAME).contains(&name.len()) {
        return Err(TagError::BadName);
    }
    let mut tags = get(view, user_id, room_id)?;
    tags.insert(name.to_owned(), info);
    if tags.len() > MOST_TAGS {
        return Err(TagError::TooMany);
    }
    write(view, batch, user_id, room_id, tags)
}

/// Removes a tag, if it is there.
pub fn remove(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    room_id: &RoomId,
    name: &str,
) -> Result<(), TagError> {
    let mut tags = get(view, user_id, room_id)?;
    if tags.remove(name).is_none() {
        return Ok(());
    }
    write(view, batch, user_id, room_id, tags)
}

fn write(
    view: &View<'_>,
    batch: &mut Batch,
    user_id: &UserId,
    room_id: &RoomId,
    tags: Map<String, Json>,
) -> Result<(), TagError> {
    let content = to_raw_value(&json!({ "tags": tags })).unwrap_or_default();
    Ok(account_data::set(view, batch, user_id, (Some(room_id), TYPE), &content)?)
}
