//! Changing one's profile.

use ruma::OwnedUserId;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    app::App,
    store::{Batch, CommitError, ReadError, View},
    users::profile::{self, ProfileError},
};

/// What becomes of a field.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is set to this.
    Set(Box<RawValue>),
    /// It is removed.
    Remove,
}

/// Why a profile was not changed.
#[derive(Debug, Error)]
pub enum SetProfileError {
    /// The field can't be set.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Changes one field of a profile.
pub async fn set_profile(
    app: &App,
    user_id: OwnedUserId,
    field: String,
    change: Change,
) -> Result<(), SetProfileError> {
    let write = move |view: &View<'_>, batch: &mut Batch| {
        match &change {
            Change::Set(value) => profile::set(view, batch, &user_id, &field, value)?,
            Change::Remove => profile::remove(view, batch, &user_id, &field)?,
        }
        Ok(())
    };
    app.users.change(write).await
}
