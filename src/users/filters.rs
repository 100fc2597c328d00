//! Filters that clients upload once and then name (client-server API, "Filtering").

use ruma::UserId;
use thiserror::Error;

use super::keys::{FILTER, fits};
use crate::{
    rooms::filter::{BadFilter, Filter},
    store::{Batch, CommitError, ReadError, View},
};

/// The largest filter, in bytes of JSON.
pub const LARGEST_FILTER: usize = 64 << 10;
/// The most filters of a user. The same filter uploaded again is the same one, so that real clients have a few.
pub const MOST_FILTERS: usize = 500;

/// Why a filter can't be stored.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FilterError {
    /// It is no filter.
    #[error(transparent)]
    Bad(#[from] BadFilter),
    /// It is larger than [`LARGEST_FILTER`].
    #[error("a filter must not be larger than 64 KiB")]
    TooLarge,
    /// There are [`MOST_FILTERS`] already.
    #[error("this user has too many filters")]
    TooMany,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Adds a filter and returns its id: the hash of what it says.
pub fn put(view: &View<'_>, batch: &mut Batch, user_id: &UserId, json: &str) -> Result<String, FilterError> {
    if json.len() > LARGEST_FILTER {
        return Err(FilterError::TooLarge);
    }
    Filter::parse(json)?;
    let id = blake3::hash(json.as_bytes()).to_hex().as_str().chars().take(20).collect::<String>();
    let key = (user_id.as_str(), &id);
    if view.has(&FILTER, &key)? {
        return Ok(id);
    }
    if view.scan(&FILTER.span(&(user_id.as_str(),)), MOST_FILTERS)?.rows.len() >= MOST_FILTERS {
        return Err(FilterError::TooMany);
    }
    batch.put(&FILTER, &key, &json.to_owned());
    Ok(id)
}

/// A stored filter, as it was uploaded.
pub fn get_json(view: &View<'_>, user_id: &UserId, id: &str) -> Result<Option<String>, ReadError> {
    if !fits(id) {
        return Ok(None);
    }
    view.get(&FILTER, &(user_id.as_str(), id))
}

/// A stored filter, ready for use.
pub fn get(view: &View<'_>, user_id: &UserId, id: &str) -> Result<Option<Filter>, FilterError> {
    let json = get_json(view, user_id, id)?;
    Ok(json.map(|json| Filter::parse(&json)).transpose()?)
}
