//! Writing what local users are to rooms that this server is not in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::UserId;

use super::Env;
use crate::{
    graph::{
        Head, SendError,
        keys::{HEAD, MEMBER, OUTSIDE, OUTSIDE_OF_USER, ROOM_BY_ID, USER_ROOM, bounded},
        log::{Entry, Stream, record},
        outside::{By, MOST_OF_SERVER, MOST_OVER, MOST_PENDING, Outside, Standing, Stood},
        rows::{Member, OutsideAt, OutsideRow, UserRoom},
        types::{Membership, RoomNo},
    },
    store::{Batch, CommitError, Position, ReadError, Store, View},
};

/// Tries before a conflict is answered.
const TRIES: usize = 8;
/// Of what is over, how much one commit throws away at the most.
const MOST_FORGOTTEN: usize = 100;
/// Rows of a room that are settled by one commit.
const AT_ONCE: usize = 500;

/// Writes the standing, unless this server is in the room.
pub(in crate::graph) async fn stand(env: &Arc<Env>, store: &Store, standing: Standing) -> Result<Stood, SendError> {
    let standing = Arc::new(standing);
    for tried in 0..TRIES {
        let (fresh, wanted) = (RoomNo(env.random.u64()), Arc::clone(&standing));
        let (stood, batch) = store
            .read(move |view: &View<'_>| {
                let (stood, mut batch) = draft(view, fresh, &wanted)?;
                // Of several at once only one can do it: the others leave it to the next.
                if tried == 0 && matches!(stood, Stood::Yes) && is_over(wanted.membership) {
                    forget_oldest(view, &wanted, &mut batch)?;
                }
                Ok::<_, ReadError>((stood, batch))
            })
            .await?;
        match store.commit(batch).await {
            Ok(_) => return Ok(stood),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommitError::Conflict.into())
}

