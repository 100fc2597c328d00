//! Keeping guests out: when `m.room.guest_access` stops letting them in, those of this server leave (client-server API,
//! "Guest access", "Server behaviour").
//!
//! The event itself notes, in its own commit, that guests are to be looked for, and so does a guest's join, which may have
//! been decided on just before. A task then lets them leave; a server that stops in between goes on at its next start. Who
//! has left is not found again, so repeating is harmless.

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
    rooms::guest_access,
    store::{Batch, CommitError, ReadError, View},
    users::accounts,
};

/// Members that are looked through at once.
const MEMBERS: usize = 1_000;
/// Guests who leave at the same time: as many as one commit of a room holds.
const AT_ONCE: usize = 50;
/// Rooms that are looked for at once.
const ROOMS: usize = 1_000;
/// How long to wait when the room is busy or the store cannot write.
const PAUSE: Duration = Duration::from_secs(5);

/// Why guests are still there.
#[derive(Debug, Error)]
enum ExpelError {
    /// The room was busy, or changed meanwhile.
    #[error("the room is busy")]
    Busy,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Whether this state keeps guests out.
pub(super) fn keeps_out(kind: &str, state_key: &str, content: &CanonicalJsonObject) -> bool {
    kind == guest_access::GUEST_ACCESS && state_key.is_empty() && !guest_access::is_open(&json::to_bytes(content))
}

/// Looks for guests in all rooms that were noted and not looked after: once at the start.
///
/// # Errors
/// When the store cannot be read.
pub async fn resume(app: &App) -> Result<(), ReadError> {
    let mut after = None;
    loop {
        let due = app.rooms.read(move |_, view| guest_access::all_due(view, after, ROOMS)).await?;
        let Some(last) = due.last() else { return Ok(()) };
        after = Some(*last);
        for room in due {
            start(app, room);
        }
    }
}

/// Lets the guests of this server leave a room that is not for them, beside what the caller does.
pub(super) fn start(app: &App, room: RoomNo) {
    let task = app.clone();
    app.tasks.spawn("guests leave", async move { expel(&task, room).await });
}

/// Goes on until there is nothing more to do, or the server stops.
async fn expel(app: &App, room: RoomNo) {
    loop {
        let expelled = tokio::select! {
            expelled = expel_once(app, room) => expelled,
            () = app.shutdown.wait() => return,
        };
        match expelled {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(?room, %error, "guests could not leave a room yet");
                tokio::select! {
                    () = app.clock.sleep(PAUSE) => {}
                    () = app.shutdown.wait() => return,
                }
            }
        }
    }
}

/// Lets all guests of a room leave, if it is noted and not for them. Whether it was noted.
async fn expel_once(app: &App, room: RoomNo) -> Result<bool, ExpelError> {
    let due = app.rooms.read(move |reader, view| {
        let Some(number) = guest_access::due(view, room)? else { return Ok(None) };
        Ok::<_, ReadError>(Some((number, guest_access::of_room(reader, view, room)?)))
    });
    let Some((number, is_open)) = due.await? else { return Ok(false) };
    let (mut after, mut more) = (None, !is_open);
    while more {
        let (server, behind): (_, Option<String>) = (app.server_name.clone(), after);
        let find = move |reader: &Reader, view: &View<'_>| {
            let page = reader.member_page(view, room, &[Membership::Join], behind.as_deref(), MEMBERS)?;
            let members = page.members.into_iter();
            let ours = members.filter_map(|(user_id, member)| Some((UserId::parse(user_id).ok()?, member.seq)));
            let mut ours: Vec<(OwnedUserId, Seq)> =
                ours.filter(|(user_id, _)| user_id.server_name() == server).collect();
            let guests = accounts::guests_among(view, ours.iter().map(|(user_id, _)| user_id.clone()))?;
            ours.retain(|(user_id, _)| guests.contains(user_id));
            Ok::<_, ReadError>((ours, page.next))
        };
        let (guests, next) = app.rooms.read(find).await?;
        for some in guests.chunks(AT_ONCE) {
            leave(app, room, some).await?;
        }
        more = next.is_some();
        after = next;
    }
    let mut batch = Batch::new();
    guest_access::done(&mut batch, room, number);
    match app.store.commit(batch).await {
        // A conflict: there is a new reason to look.
        Ok(_) | Err(CommitError::Conflict) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Lets guests leave, each in the place of the join that was read: who has left by themselves does not leave again.
async fn leave(app: &App, room: RoomNo, guests: &[(OwnedUserId, Seq)]) -> Result<(), ExpelError> {
    let left = "leave".to_owned();
    let content = CanonicalJsonObject::from([("membership".to_owned(), CanonicalJsonValue::String(left))]);
    let leaving = guests.iter().map(|(user_id, seq)| {
        let proposal = Proposal::state(user_id.clone(), "m.room.member", user_id.as_str(), content.clone());
        app.policy.send_one(room, proposal.replacing(*seq))
    });
    let mut busy = false;
    for sent in join_all(leaving).await {
        match sent {
            Ok(_) => {}
            Err(SendError::Read(error)) => return Err(error.into()),
            Err(SendError::Commit(error)) => return Err(error.into()),
            // Read and done again.
            Err(SendError::Rider | SendError::Busy | SendError::Stopped) => busy = true,
            Err(error) => tracing::warn!(?room, %error, "a guest could not leave a room that is not for guests"),
        }
    }
    if busy { Err(ExpelError::Busy) } else { Ok(()) }
}
