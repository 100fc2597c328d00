//! Making an adopted room one of this server: one small commit, behind which everything that was staged is visible.

use ruma::UserId;

use super::judge::Judged;
use crate::{
    event::Pdu,
    graph::{
        AdoptError, Head, Placed, SendError,
        keys::{NEXT_INDEXES, STAGED},
        rows::{NextIndexes, StagedRoom},
        types::{Membership, RoomNo, Seq, Status},
        write::{
            Env, commit,
            draft::{Draft, Placing},
            indexes::membership,
            room::Room,
            wide::MOST_USERS,
        },
    },
    store::{Batch, ReadError, View},
};

/// A staged room, as its first commit needs it.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub(super) room: RoomNo,
    pub(super) row: StagedRoom,
    /// The state before the join, and the counters.
    pub(super) head: Head,
    pub(super) join: Pdu,
    pub(super) join_auth: Vec<Seq>,
    /// The largest depth of the state, as far as it is below that of the join.
    pub(super) depth_before: u64,
    /// Local users in the state beside the one who joins.
    pub(super) local: Vec<(ruma::OwnedUserId, Membership, Seq)>,
}

/// The local users in a state, but for one.
pub(super) fn local_users<'a>(
    members: impl Iterator<Item = (&'a str, &'a Judged, Seq)>,
    env: &Env,
    but: &str,
) -> Vec<(ruma::OwnedUserId, Membership, Seq)> {
    let local = members.filter(|(user, ..)| *user != but).filter_map(|(user, judged, seq)| {
        let user = UserId::parse(user).ok().filter(|user| user.server_name() == &*env.server_name)?;
        Some((user, membership(&judged.pdu), seq))
    });
    local.collect()
}

/// The commit. `env` reads past the cache of the graph: what is staged may still be thrown away.
pub(super) fn draft(
    env: &Env,
    view: &View<'_>,
    staged: &Staged,
) -> Result<Result<(Placed, Batch), AdoptError>, ReadError> {
    match try_draft(env, view, staged) {
        Err(SendError::Read(error)) => Err(error),
        Err(error) => Ok(Err(error.into())),
        Ok(drafted) => Ok(Ok(drafted)),
    }
}

fn try_draft(env: &Env, view: &View<'_>, staged: &Staged) -> Result<(Placed, Batch), SendError> {
    let room = Room::empty(staged.room, staged.head.clone())?;
    let mut draft = Draft::new(env, view, &room);
    if staged.local.len() > MOST_USERS {
        // All of them are told afterwards, as after a large change.
        draft.head.is_unsettled = true;
    }
    let now = if draft.head.is_unsettled { &[] } else { &*staged.local };
    for (user, membership, seq) in now {
        draft.change_user_room(user.clone(), Some((*membership, *seq)), staged.head.root)?;
    }
    let placing = Placing {
        pdu: staged.join.clone(),
        seq: None,
        status: Status::Accepted,
        in_graph: true,
        root_before: staged.head.root,
        prev_depth: staged.depth_before,
        auth: staged.join_auth.clone(),
        local_echo: None,
        // The server through which it went tells all others.
        relay: false,
        missing: staged.join.prev_events().to_vec(),
        old: None,
    };
    let placed = draft.enter(placing, None, false)?;
    let (batch, _) = commit::rows(&mut draft);
    let mut batch = batch.unwrap_or_default();
    if staged.head.is_unsettled != draft.head.is_unsettled {
        let row = NextIndexes { from: 0, to: staged.head.index_generation, users_due: true };
        batch.put(&NEXT_INDEXES, &(staged.room,), &row);
    }
    batch.assert_is(&STAGED, &(staged.room,), &staged.row);
    batch.delete(&STAGED, &(staged.room,));
    Ok((placed, batch))
}
