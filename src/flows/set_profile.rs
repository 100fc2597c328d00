//! Changing one's profile.

use ruma::OwnedUserId;
use serde_json::value::RawValue;
use thiserror::Error;

use super::tell_rooms;
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

/// Changes one field of a profile. Where it is one that memberships repeat, the user's rooms are told soon.
pub async fn set_profile(
    app: &App,
    user_id: OwnedUserId,
    field: String,
    change: Change,
) -> Result<(), SetProfileError> {
    let is_in_rooms = matches!(field.as_str(), profile::DISPLAY_NAME | profile::AVATAR_URL);
    let (maker, owner) = (app.users.clone(), user_id.clone());
    let write = move |view: &View<'_>, batch: &mut Batch| {
        match &change {
            Change::Set(value) => profile::set(view, batch, &owner, &field, value)?,
            Change::Remove => profile::remove(view, batch, &owner, &field)?,
        }
        if is_in_rooms && !batch.is_empty() {
            profile::note_due(batch, &owner, maker.random.u64());
        }
        Ok::<_, SetProfileError>(())
    };
    app.users.change(write).await?;
    if is_in_rooms {
        tell_rooms::start(app, &user_id);
    }
    Ok(())
}
