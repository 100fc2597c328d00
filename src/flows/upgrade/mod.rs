//! Replacing a room by one of another version (client-server API, "Room Upgrades").
//!
//! The new room is there, whole, before anything points to it; the tombstone, and with it the aliases and the place in the
//! directory, follow in one commit. A server that stops in between leaves a room that nobody knows of, and the old one as it was.

mod plan;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, UserId,
    canonical_json::CanonicalJsonObject,
};

use tokio::sync::oneshot;

use self::plan::{COPIED, New, Old};
use super::{
    carry_over::carry_over,
    create_room::{CreateRoomError, MOST_AT_ONCE, PlanError},
    new_state::{NewState, member_content},
    room_error::RoomError,
    send::Sender,
};
use crate::{
    app::App,
    event::{json, version},
    graph::{Created, Event, Membership, Proposal, Reader, RoomNo, SendError, StateKey},
    rooms::{aliases, power::power_levels},
    store::{ReadError, View},
    users::profile,
};

const TOMBSTONE: &str = "m.room.tombstone";
const SPACE_CHILD: &str = "m.space.child";
/// Bans, and children of a space, that the new room gets, each at the most.
const MOST_FOLLOWING: usize = 5_000;
/// The most users who are creators beside the one who upgrades.
const MOST_CREATORS: usize = 100;
/// How often a tombstone is tried when aliases change meanwhile.
const TRIES: u32 = 3;

/// What is known of the old room.
struct Found {
    room: RoomNo,
    old: Old,
    published: bool,
    /// What follows the first events of the new room: bans, and a space's children.
    following: Vec<NewState>,
    joined: CanonicalJsonObject,
}

/// Replaces a room, and says by which.
///
/// # Errors
/// When the sender may not, the version is unknown, or the new room cannot be.
pub async fn upgrade(
    app: &App,
    sender: &Sender,
    room_id: OwnedRoomId,
    new_version: RoomVersionId,
    additional_creators: Vec<OwnedUserId>,
) -> Result<OwnedRoomId, CreateRoomError> {
    let (upgrading, sender, (answer, answered)) = (app.clone(), sender.clone(), oneshot::channel());
    // A task of its own: a client that goes away leaves no room that nobody knows of.
    app.tasks.spawn("upgrade a room", async move {
        let _ = answer.send(upgrade_whole(&upgrading, &sender, room_id, new_version, additional_creators).await);
    });
    answered.await.unwrap_or_else(|_| Err(RoomError::from(SendError::Stopped).into()))
}

async fn upgrade_whole(
    app: &App,
    sender: &Sender,
    room_id: OwnedRoomId,
    new_version: RoomVersionId,
    additional_creators: Vec<OwnedUserId>,
) -> Result<OwnedRoomId, CreateRoomError> {
    // One at a time: of two at once the second replaces what the first has ended, or is told so.
    let _turn = app.handshakes.turn(&room_id).await;
    let rules = version::rules(&new_version).ok_or_else(|| PlanError::UnsupportedVersion(new_version.clone()))?;
    if additional_creators.len() > MOST_CREATORS {
        return Err(PlanError::Invalid("there are too many `additional_creators`").into());
    }
    let mut once = BTreeSet::from([sender.user_id.clone()]);
    let additional_creators: Vec<_> =
        additional_creators.into_iter().filter(|user_id| once.insert(user_id.clone())).collect();
    let (whose, id) = (sender.clone(), room_id.clone());
    let found = app.rooms.read(move |reader, view| find(reader, view, &whose, &id)).await?;
    let (version, creator) = (&new_version, &sender.user_id);
    let new = New { version, rules, creator, additional_creators: &additional_creators, joined: found.joined.clone() };
    let mut events = plan::plan(&found.old, new)?;
    let mut following = found.following.clone();
    // What is the sender's to set before there are power levels comes before them.
    let first = following.len().min(MOST_AT_ONCE.saturating_sub(events.len()));
    let before_levels = events.len().saturating_sub(1);
    events.splice(before_levels..before_levels, following.drain(..first));
    let proposals = events.into_iter().map(|event| event.proposed_by(creator)).collect();
    let created = app.graph.create(new_version.clone(), proposals).await.map_err(super::create_room::refused)?;
    add_following(app, sender, &created, following).await;
    close(app, sender, found, &created).await?;
    carry_over(app, creator, created.room).await;
    Ok(created.room_id)
}

fn find(reader: &Reader, view: &View<'_>, sender: &Sender, room_id: &RoomId) -> Result<Found, RoomError> {
    let (room, head) = reader.room(view, room_id)?.ok_or(RoomError::NotInRoom)?;
    let own = reader.user_room(view, &sender.user_id, room)?;
    if own.is_none_or(|own| own.membership != Membership::Join) {
        return Err(RoomError::NotInRoom);
    }
    let levels = power_levels(reader, view, (room, &head))?.ok_or(RoomError::UnknownRoom)?;
    if levels.of(&sender.user_id) < levels.to_send(TOMBSTONE, true) {
        return Err(RoomError::Forbidden("you may not upgrade this room".to_owned()));
    }
    let content = |event: &Event| json::parse(event.content()).ok();
    let state = |kind: &str| {
        Ok::<_, ReadError>(reader.state_event(view, room, head.root, kind, "")?.as_ref().and_then(content))
    };
    let keys = COPIED.map(|kind| StateKey::new(kind, ""));
    let copied = reader.state_events(view, room, head.root, &keys)?;
    let copied = copied.iter().flatten().filter_map(|event| Some(NewState::of_room(&event.kind, content(event)?)));
    let extremities: Vec<_> = head.extremities.iter().map(|seq| (room, *seq)).collect();
    let last = reader.events(view, &extremities)?.into_iter().flatten().next_back();
    let create = state("m.room.create")?.unwrap_or_default();
    let is_space = create.get("type").and_then(|kind| kind.as_str()) == Some("m.space");
    let mut following = bans(reader, view, room)?;
    if is_space {
        following.extend(children(reader, view, (room, head.root))?);
    }
    let rules = version::rules(&head.room_version);
    let old = Old {
        room_id: room_id.to_string(),
        last_event: last.map(|event| event.event_id.to_string()),
        create,
        creators: levels.creators().clone(),
        privileged: rules.is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators),
        power_levels: state("m.room.power_levels")?,
        join_rules: state("m.room.join_rules")?,
        copied: copied.collect(),
        aliases: aliases::of_room(view, room)?,
        canonical_alias: state("m.room.canonical_alias")?,
    };
    let profile = profile::get(view, &sender.user_id)?.for_members();
    let joined = member_content(Membership::Join, &profile, None);
    Ok(Found { room, old, published: aliases::is_published(view, room)?, following, joined })
}

