//! Telling rooms of a changed profile: a user's membership events say what their profile says (client-server API, "Events
//! on Change of Profile Information").
//!
//! The change itself notes, in its own commit, that rooms are to be told. A task tells them, a few at a time; a server
//! that stops in between goes on at its next start. What a room says already is not said again, so repeating is harmless.

use std::time::Duration;

use futures_util::future::join_all;
use ruma::{
    OwnedUserId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use thiserror::Error;

use crate::{
    app::App,
    event::json,
    graph::{Membership, Proposal, Reader, RoomNo, SendError, Seq},
    store::{Batch, CommitError, ReadError, View},
    users::profile::{self, AVATAR_URL, DISPLAY_NAME, MemberProfile},
};

const MEMBER: &str = "m.room.member";
/// Rooms that are told at the same time.
const AT_ONCE: usize = 8;
/// Users that are looked for at once.
const USERS: usize = 1_000;
/// How long to wait when rooms are busy or the store cannot write.
const PAUSE: Duration = Duration::from_secs(5);
/// What belongs to the join that a member event was, and not to one that only says a new name.
const OF_THE_JOIN: [&str; 3] = ["reason", "join_authorised_via_users_server", "third_party_invite"];

/// Why rooms were not all told.
#[derive(Debug, Error)]
enum TellError {
    /// Some were busy.
    #[error("some rooms are busy")]
    Busy,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Tells the rooms of all users who changed their profile and whose rooms were not all told: once at the start.
///
/// # Errors
/// When the store cannot be read.
pub async fn resume(app: &App) -> Result<(), ReadError> {
    let mut after: Option<OwnedUserId> = None;
    loop {
        let behind = after;
        let due = app.users.read(move |view| profile::all_due(view, behind.as_deref(), USERS)).await?;
        let Some(last) = due.last() else { return Ok(()) };
        after = Some(last.clone());
        for user_id in &due {
            start(app, user_id);
        }
    }
}

/// Tells the rooms of a user, beside what the caller does.
pub(super) fn start(app: &App, user_id: &UserId) {
    let (teller, user_id) = (app.clone(), user_id.to_owned());
    app.tasks.spawn("tell rooms of a profile", async move { tell(&teller, &user_id).await });
}

/// Goes on until all rooms were told of the last change, or the server stops. One task does so for a user; others leave it
/// to that one.
async fn tell(app: &App, user_id: &UserId) {
    loop {
        let Some(turn) = app.users.begin_telling(user_id) else { return };
        let told = tokio::select! {
            told = tell_once(app, user_id) => told,
            () = app.shutdown.wait() => return,
        };
        // First the turn ends, then one looks whether there is more: who notes a change in between finds no turn taken.
        drop(turn);
        match told {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%user_id, %error, "rooms could not be told of a profile yet");
                tokio::select! {
                    () = app.clock.sleep(PAUSE) => {}
                    () = app.shutdown.wait() => return,
                }
            }
        }
    }
}

/// Tells all rooms of the last change. Whether there was one.
async fn tell_once(app: &App, user_id: &UserId) -> Result<bool, TellError> {
    let reader = user_id.to_owned();
    let read = app.rooms.read(move |rooms, view| {
        let Some(number) = profile::due(view, &reader)? else { return Ok(None) };
        let profile = profile::get(view, &reader)?.for_members();
        Ok::<_, ReadError>(Some((number, outdated(rooms, view, &reader, &profile)?)))
    });
    let Some((number, memberships)) = read.await? else { return Ok(false) };
    let mut busy = false;
    for some in memberships.chunks(AT_ONCE) {
        for sent in join_all(some.iter().map(|membership| update(app, user_id, membership))).await {
            match sent {
                Ok(()) => {}
                Err(SendError::Read(error)) => return Err(error.into()),
                Err(SendError::Commit(error)) => return Err(error.into()),
                // Read and told again.
                Err(SendError::Rider | SendError::Busy | SendError::Stopped) => busy = true,
                // The room does not let it in; it will not the next time either.
                Err(error) => tracing::debug!(%user_id, %error, "a room was not told of a profile"),
            }
        }
    }
    if busy {
        return Err(TellError::Busy);
    }
    let (user_id, mut batch) = (user_id.to_owned(), Batch::new());
    profile::told(&mut batch, &user_id, number);
    match app.store.commit(batch).await {
        // A conflict: the profile has changed again.
        Ok(_) | Err(CommitError::Conflict) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// A membership that does not say what the profile says, and what it should say.
struct Outdated {
    room: RoomNo,
    seq: Seq,
    content: CanonicalJsonObject,
}

/// The memberships of a user that do not say what the profile says.
fn outdated(
    reader: &Reader,
    view: &View<'_>,
    user_id: &UserId,
    profile: &MemberProfile,
) -> Result<Vec<Outdated>, ReadError> {
    let rooms = reader.user_rooms(view, user_id)?;
    let joined: Vec<(RoomNo, Seq)> = rooms
        .into_iter()
        .filter(|(_, row)| row.membership == Membership::Join)
        .filter_map(|(room, row)| Some((room, row.seq?)))
        .collect();
    let events = reader.events(view, &joined)?;
    let rewritten = events.into_iter().flatten().filter_map(|event| {
        let old = json::parse(event.content()).ok()?;
        let content = rewrite(&old, profile);
        (content != old).then_some(Outdated { room: event.room, seq: event.seq, content })
    });
    Ok(rewritten.collect())
}

/// The content of a membership with another name and avatar. What clients and bridges have put beside them stays.
fn rewrite(old: &CanonicalJsonObject, profile: &MemberProfile) -> CanonicalJsonObject {
    let mut new = old.clone();
    for (field, value) in [(DISPLAY_NAME, &profile.displayname), (AVATAR_URL, &profile.avatar_url)] {
        match value {
            Some(value) => drop(new.insert(field.to_owned(), CanonicalJsonValue::String(value.clone()))),
            None => drop(new.remove(field)),
        }
    }
    if new != *old {
        new.retain(|field, _| !OF_THE_JOIN.contains(&field.as_str()));
    }
    new
}

async fn update(app: &App, user_id: &UserId, Outdated { room, seq, content }: &Outdated) -> Result<(), SendError> {
    let proposal = Proposal::state(user_id.to_owned(), MEMBER, user_id.as_str(), content.clone());
    // Only in the place of what was read: who leaves meanwhile does not come back by a new name.
    app.policy.send_one(*room, proposal.replacing(*seq)).await.map(drop)
}
