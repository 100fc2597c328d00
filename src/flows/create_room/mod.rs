//! Creating rooms. The room begins with one commit: it is there with all of its state, or not at all.

mod literals;
mod new_room;
mod plan;
mod power_levels;

use std::sync::Arc;

use ruma::{OwnedRoomId, OwnedUserId};
use thiserror::Error;

pub use self::new_room::{NewRoom, PlanError, Preset};
use self::{new_room::MOST_AT_ONCE, plan::Known};
use super::{membership::check_invitee, room_error::RoomError};
use crate::{
    app::App,
    event::{BuildError, FormatError},
    graph::{CreateError, Placed, Proposal, Reader, SendError},
    rooms::aliases,
    store::{Batch, View},
    users::profile,
};

/// Why there is no room.
#[derive(Debug, Error)]
pub enum CreateRoomError {
    /// The request cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The alias is taken.
    #[error("this alias is taken")]
    AliasTaken,
    /// The alias can't be one.
    #[error("this is no name for a room")]
    BadAlias,
    /// The events that are asked for do not go together.
    #[error("the state that was asked for cannot be: {0}")]
    InvalidState(String),
    /// Somebody can't be invited, or something else went wrong.
    #[error(transparent)]
    Room(#[from] RoomError),
}

/// Creates a room.
pub async fn create_room(app: &App, new: NewRoom) -> Result<OwnedRoomId, CreateRoomError> {
    let known = look_up(app, &new).await?;
    let events = plan::plan(&new, &known)?;
    let mut proposals: Vec<Proposal> = events.into_iter().map(|event| event.proposed_by(&new.creator)).collect();
    // What does not fit into one commit are invites; the room is whole without them.
    let later = proposals.split_off(proposals.len().min(MOST_AT_ONCE));
    let (alias, creator, published) = (known.alias, new.creator, new.published);
    let directory = move |placed: &Placed, batch: &mut Batch| {
        if let Some(alias) = &alias {
            aliases::give(batch, alias, placed.room, &creator);
        }
        if published {
            aliases::publish(batch, placed.room, true);
        }
    };
    if let Some(create) = proposals.first_mut() {
        create.rider = Some(Arc::new(directory));
    }
    let created = app.graph.create(new.version, proposals).await.map_err(refused)?;
    let mut later = later.into_iter().peekable();
    while later.peek().is_some() {
        let chunk = later.by_ref().take(MOST_AT_ONCE).collect();
        app.graph.send(created.room, chunk).await.map_err(RoomError::from)?;
    }
    Ok(created.room_id)
}

fn refused(CreateError { error, .. }: CreateError) -> CreateRoomError {
    match error {
        SendError::Rider => CreateRoomError::AliasTaken,
        SendError::NotAllowed(rule) => CreateRoomError::InvalidState(rule.to_string()),
        SendError::Invalid(BuildError::Format(FormatError::Invalid(why))) => CreateRoomError::InvalidState(why),
        other => CreateRoomError::Room(other.into()),
    }
}

/// Looks up what the plan needs to know of others.
async fn look_up(app: &App, new: &NewRoom) -> Result<Known, CreateRoomError> {
    let alias = match &new.alias_name {
        None => None,
        Some(name) => {
            let alias = ruma::RoomAliasId::parse(format!("#{name}:{}", app.server_name));
            let alias = alias.ok().filter(|alias| aliases::is_valid(alias) && alias.alias() == name);
            Some(alias.ok_or(CreateRoomError::BadAlias)?)
        }
    };
    let mut invitees: Vec<OwnedUserId> = Vec::new();
    for user_id in &new.invite {
        if !invitees.contains(user_id) {
            invitees.push(user_id.clone());
        }
    }
    let creator = new.creator.clone();
    let look_up = move |_: &Reader, view: &View<'_>| {
        if let Some(alias) = &alias
            && aliases::get(view, alias).map_err(RoomError::from)?.is_some()
        {
            return Err(CreateRoomError::AliasTaken);
        }
        let profile_of = |user_id| Ok::<_, RoomError>(profile::get(view, user_id)?.for_members());
        let mut invite = Vec::with_capacity(invitees.len());
        for user_id in &invitees {
            if *user_id != creator {
                check_invitee(view, &creator, user_id)?;
            }
            invite.push((user_id.clone(), profile_of(user_id)?));
        }
        Ok(Known { profile: profile_of(&creator)?, alias: alias.clone(), invite })
    };
    app.rooms.read(look_up).await
}

impl From<crate::store::ReadError> for CreateRoomError {
    fn from(error: crate::store::ReadError) -> Self {
        Self::Room(error.into())
    }
}
