//! Writing what local users are to rooms that this server is not in.

use std::sync::Arc;

use super::Env;
use crate::{
    graph::{
        Head, SendError,
        keys::{HEAD, ROOM_BY_ID, USER_ROOM, bounded},
        log::{Entry, Stream, record},
        outside::{Outside, Standing, Stood},
        rows::UserRoom,
        types::{Membership, RoomNo},
    },
    store::{Batch, CommitError, Position, ReadError, Store, View},
};

/// Tries before a conflict is answered.
const TRIES: usize = 8;

/// Writes the standing, unless this server is in the room.
pub(in crate::graph) async fn stand(env: &Arc<Env>, store: &Store, standing: Standing) -> Result<Stood, SendError> {
    let standing = Arc::new(standing);
    for _ in 0..TRIES {
        let (fresh, wanted) = (RoomNo(env.random.u64()), Arc::clone(&standing));
        let (stood, batch) = store.read(move |view: &View<'_>| draft(view, fresh, &wanted)).await?;
        match store.commit(batch).await {
            Ok(_) => return Ok(stood),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommitError::Conflict.into())
}

fn draft(view: &View<'_>, fresh: RoomNo, standing: &Standing) -> Result<(Stood, Batch), ReadError> {
    let mut batch = Batch::new();
    let id = bounded(standing.outside.room_id().as_str());
    let found = view.get(&ROOM_BY_ID, &(&*id,))?;
    batch.assert_still(&ROOM_BY_ID, &(&*id,), found.as_ref());
    let room = match found {
        Some(room) => room,
        None => {
            batch.assert_absent(&HEAD, &(fresh,));
            batch.put(&ROOM_BY_ID, &(&*id,), &fresh);
            fresh
        }
    };
    let head: Option<Head> = view.get(&HEAD, &(room,))?;
    if head.as_ref().is_some_and(|head| !head.is_left) {
        return Ok((Stood::InRoom(room), Batch::new()));
    }
    batch.assert_still(&HEAD, &(room,), head.as_ref());
    let key = bounded(standing.user_id.as_str()).into_owned();
    let old: Option<UserRoom> = view.get(&USER_ROOM, &(&*key, room))?;
    if let Some(wanted) = &standing.instead_of {
        let current = old.as_ref().and_then(Outside::of);
        if current.is_none_or(|current| current.event_id() != &**wanted) {
            return Ok((Stood::Otherwise, Batch::new()));
        }
    }
    batch.assert_still(&USER_ROOM, &(&*key, room), old.as_ref());
    let is_out = matches!(standing.membership, Membership::Leave | Membership::Ban);
    let row = UserRoom {
        membership: standing.membership,
        seq: None,
        position: Position::ZERO,
        left_root: old.as_ref().and_then(|old| old.left_root),
        left_at: old.as_ref().and_then(|old| old.left_at),
        was_joined: old.as_ref().is_some_and(|old| old.was_joined),
        forgotten: is_out && old.as_ref().is_some_and(|old| old.forgotten),
        out_of_band: Some(standing.outside.bytes()),
        joined_at: None,
    };
    record(&mut batch, Entry::user(Stream::Membership, &standing.user_id).of(room.0));
    batch.put_at(&USER_ROOM, move |position| ((key, room), UserRoom { position, ..row }));
    Ok((Stood::Yes, batch))
}
