//! Creating rooms. The room begins with one commit: it is there with all of its state, or not at all.

pub(super) mod literals;
mod new_room;
mod plan;
pub(super) mod power_levels;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::join_all, stream};
use ruma::{OwnedRoomId, OwnedUserId, RoomAliasId, UserId, canonical_json::CanonicalJsonValue};
use thiserror::Error;
use tokio::sync::oneshot;

pub(super) use self::new_room::MOST_AT_ONCE;
pub use self::new_room::{NewRoom, PlanError, Preset};
use self::plan::Known;
use super::{
    carry_over::carry_over, directory, invite as across, invitee, membership, new_state::NewState,
    room_error::RoomError, set_state,
};
use crate::{
    app::App,
    appservice::Registration,
    event::{BuildError, FormatError},
    graph::{CreateError, Created, Membership, Placed, Proposal, Reader, SendError},
    rooms::aliases,
    store::{Batch, View},
    users::profile,
};

/// Users of other servers who are invited at once.
const ELSEWHERE_AT_ONCE: usize = 20;
/// How long whoever creates a room waits for other servers to take invites. The rest of them go on.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

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
    /// The room is there, but not all invites could be written.
    #[error("the room {0} was created, but not everybody could be invited to it")]
    NotAllInvited(OwnedRoomId),
    /// Somebody can't be invited, or something else went wrong.
    #[error(transparent)]
    Room(#[from] RoomError),
}

/// Creates a room; `by` is the application service that is its creator.
pub async fn create_room(
    app: &App,
    by: Option<&Arc<Registration>>,
    new: NewRoom,
) -> Result<OwnedRoomId, CreateRoomError> {
    plan::check_size(&new)?;
    let has_predecessor = new.creation_content.contains_key("predecessor");
    let known = look_up(app, &new).await?;
    if let Some(alias) = &known.alias {
        directory::check_reserved(app, alias, by.map(|by| &**by))?;
    }
    let events = plan::plan(&new, &known)?;
    for event in &events {
        set_state::check_content(event).map_err(invalid)?;
    }
    let mut proposals: Vec<Proposal> = events.into_iter().map(|event| event.proposed_by(&new.creator)).collect();
    // What does not fit into one commit are invites; the room is whole without them. One of them at least is in the first
    // commit, so what the auth rules say of it and all others is said before there is a room.
    let elsewhere = split_off_elsewhere(app, &mut proposals);
    let later = proposals.split_off(proposals.len().min(MOST_AT_ONCE));
    let (alias, creator, published) = (known.alias, new.creator.clone(), new.published);
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
    let room_id = created.room_id.clone();
    if has_predecessor {
        carry_over(app, &new.creator, created.room).await;
    }
    let elsewhere = invite_elsewhere(app, &created, elsewhere);
    if later.is_empty() {
        elsewhere.await;
        return Ok(room_id);
    }
    // A task of its own: a client that goes away leaves nobody out.
    let (inviter, (answer, answered)) = (app.clone(), oneshot::channel());
    app.tasks.spawn("invites to a new room", async move {
        // Whoever asked may be gone.
        let _ = answer.send(invite(&inviter, &created, later).await);
    });
    let invited = answered.await;
    elsewhere.await;
    invited.unwrap_or_else(|_| Err(CreateRoomError::NotAllInvited(room_id.clone())))?;
    Ok(room_id)
}

/// Takes away the invites of users of other servers, which these have to sign first.
fn split_off_elsewhere(app: &App, proposals: &mut Vec<Proposal>) -> Vec<Proposal> {
    let is_elsewhere = |proposal: &Proposal| {
        let membership = proposal.content.get("membership").and_then(CanonicalJsonValue::as_str);
        let target = proposal.state_key.as_deref().and_then(|key| UserId::parse(key).ok());
        proposal.kind == "m.room.member"
            && membership == Some("invite")
            && target.is_some_and(|target| across::is_for_another_server(app, &target))
    };
    let (elsewhere, here) = std::mem::take(proposals).into_iter().partition(is_elsewhere);
    *proposals = here;
    elsewhere
}

