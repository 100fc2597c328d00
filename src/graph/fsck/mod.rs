//! What must hold among the rows of rooms: head, state, members, both orders, ids and counters agree. For `myelin fsck` and
//! the crash tests. One room after another; the memory that it takes is that of the largest room.

mod indexes;
mod room;

use std::collections::BTreeMap;

use super::{
    Reader,
    cache::Cache,
    keys::{HEAD, LOG, OUTSIDE, OUTSIDE_OF_USER, ROOM_BY_ID, USER_ROOM, bounded},
    log::Subject,
    types::{Membership, RoomNo},
};
use crate::store::{Key, KeyOf, Keyspace, ReadError, Span, Value, View};

/// Rows that are read at once.
const PAGE: usize = 1_000;
/// Bytes of nodes that are kept while a room is checked.
const CACHE: u64 = 64 << 20;

/// Calls `problem` with each thing that does not fit, in words for an administrator.
pub fn check(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    let reader = Reader::new(std::sync::Arc::new(Cache::with_capacity(CACHE)));
    let local = indexes::local_servers(view)?;
    let mut last_positions = BTreeMap::new();
    each(view, HEAD.span(&()), |(room,), head| {
        if view.get(&ROOM_BY_ID, &(&*bounded(head.room_id.as_str()),))? != Some(room) {
            problem(format!("room {} is not found by its id", head.room_id));
        }
        last_positions.insert(room, head.last_position);
        let mut problem = |what: String| problem(format!("room {}: {what}", head.room_id));
        room::check(view, &reader, room, &head, &mut problem)?;
        indexes::check(view, &reader, room, &head, &local, &mut problem)
    })?;
    // A room that is known only from outside, by an invite or a join that did not come to its end, has a number and no
    // head; two ids never have one number.
    let mut ids: BTreeMap<RoomNo, String> = BTreeMap::new();
    each(view, ROOM_BY_ID.span(&()), |(room_id,), room| {
        if let Some(other) = ids.insert(room, room_id.clone()) {
            problem(format!("the room ids {other} and {room_id} lead to one room"));
        }
        Ok(())
    })?;
    each(view, USER_ROOM.span(&()), |(user, room), row| {
        if row.outside.is_none() && !last_positions.contains_key(&room) {
            problem(format!("{user} has a room that is not there"));
        }
        let Some(server) = &row.outside else { return Ok(()) };
        if view.get(&OUTSIDE, &(room, &*user, &**server))?.is_none_or(|told| told.membership != row.membership) {
            problem(format!("what {server} has told {user} of a room is not what the user's row says"));
        }
        Ok(())
    })?;
    outside(view, problem)?;
    each(view, LOG.span(&()), |(position, _), entry| {
        if let Subject::Room(room) = entry.subject
            && !last_positions.contains_key(&room)
        {
            problem(format!("the log at {} tells of a room that is not there", position.0));
        }
        Ok(())
    })
}

/// What came from outside: each is of a user's room, and among those of the user in their order.
fn outside(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    each(view, OUTSIDE.span(&()), |(room, user, server), row| {
        let at = view.get(&OUTSIDE_OF_USER, &(&*user, row.position, room))?;
        if at.is_none_or(|at| at.server != server) {
            problem(format!("what {server} has told {user} of a room is not among what was told to them"));
        }
        if view.get(&USER_ROOM, &(&*user, room))?.is_none_or(|row| row.outside.is_none()) {
            problem(format!("what {server} has told {user} of a room stands for nothing"));
        }
        Ok(())
    })?;
    each(view, OUTSIDE_OF_USER.span(&()), |(user, position, room), at| {
        let row = view.get(&OUTSIDE, &(room, &*user, &*at.server))?;
        let is_over = |membership| matches!(membership, Membership::Leave | Membership::Ban);
        if row.is_none_or(|row| row.position != position || is_over(row.membership) != at.is_over) {
            problem(format!("{} has told {user} nothing of a room at {}", at.server, position.0));
        }
        Ok(())
    })
}

/// Every row of a span, a page at a time.
fn each<K: Key + KeyOf<K> + Clone, V: Value + Clone>(
    view: &View<'_>,
    whole: Span<K, V>,
    mut visit: impl FnMut(K, V) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut span = whole.clone();
    loop {
        let page = view.scan(&span, PAGE)?;
        let Some((last, _)) = page.rows.last() else { return Ok(()) };
        span = whole.clone().after(last);
        for (key, value) in page.rows {
            visit(key, value)?;
        }
    }
}

/// How many rows of a room a keyspace has.
fn count<K: Key + KeyOf<K> + Clone, V: Value + Clone>(
    view: &View<'_>,
    keyspace: &Keyspace<K, V>,
    room: RoomNo,
) -> Result<usize, ReadError>
where
    (RoomNo,): crate::store::PrefixOf<K>,
{
    let mut rows = 0;
    each(view, keyspace.span(&(room,)), |_, _| {
        rows += 1;
        Ok(())
    })?;
    Ok(rows)
}