/// Ends what stands from outside in a room that this server is in by now: the room's own state says what the users are
/// there, and of these it says nothing.
pub(in crate::graph) async fn settle(store: &Store, room: RoomNo) -> Result<(), SendError> {
    for _ in 0..TRIES {
        let (more, batch) = store.read(move |view: &View<'_>| settled(view, room)).await?;
        match store.commit(batch).await {
            Ok(_) if !more => return Ok(()),
            Ok(_) | Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // What is left stands in nobody's way but of who is shown it, and ends when they decline it.
    Ok(())
}

/// What stands of a user in a room, by the server that it came from, and the key of the user's rows.
struct Standings {
    room: RoomNo,
    user: String,
    by_server: BTreeMap<String, OutsideRow>,
}

impl Standings {
    fn read(view: &View<'_>, room: RoomNo, user: String) -> Result<Self, ReadError> {
        let page = view.scan(&OUTSIDE.span(&(room, &*user)), usize::MAX)?;
        let by_server = page.rows.into_iter().map(|((_, _, server), row)| (server, row)).collect();
        Ok(Self { room, user, by_server })
    }

    /// The one that the user is shown: the oldest invite, else a knock, else what is over.
    fn shown(&self) -> Option<(&str, Membership)> {
        let rank = |membership| match membership {
            Membership::Invite => 0,
            Membership::Knock => 1,
            Membership::Leave | Membership::Ban | Membership::Join => 2,
        };
        let shown = self.by_server.iter().min_by_key(|(_, row)| (rank(row.membership), row.position));
        shown.map(|(server, row)| (&**server, row.membership))
    }

    fn retain(&mut self, batch: &mut Batch, keep: impl Fn(&str, &OutsideRow) -> bool) {
        self.by_server.retain(|server, row| {
            let keeps = keep(server, row);
            if !keeps {
                batch.delete(&OUTSIDE, &(self.room, &*self.user, &**server));
                batch.delete(&OUTSIDE_OF_USER, &(&*self.user, row.position, self.room));
            }
            keeps
        });
    }

    /// Puts what a server says now in the place of what it said before.
    fn put(&mut self, server: &str, standing: &Standing, batch: &mut Batch) {
        let (membership, told) = (standing.membership, standing.outside.bytes());
        if let Some(old) = self.by_server.get_mut(server) {
            (old.membership, old.told) = (membership, told);
            batch.put(&OUTSIDE, &(self.room, &*self.user, server), old);
            return;
        }
        // Its place is behind everything that stands.
        let row = OutsideRow { membership, position: Position(u64::MAX), told };
        self.by_server.insert(server.to_owned(), row.clone());
        let (key, at) = ((self.room, self.user.clone(), server.to_owned()), (self.user.clone(), self.room));
        batch.put_at(&OUTSIDE, move |position| (key, OutsideRow { position, ..row }));
        let row = OutsideAt { server: server.to_owned(), is_over: is_over(membership) };
        batch.put_at(&OUTSIDE_OF_USER, move |position| ((at.0, position, at.1), row));
    }
}

fn is_over(membership: Membership) -> bool {
    matches!(membership, Membership::Leave | Membership::Ban)
}

fn draft(view: &View<'_>, fresh: RoomNo, standing: &Standing) -> Result<(Stood, Batch), ReadError> {
    let Some(server) = standing.outside.key() else { return Ok((Stood::Otherwise, Batch::new())) };
    let mut batch = Batch::new();
    let room = match numbered(view, fresh, standing, &mut batch)? {
        Ok(room) => room,
        Err(room) => return Ok((Stood::InRoom(room), Batch::new())),
    };
    let user = bounded(standing.user_id.as_str()).into_owned();
    let old: Option<UserRoom> = view.get(&USER_ROOM, &(&*user, room))?;
    // Every change from outside writes this row, with a new position: no two of them are made of the same rows.
    batch.assert_still(&USER_ROOM, &(&*user, room), old.as_ref());
    let mut standings = Standings::read(view, room, user.clone())?;
    let replaced = match standing.by {
        By::User => old.as_ref().and_then(|old| standings.by_server.get(old.outside.as_ref()?)),
        By::Server => standings.by_server.get(&server),
    };
    if let Some(wanted) = &standing.instead_of {
        let current = replaced.and_then(Outside::of);
        if current.is_none_or(|current| current.event_id() != &**wanted) {
            return Ok((Stood::Otherwise, Batch::new()));
        }
    }
    let ends = is_over(standing.membership);
    let waits = standings.by_server.get(&server).is_some_and(|row| !is_over(row.membership));
    // What the user does other servers have taken already; whoever does it asks before whether there is room for it.
    if matches!(standing.by, By::Server)
        && !ends
        && !waits
        && let Some(crowded) = crowded(view, &user, &server)?
    {
        return Ok((crowded, Batch::new()));
    }
    match standing.by {
        By::User => standings.retain(&mut batch, |_, _| false),
        By::Server => standings.retain(&mut batch, |_, row| !is_over(row.membership)),
    }
    if ends {
        standings.retain(&mut batch, |other, _| *other != server);
    }
    if !ends || standings.by_server.is_empty() {
        standings.put(&server, standing, &mut batch);
    }
    show(&mut batch, &standings, (&standing.user_id, old));
    Ok((Stood::Yes, batch))
}

/// The room's number; it gets one at the first contact. `Err` if this server is in it.
fn numbered(
    view: &View<'_>,
    fresh: RoomNo,
    standing: &Standing,
    batch: &mut Batch,
) -> Result<Result<RoomNo, RoomNo>, ReadError> {
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
        return Ok(Err(room));
    }
    batch.assert_still(&HEAD, &(room,), head.as_ref());
    Ok(Ok(room))
}

/// Whether too much waits for a user for one more of this server.
fn crowded(view: &View<'_>, user: &str, server: &str) -> Result<Option<Stood>, ReadError> {
    let page = view.scan(&OUTSIDE_OF_USER.span(&(user,)), usize::MAX)?;
    let pending: Vec<_> = page.rows.iter().filter(|(_, at)| !at.is_over).collect();
    let mut of_server = pending.iter().filter(|(_, at)| at.server == server);
    if pending.len() < MOST_PENDING && of_server.clone().count() < MOST_OF_SERVER {
        return Ok(None);
    }
    let oldest = match of_server.next() {
        Some(((_, _, room), _)) => view.get(&OUTSIDE, &(*room, user, server))?,
        None => None,
    };
    Ok(Some(Stood::Crowded(oldest.as_ref().and_then(Outside::of).map(Box::new))))
}

/// The user's own row, by what is shown to them now.
fn show(batch: &mut Batch, standings: &Standings, (user_id, old): (&UserId, Option<UserRoom>)) {
    let Some((server, membership)) = standings.shown() else { return };
    let row = UserRoom {
        membership,
        seq: None,
        position: Position::ZERO,
        left_root: old.as_ref().and_then(|old| old.left_root),
        left_at: old.as_ref().and_then(|old| old.left_at),
        was_joined: old.as_ref().is_some_and(|old| old.was_joined),
        forgotten: is_over(membership) && old.as_ref().is_some_and(|old| old.forgotten),
        outside: Some(server.to_owned()),
        joined_at: None,
    };
    let key = (standings.user.clone(), standings.room);
    record(batch, Entry::user(Stream::Membership, user_id).of(standings.room.0));
    batch.put_at(&USER_ROOM, move |position| (key, UserRoom { position, ..row }));
}

/// Of what is over only the last is kept for the user's clients.
fn forget_oldest(view: &View<'_>, standing: &Standing, batch: &mut Batch) -> Result<(), ReadError> {
    let user = &*bounded(standing.user_id.as_str());
    let own = view.get(&ROOM_BY_ID, &(&*bounded(standing.outside.room_id().as_str()),))?;
    let page = view.scan(&OUTSIDE_OF_USER.span(&(user,)), usize::MAX)?;
    let over: Vec<_> = page.rows.iter().filter(|((_, _, room), at)| at.is_over && Some(*room) != own).collect();
    let too_many = (over.len() + 1).saturating_sub(MOST_OVER).min(MOST_FORGOTTEN);
    for ((_, position, room), at) in over.into_iter().take(too_many) {
        batch.delete(&OUTSIDE, &(*room, user, &*at.server));
        batch.delete(&OUTSIDE_OF_USER, &(user, *position, *room));
        let row: Option<UserRoom> = view.get(&USER_ROOM, &(user, *room))?;
        let Some(row) = row.filter(|row| row.outside.as_ref() == Some(&at.server)) else { continue };
        batch.assert_is(&USER_ROOM, &(user, *room), &row);
        if view.has(&HEAD, &(*room,))? {
            batch.put(&USER_ROOM, &(user, *room), &UserRoom { outside: None, ..row });
        } else {
            batch.delete(&USER_ROOM, &(user, *room));
        }
    }
    Ok(())
}

/// One commit of [`settle`], and whether there is more.
fn settled(view: &View<'_>, room: RoomNo) -> Result<(bool, Batch), ReadError> {
    let mut batch = Batch::new();
    let head: Option<Head> = view.get(&HEAD, &(room,))?;
    let Some(head) = head.filter(|head| !head.is_left) else { return Ok((false, batch)) };
    let page = view.scan(&OUTSIDE.span(&(room,)), AT_ONCE)?;
    let mut users = BTreeSet::new();
    for ((_, user, server), row) in page.rows {
        batch.delete(&OUTSIDE, &(room, &*user, &*server));
        batch.delete(&OUTSIDE_OF_USER, &(&*user, row.position, room));
        users.insert(user);
    }
    for user in users {
        let row: Option<UserRoom> = view.get(&USER_ROOM, &(&*user, room))?;
        let Some(row) = row.filter(|row| row.outside.is_some()) else { continue };
        batch.assert_is(&USER_ROOM, &(&*user, room), &row);
        let member = view.get(&MEMBER, &(room, head.index_generation, &*user))?;
        let membership = member.map_or(Membership::Leave, |member: Member| member.membership);
        let row = UserRoom { membership, seq: member.map(|member| member.seq), outside: None, ..row };
        if let Ok(user_id) = UserId::parse(&user) {
            record(&mut batch, Entry::user(Stream::Membership, &user_id).of(room.0));
        }
        batch.put_at(&USER_ROOM, move |position| ((user, room), UserRoom { position, ..row }));
    }
    Ok((page.more, batch))
}
