//! Creating rooms. The room begins with one commit: it is there with all of its state, or not at all.

pub mod plan;

use std::sync::Arc;

use ruma::{OwnedRoomId, OwnedUserId, RoomVersionId, canonical_json::CanonicalJsonObject};
use thiserror::Error;

use self::plan::{MOST_AT_ONCE, Wish};
pub use self::plan::{PlanError, Preset};
use super::{membership::check_invitee, room_error::RoomError, set_state::NewState};
use crate::{
    app::App,
    event::{BuildError, FormatError},
    graph::{CreateError, Placed, Proposal, SendError},
    rooms::aliases,
    store::{Batch, View},
    users::profile::{self, MemberProfile},
};

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Who makes it.
    pub creator: OwnedUserId,
    /// The version.
    pub version: RoomVersionId,
    /// Which default state it gets.
    pub preset: Preset,
    /// More fields of the create event.
    pub creation_content: CanonicalJsonObject,
    /// Fields of the power levels that differ from the default.
    pub power_levels: CanonicalJsonObject,
    /// More state.
    pub initial_state: Vec<NewState>,
    /// The name.
    pub name: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// The local part of its alias.
    pub alias_name: Option<String>,
    /// Who is invited.
    pub invite: Vec<OwnedUserId>,
    /// It is a direct chat with those who are invited.
    pub is_direct: bool,
    /// It is in the published directory.
    pub published: bool,
}

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
    let wish = wish(app, new.clone()).await?;
    let (alias, creator, published) = (wish.alias.clone(), new.creator.clone(), new.published);
    let events = plan::plan(wish)?;
    let mut proposals: Vec<Proposal> = events
        .into_iter()
        .map(|event| Proposal::state(new.creator.clone(), event.kind, event.state_key, event.content))
        .collect();
    // What does not fit into one commit are invites; the room is whole without them.
    let later = proposals.split_off(proposals.len().min(MOST_AT_ONCE));
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
async fn wish(app: &App, new: NewRoom) -> Result<Wish, CreateRoomError> {
    let alias = match &new.alias_name {
        None => None,
        Some(name) => {
            let alias = ruma::RoomAliasId::parse(format!("#{name}:{}", app.server_name));
            let alias = alias.ok().filter(|alias| aliases::is_valid(alias) && alias.alias() == name);
            Some(alias.ok_or(CreateRoomError::BadAlias)?)
        }
    };
    let mut invite: Vec<OwnedUserId> = Vec::new();
    for user_id in &new.invite {
        if !invite.contains(user_id) {
            invite.push(user_id.clone());
        }
    }
    let (creator, wanted, guests) = (new.creator.clone(), alias.clone(), invite.clone());
    let look_up = move |_: &_, view: &View<'_>| {
        if let Some(alias) = &wanted
            && aliases::get(view, alias).map_err(RoomError::from)?.is_some()
        {
            return Err(CreateRoomError::AliasTaken);
        }
        let mut profiles: Vec<MemberProfile> = Vec::with_capacity(guests.len());
        for user_id in &guests {
            if *user_id != creator {
                check_invitee(view, &creator, user_id)?;
            }
            profiles.push(profile::get(view, user_id).map_err(RoomError::from)?.for_members());
        }
        Ok((profile::get(view, &creator).map_err(RoomError::from)?.for_members(), profiles))
    };
    let (profile, profiles) = app.rooms.read(look_up).await?;
    Ok(Wish {
        creator: new.creator,
        profile,
        version: new.version,
        preset: new.preset,
        creation_content: new.creation_content,
        power_levels: new.power_levels,
        initial_state: new.initial_state,
        name: new.name,
        topic: new.topic,
        alias,
        invite: invite.into_iter().zip(profiles).collect(),
        is_direct: new.is_direct,
    })
}

impl From<crate::store::ReadError> for CreateRoomError {
    fn from(error: crate::store::ReadError) -> Self {
        Self::Room(error.into())
    }
}