/// The bans of a room, without whom they were made for or by.
fn bans(reader: &Reader, view: &View<'_>, room: RoomNo) -> Result<Vec<NewState>, ReadError> {
    let page = reader.member_page(view, room, &[Membership::Ban], None, MOST_FOLLOWING)?;
    let seqs: Vec<_> = page.members.iter().map(|(_, member)| (room, member.seq)).collect();
    let events = reader.events(view, &seqs)?;
    let bans = page.members.into_iter().zip(events).filter_map(|((user_id, _), event)| {
        let reason = crate::rooms::content::text(event?.content(), "reason");
        let user_id = UserId::parse(user_id).ok()?;
        Some(NewState::of_member(&user_id, member_content(Membership::Ban, &profile::MemberProfile::default(), reason)))
    });
    Ok(bans.collect())
}

/// The children of a space: those that were not taken out.
fn children(
    reader: &Reader,
    view: &View<'_>,
    (room, root): (RoomNo, crate::graph::Root),
) -> Result<Vec<NewState>, ReadError> {
    let seqs: Vec<_> =
        reader.state_of_type(view, room, root, SPACE_CHILD)?.into_iter().map(|seq| (room, seq)).collect();
    let events = reader.events(view, seqs.get(..MOST_FOLLOWING).unwrap_or(&seqs))?;
    let children = events.into_iter().flatten().filter_map(|event| {
        let content = json::parse(event.content()).ok()?;
        let state_key = event.state_key.clone()?;
        content.contains_key("via").then(|| NewState::new(SPACE_CHILD.to_owned(), state_key, content))
    });
    Ok(children.collect())
}

/// Sends what had no place in the commit that began the room. The room is one without it.
async fn add_following(app: &App, sender: &Sender, created: &Created, following: Vec<NewState>) {
    let mut following = following.into_iter().map(|state| state.proposed_by(&sender.user_id)).peekable();
    while following.peek().is_some() {
        let some = following.by_ref().take(MOST_AT_ONCE);
        for sent in join_all(some.map(|proposal| app.policy.send_one(created.room, proposal))).await {
            if let Err(error) = sent {
                tracing::warn!(room_id = %created.room_id, %error, "a ban or a child was not carried over to a new room");
            }
        }
    }
}

/// Ends the old room: the tombstone takes the aliases and the place in the directory along. Then nobody may go on there, if
/// that is the sender's to say.
async fn close(app: &App, sender: &Sender, mut found: Found, created: &Created) -> Result<(), RoomError> {
    let (from, to) = (found.room, created.room);
    let mut tries = 0;
    loop {
        let named: Vec<OwnedRoomAliasId> =
            found.old.aliases.iter().filter_map(|alias| RoomAliasId::parse(alias).ok()).collect();
        let published = found.published;
        let known = app.rooms.read(move |_, view| {
            let creators = named.iter().map(|alias| Ok((alias.clone(), aliases::get(view, alias)?)));
            creators.collect::<Result<Vec<_>, ReadError>>()
        });
        let known: Vec<_> = known.await?.into_iter().filter_map(|(alias, row)| Some((alias, row?))).collect();
        let content = plan::tombstone(created.room_id.as_str());
        let tombstone = NewState::of_room(TOMBSTONE, content).proposed_by(&sender.user_id);
        let tombstone = tombstone.with_rider(move |_, batch| {
            for (alias, row) in known.iter().filter(|(_, row)| row.room == from) {
                aliases::pass_on(batch, alias, (from, row.creator.as_deref()), to);
            }
            if published {
                aliases::publish(batch, from, false);
                aliases::publish(batch, to, true);
            }
        });
        tries += 1;
        match app.policy.send_one(from, tombstone).await {
            Ok(_) => break,
            // An alias was taken away meanwhile.
            Err(SendError::Rider) if tries < TRIES => {
                found.old.aliases = app.rooms.read(move |_, view| aliases::of_room(view, from)).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let named = found.old.canonical_alias.as_ref().is_some_and(|content| !content.is_empty());
    let unnamed = (named && !found.old.aliases.is_empty())
        .then(|| NewState::of_room("m.room.canonical_alias", CanonicalJsonObject::new()));
    let closed = plan::closed(&found.old).map(|content| NewState::of_room("m.room.power_levels", content));
    for state in unnamed.into_iter().chain(closed) {
        let kind = state.kind.clone();
        let proposal: Proposal = state.proposed_by(&sender.user_id);
        if let Err(error) = app.policy.send_one(from, proposal).await {
            tracing::info!(room_id = found.old.room_id, kind, %error, "an upgraded room keeps what its upgrader may not change");
        }
    }
    Ok(())
}
