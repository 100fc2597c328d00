//! Names of rooms on this server, and its published directory.

use ruma::{OwnedUserId, RoomAliasId, UserId};
use thiserror::Error;

use super::keys::{ALIAS, AliasRow, PUBLISHED, ROOM_ALIAS};
use crate::{
    graph::{
        RoomNo,
        log::{self, Entry, Stream},
    },
    store::{Batch, ReadError, View},
};

/// The most aliases of a room.
const MOST_ALIASES: usize = 1_000;
/// The longest alias, in bytes (appendices, "Room Aliases").
pub const LONGEST_ALIAS: usize = 255;

/// An alias of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The room that it names.
    pub room: RoomNo,
    /// Who made it.
    pub creator: Option<OwnedUserId>,
}

/// Why an alias is not set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AliasError {
    /// The alias is no name that this server gives.
    #[error("this is no valid alias of this server")]
    Invalid,
    /// It names a room already.
    #[error("this alias is taken")]
    Taken,
    /// The room has too many.
    #[error("this room has too many aliases")]
    TooMany,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Whether this is a well-formed alias.
pub fn is_valid(alias: &RoomAliasId) -> bool {
    let has_odd = alias.alias().chars().any(|char| char.is_whitespace() || char.is_control());
    alias.as_str().len() <= LONGEST_ALIAS && !alias.alias().is_empty() && !has_odd
}

/// The room that an alias of this server names.
pub fn get(view: &View<'_>, alias: &RoomAliasId) -> Result<Option<Alias>, ReadError> {
    if !is_valid(alias) {
        return Ok(None);
    }
    let row = view.get(&ALIAS, &(alias.as_str(),))?;
    Ok(row.map(|row| Alias { room: row.room, creator: UserId::parse(row.creator).ok() }))
}

/// The aliases of a room, in their order.
pub fn of_room(view: &View<'_>, room: RoomNo) -> Result<Vec<String>, ReadError> {
    let rows = view.scan(&ROOM_ALIAS.span(&(room,)), MOST_ALIASES)?.rows;
    Ok(rows.into_iter().map(|((_, alias), ())| alias).collect())
}

/// Names a room. The commit fails with a conflict if the alias was given meanwhile.
pub fn put(
    view: &View<'_>,
    batch: &mut Batch,
    (alias, room, creator): (&RoomAliasId, RoomNo, &UserId),
) -> Result<(), AliasError> {
    if !is_valid(alias) {
        return Err(AliasError::Invalid);
    }
    if view.has(&ALIAS, &(alias.as_str(),))? {
        return Err(AliasError::Taken);
    }
    if of_room(view, room)?.len() >= MOST_ALIASES {
        return Err(AliasError::TooMany);
    }
    give(batch, alias, room, creator);
    Ok(())
}

/// Names a new room: asserts that the alias is free.
pub fn give(batch: &mut Batch, alias: &RoomAliasId, room: RoomNo, creator: &UserId) {
    batch.assert_absent(&ALIAS, &(alias.as_str(),));
    batch.put(&ALIAS, &(alias.as_str(),), &AliasRow { room, creator: creator.to_string() });
    batch.put(&ROOM_ALIAS, &(room, alias.as_str()), &());
    log::record(batch, Entry::room(Stream::Directory, room));
}

/// Lets a name of one room name another. The commit fails with a conflict if it is not that room's any more.
pub fn pass_on(batch: &mut Batch, alias: &RoomAliasId, (from, creator): (RoomNo, Option<&UserId>), to: RoomNo) {
    let row = |room| AliasRow { room, creator: creator.map(ToString::to_string).unwrap_or_default() };
    batch.assert_is(&ALIAS, &(alias.as_str(),), &row(from));
    batch.put(&ALIAS, &(alias.as_str(),), &row(to));
    batch.delete(&ROOM_ALIAS, &(from, alias.as_str()));
    batch.put(&ROOM_ALIAS, &(to, alias.as_str()), &());
    for room in [from, to] {
        log::record(batch, Entry::room(Stream::Directory, room));
    }
}

/// Takes a name away.
pub fn remove(batch: &mut Batch, alias: &RoomAliasId, room: RoomNo) {
    batch.delete(&ALIAS, &(alias.as_str(),));
    batch.delete(&ROOM_ALIAS, &(room, alias.as_str()));
    log::record(batch, Entry::room(Stream::Directory, room));
}

/// Whether a room is in the published directory.
pub fn is_published(view: &View<'_>, room: RoomNo) -> Result<bool, ReadError> {
    view.has(&PUBLISHED, &(room,))
}

/// All published rooms, in the order of their numbers (which are random).
pub fn published(view: &View<'_>, limit: usize) -> Result<Vec<RoomNo>, ReadError> {
    Ok(view.scan(&PUBLISHED.span(&()), limit)?.rows.into_iter().map(|((room,), ())| room).collect())
}

/// Puts a room into the published directory, or takes it out.
pub fn publish(batch: &mut Batch, room: RoomNo, published: bool) {
    if published {
        batch.put(&PUBLISHED, &(room,), &());
    } else {
        batch.delete(&PUBLISHED, &(room,));
    }
    log::record(batch, Entry::room(Stream::Directory, room));
}
