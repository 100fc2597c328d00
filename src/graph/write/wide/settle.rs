//! What is left to do around a new generation of indexes: local users are brought in line with it, and the one that is not
//! read goes, be it the old one or one that was never finished.
//!
//! The room's lane does it, before anything else of the room.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};

use super::{MOST_USERS, STEP, WideError, page};
use crate::{
    graph::{
        Head,
        keys::{HEAD, MEMBER, NEXT_INDEXES, OUTSIDE, OUTSIDE_OF_USER, ROOM_SERVER, USER_ROOM, bounded},
        rows::{NextIndexes, UserRoom},
        types::{Membership, RoomNo, Seq},
        write::{
            Env,
            indexes::{from_outside, next_user_room, write_user_room},
        },
    },
    store::{Batch, Key, KeyOf, Keyspace, PrefixOf, ReadError, Store, Value, View},
};

/// Rooms in which something is left to do.
pub(in crate::graph::write) async fn unsettled(store: &Store) -> Result<Vec<RoomNo>, ReadError> {
    let rows = store.read(|view: &View<'_>| view.scan(&NEXT_INDEXES.span(&()), STEP)).await?.rows;
    Ok(rows.into_iter().map(|((room,), _)| room).collect())
}

/// Whether something is left to do in a room.
pub(in crate::graph::write) async fn is_unsettled(store: &Store, room: RoomNo) -> Result<bool, ReadError> {
    store.read(move |view: &View<'_>| view.has(&NEXT_INDEXES, &(room,))).await
}

/// Does what is left to do in a room whose head is `head`, and says what that is then.
pub(in crate::graph::write) async fn settle(
    (env, store): (&Env, &Store),
    room: RoomNo,
    head: &Head,
) -> Result<Head, WideError> {
    let Some(row) = store.read(move |view: &View<'_>| view.get(&NEXT_INDEXES, &(room,))).await? else {
        return Ok(head.clone());
    };
    let is_read = head.index_generation == row.to;
    if is_read && row.users_due {
        tell_users((env, store), (room, head), row).await?;
    }
    clear(store, room, if is_read { row.from } else { row.to }).await?;
    let mut settled = head.clone();
    (settled.version, settled.is_unsettled) = (head.version.saturating_add(1), false);
    let mut batch = Batch::new();
    batch.assert_is(&HEAD, &(room,), head);
    batch.put(&HEAD, &(room,), &settled);
    batch.delete(&NEXT_INDEXES, &(room,));
    store.commit_lazy(batch).await?;
    Ok(settled)
}

/// Throws away a generation of the indexes, which nobody reads. The caller has the room's lane.
pub(super) async fn clear(store: &Store, room: RoomNo, generation: u32) -> Result<(), WideError> {
    clear_rows(store, &MEMBER, (room, generation)).await?;
    clear_rows(store, &ROOM_SERVER, (room, generation)).await
}

async fn clear_rows<K, V>(store: &Store, keyspace: &'static Keyspace<K, V>, of: (RoomNo, u32)) -> Result<(), WideError>
where
    K: Key + KeyOf<K> + Clone + Send + 'static,
    V: Value + Clone + Send + 'static,
    (RoomNo, u32): PrefixOf<K>,
{
    loop {
        let page = store.read(move |view: &View<'_>| view.scan(&keyspace.span(&of), STEP)).await?;
        let mut batch = Batch::new();
        page.rows.iter().for_each(|(key, _)| batch.delete(keyspace, key));
        if !batch.is_empty() {
            store.commit_lazy(batch).await?;
        }
        if !page.more {
            return Ok(());
        }
    }
}

/// What local users are in a room, by a generation of its members; of whom that says nothing, nothing any more.
type Standings = BTreeMap<OwnedUserId, Option<(Membership, Seq)>>;

/// Brings the rooms of local users in line with the members.
async fn tell_users(
    (env, store): (&Env, &Store),
    (room, head): (RoomNo, &Head),
    row: NextIndexes,
) -> Result<(), WideError> {
    let (mut before, mut standings) = (Standings::new(), Standings::new());
    for (generation, found) in [(row.from, &mut before), (row.to, &mut standings)] {
        let mut last = None;
        loop {
            let page = page(store, &MEMBER, (room, generation), last.as_deref()).await?;
            last = page.rows.last().map(|(user, _)| user.clone());
            for (user, member) in page.rows {
                let user = UserId::parse(user).ok().filter(|user| user.server_name() == &*env.server_name);
                user.and_then(|user| found.insert(user, Some((member.membership, member.seq))));
            }
            if !page.more {
                break;
            }
        }
    }
    // Whoever is what they were is told nothing.
    for (user, standing) in before {
        match standings.get(&user) {
            None => drop(standings.insert(user, None)),
            Some(now) if *now == standing => drop(standings.remove(&user)),
            Some(_) => {}
        }
    }
    while !standings.is_empty() {
        let some: Standings = std::iter::from_fn(|| standings.pop_first()).take(MOST_USERS).collect();
        let batch = {
            let head = head.clone();
            store.read(move |view: &View<'_>| told(view, (room, &head), &some)).await?
        };
        if !batch.is_empty() {
            store.commit(batch).await?;
        }
    }
    Ok(())
}

/// The rows of those users that are not yet as they should be.
fn told(view: &View<'_>, (room, head): (RoomNo, &Head), standings: &Standings) -> Result<Batch, ReadError> {
    let keys = standings.keys().map(|user| (bounded(user.as_str()).into_owned(), room));
    let rows: Vec<Option<UserRoom>> = view.multi_get(&USER_ROOM, keys)?;
    let mut batch = Batch::new();
    for ((user, standing), row) in standings.iter().zip(rows) {
        let membership = standing.map_or(Membership::Leave, |(membership, _)| membership);
        let seq = standing.map(|(_, seq)| seq);
        if row.as_ref().is_none_or(|row| row.membership != membership || row.seq != seq) {
            if row.as_ref().is_some_and(|row| row.outside.is_some()) {
                for (user, server, position) in from_outside(view, room, user)? {
                    batch.delete(&OUTSIDE, &(room, &*user, &*server));
                    batch.delete(&OUTSIDE_OF_USER, &(&*user, position, room));
                }
            }
            write_user_room(room, user, next_user_room(row.as_ref(), membership, seq, head.root), &mut batch);
        }
    }
    if !batch.is_empty() {
        batch.assert_is(&HEAD, &(room,), head);
    }
    Ok(batch)
}