/// Invites users of other servers into a new room, some at once. Whoever created it waits for that, but not for servers that
/// do not answer.
fn invite_elsewhere(app: &App, created: &Created, invites: Vec<Proposal>) -> impl Future<Output = ()> + Send + 'static {
    let (inviter, room, room_id) = (app.clone(), created.room, created.room_id.clone());
    let (done, over) = oneshot::channel();
    let is_empty = invites.is_empty();
    if !is_empty {
        app.tasks.spawn("invites to other servers", async move {
            let mut invited = stream::iter(invites)
                .map(|proposal| {
                    let state = NewState::of_proposal(&proposal);
                    let app = inviter.clone();
                    async move { across::invite(&app, room, proposal.sender, state).await }
                })
                .buffer_unordered(ELSEWHERE_AT_ONCE);
            while let Some(invited) = invited.next().await {
                if let Err(error) = invited {
                    tracing::info!(%room_id, %error, "a user of another server could not be invited to a new room");
                }
            }
            let _ = done.send(());
        });
    }
    let clock = app.clock.clone();
    async move {
        if !is_empty {
            tokio::select! {
                _ = over => {}
                () = clock.sleep(LONGEST_WAIT) => {}
            }
        }
    }
}

/// Sends the invites that had no place in the commit that began the room. Each stands alone: somebody may have joined
/// meanwhile, and that must not cost others their invites.
async fn invite(app: &App, created: &Created, invites: Vec<Proposal>) -> Result<(), CreateRoomError> {
    let room_id = &created.room_id;
    let mut invites = invites.into_iter().peekable();
    while invites.peek().is_some() {
        // The lane makes one commit of what waits together.
        let some = invites.by_ref().take(MOST_AT_ONCE);
        for sent in join_all(some.map(|invite| app.policy.send_one(created.room, invite))).await {
            match sent {
                Ok(_) => {}
                // No invite is lost and the room called a success: who asked is told, and what there is already.
                Err(error @ (SendError::Read(_) | SendError::Commit(_) | SendError::Busy | SendError::Stopped)) => {
                    tracing::warn!(%room_id, %error, "a room was created, but not all of its invites could be sent");
                    return Err(CreateRoomError::NotAllInvited(room_id.clone()));
                }
                // As when the creator had invited them one by one: the others are.
                Err(error) => tracing::info!(%room_id, %error, "somebody could not be invited to a new room"),
            }
        }
    }
    Ok(())
}

/// What was asked for as state is not what it must be.
fn invalid(error: RoomError) -> CreateRoomError {
    match error {
        RoomError::Forbidden(why) | RoomError::BadContent(why) => CreateRoomError::InvalidState(why),
        other => CreateRoomError::Room(other),
    }
}

pub(super) fn refused(CreateError { error, .. }: CreateError) -> CreateRoomError {
    match error {
        SendError::Rider => CreateRoomError::AliasTaken,
        SendError::NotAllowed(rule) => CreateRoomError::InvalidState(rule.to_string()),
        SendError::Invalid(BuildError::Format(FormatError::Invalid(why))) => CreateRoomError::InvalidState(why),
        // Nobody can have signed what the room begins with.
        SendError::NeedsPolicySignature(_) => CreateRoomError::InvalidState(error.to_string()),
        other => CreateRoomError::Room(other.into()),
    }
}

/// Looks up what the plan needs to know of others.
async fn look_up(app: &App, new: &NewRoom) -> Result<Known, CreateRoomError> {
    let alias = match &new.alias_name {
        None => None,
        Some(name) => {
            let alias = RoomAliasId::parse(format!("#{name}:{}", app.server_name));
            let alias = alias.ok().filter(|alias| aliases::is_valid(alias) && alias.alias() == name);
            Some(alias.ok_or(CreateRoomError::BadAlias)?)
        }
    };
    let mut once = BTreeSet::new();
    let invitees: Vec<OwnedUserId> = new.invite.iter().filter(|user_id| once.insert(*user_id)).cloned().collect();
    let (creator, initial_state) = (new.creator.clone(), new.initial_state.clone());
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
                invitee::check_invitee(view, &creator, user_id)?;
            }
            invite.push((user_id.clone(), profile_of(user_id)?));
        }
        for state in &initial_state {
            check_initial(view, &creator, alias.as_deref(), state)?;
        }
        Ok(Known { profile: profile_of(&creator)?, alias: alias.clone(), invite })
    };
    app.rooms.read(look_up).await
}

/// What `PUT /state` would ask of the same state, `initial_state` is asked, too. No alias points to a room that is not
/// there yet, but for the one that it is given.
fn check_initial(
    view: &View<'_>,
    creator: &UserId,
    alias: Option<&RoomAliasId>,
    state: &NewState,
) -> Result<(), CreateRoomError> {
    set_state::check_aliases(state, None, |named| Ok(alias == Some(named)))?;
    if state.kind == "m.room.member" {
        let (membership, target) = membership::read_member(state).map_err(invalid)?;
        if membership == Membership::Invite {
            invitee::check_invitee(view, creator, &target)?;
        }
    }
    Ok(())
}

impl From<crate::store::ReadError> for CreateRoomError {
    fn from(error: crate::store::ReadError) -> Self {
        Self::Room(error.into())
    }
}
