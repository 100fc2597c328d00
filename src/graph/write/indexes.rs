//! The indexes that follow the current state: members, rooms of local users, servers. Each change of a membership is a few
//! rows, whatever the size of the room.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};

use super::{draft::Draft, room::Known};
use crate::{
    event::Pdu,
    graph::{
        keys::{MEMBER, OUTSIDE, OUTSIDE_OF_USER, ROOM_SERVER, SERVER_ROOM, USER_ROOM, bounded},
        log::{Entry, Stream, record},
        rows::{Member, RoomServer, UserRoom},
        types::{Membership, RoomNo, Root, Seq},
    },
    store::{Batch, Position, ReadError, View},
};

/// Rows that a draft changes, as they will be.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    /// By user id. `None`: no member event any more.
    pub(super) members: BTreeMap<String, Option<(Membership, Seq)>>,
    /// The position is filled in by the commit.
    pub(super) user_rooms: BTreeMap<OwnedUserId, UserRoom>,
    pub(super) servers: BTreeMap<String, ServerDraft>,
    /// What had come of local users from outside: by user, from which server, by which commit. The room itself says now what
    /// they are there.
    pub(super) outside: Vec<(String, String, Position)>,
}

/// A server's part in the room, as a draft changes it.
#[derive(Debug)]
pub(super) struct ServerDraft {
    stored: Option<RoomServer>,
    joined_users: u32,
}

/// The membership that an event gives its subject; `leave` when it says nothing readable.
pub(super) fn membership(pdu: &Pdu) -> Membership {
    let word: Option<String> = pdu.content_field("membership");
    word.as_deref().and_then(Membership::parse).unwrap_or(Membership::Leave)
}

impl Draft<'_, '_> {
    /// The membership of a user becomes another one in the current state.
    pub(super) fn member_changed(
        &mut self,
        user: &str,
        old: Option<&Known>,
        new: Option<&Known>,
        root_after: Root,
    ) -> Result<(), ReadError> {
        let standing = |known: &Known| (membership(&known.pdu), known.seq);
        let (old, new) = (old.map(standing), new.map(standing));
        let count = |standing: Option<(Membership, Seq)>, of| standing.is_some_and(|(membership, _)| membership == of);
        let (joined, invited) = (&mut self.head.joined_members, &mut self.head.invited_members);
        for (counter, of) in [(joined, Membership::Join), (invited, Membership::Invite)] {
            *counter = counter.saturating_sub(u32::from(count(old, of))).saturating_add(u32::from(count(new, of)));
        }
        self.indexes.members.insert(user.to_owned(), new);
        // The auth rules let nothing through whose state key is no user id; what gets here otherwise has no index rows.
        let Ok(user_id) = UserId::parse(user) else { return Ok(()) };
        let was_joined = old.is_some_and(|(membership, _)| membership == Membership::Join);
        let is_joined = new.is_some_and(|(membership, _)| membership == Membership::Join);
        if was_joined != is_joined {
            self.count_server(user_id.server_name().as_str(), is_joined)?;
        }
        if user_id.server_name() == &*self.env.server_name {
            self.change_user_room(user_id, new, root_after)?;
        }
        Ok(())
    }

    fn count_server(&mut self, server: &str, joins: bool) -> Result<(), ReadError> {
        if !self.indexes.servers.contains_key(server) {
            let stored = self.stored_server(server)?;
            let joined_users = stored.map_or(0, |row: RoomServer| row.joined_users);
            self.indexes.servers.insert(server.to_owned(), ServerDraft { stored, joined_users });
        }
        let Some(row) = self.indexes.servers.get_mut(server) else { return Ok(()) };
        row.joined_users = if joins { row.joined_users + 1 } else { row.joined_users.saturating_sub(1) };
        if server == self.env.server_name.as_str() {
            self.head.is_left = row.joined_users == 0;
        }
        Ok(())
    }

    /// Whether a server has a joined user in the current state of the draft.
    pub(super) fn has_server(&self, server: &str) -> Result<bool, ReadError> {
        if let Some(row) = self.indexes.servers.get(server) {
            return Ok(row.joined_users > 0);
        }
        Ok(self.stored_server(server)?.is_some_and(|row| row.joined_users > 0))
    }

    fn stored_server(&self, server: &str) -> Result<Option<RoomServer>, ReadError> {
        let head = &self.room.head;
        let stored = self.view.get(&ROOM_SERVER, &(self.room.no, head.index_generation, &*bounded(server)))?;
        Ok(stored.map(|row| row.since(head.indexes_since)))
    }

    /// A local user stands otherwise to the room than before.
    pub(super) fn change_user_room(
        &mut self,
        user: OwnedUserId,
        new: Option<(Membership, Seq)>,
        root_after: Root,
    ) -> Result<(), ReadError> {
        let old = match self.indexes.user_rooms.get(&user) {
            Some(row) => Some(row.clone()),
            None => self.view.get(&USER_ROOM, &(&*bounded(user.as_str()), self.room.no))?,
        };
        if old.as_ref().is_some_and(|old: &UserRoom| old.outside.is_some()) {
            self.indexes.outside.extend(from_outside(self.view, self.room.no, &user)?);
        }
        let membership = new.map_or(Membership::Leave, |(membership, _)| membership);
        let seq = new.map(|(_, seq)| seq);
        let row = next_user_room(old.as_ref(), membership, seq, root_after);
        self.indexes.user_rooms.insert(user, row);
        Ok(())
    }
}

/// What came of a user from outside of a room: by user, from which server, by which commit.
pub(super) fn from_outside(
    view: &View<'_>,
    room: RoomNo,
    user: &UserId,
) -> Result<Vec<(String, String, Position)>, ReadError> {
    let page = view.scan(&OUTSIDE.span(&(room, &*bounded(user.as_str()))), usize::MAX)?;
    Ok(page.rows.into_iter().map(|((_, user, server), row)| (user, server, row.position)).collect())
}

/// A user's relation to a room after their standing changed.
pub(super) fn next_user_room(
    old: Option<&UserRoom>,
    membership: Membership,
    seq: Option<Seq>,
    root_after: Root,
) -> UserRoom {
    let was_in = old.is_some_and(|old| old.membership == Membership::Join);
    let is_out = matches!(membership, Membership::Leave | Membership::Ban);
    // The position of a join or a leave is that of this commit, which is not known yet; [`write_user_room`] puts it in.
    let left = if membership == Membership::Join {
        None
    } else if was_in {
        Some((root_after, Position::ZERO))
    } else {
        // Banned after leaving, or invited again and declined: nothing more than at the first leave may be seen.
        old.and_then(|old| old.left_root.zip(old.left_at))
    };
    let joined_at = match membership {
        Membership::Join if was_in => old.and_then(|old| old.joined_at),
        Membership::Join => Some(Position::ZERO),
        _ => None,
    };
    UserRoom {
        membership,
        seq,
        position: Position::ZERO,
        left_root: left.map(|(root, _)| root),
        left_at: left.map(|(_, position)| position),
        was_joined: was_in || old.is_some_and(|old| old.was_joined),
        forgotten: is_out && old.is_some_and(|old| old.forgotten),
        outside: None,
        joined_at,
    }
}

impl Indexes {
    /// The rows.
    pub(super) fn write(self, room: RoomNo, generation: u32, batch: &mut Batch) {
        for (user, standing) in self.members {
            let user = bounded(&user).into_owned();
            match standing {
                Some((membership, seq)) => batch
                    .put_at(&MEMBER, move |position| ((room, generation, user), Member { membership, seq, position })),
                None => batch.delete(&MEMBER, &(room, generation, user)),
            }
        }
        for (user, row) in self.user_rooms {
            write_user_room(room, &user, row, batch);
        }
        for (user, server, position) in self.outside {
            batch.delete(&OUTSIDE, &(room, &*user, &*server));
            batch.delete(&OUTSIDE_OF_USER, &(&*user, position, room));
        }
        for (server, row) in self.servers {
            let server = bounded(&server).into_owned();
            row.write((room, generation), server, batch);
        }
    }
}

/// What a local user is to a room from this commit on.
pub(super) fn write_user_room(room: RoomNo, user: &UserId, row: UserRoom, batch: &mut Batch) {
    record(batch, Entry::user(Stream::Membership, user).of(room.0));
    let user = bounded(user.as_str()).into_owned();
    batch.put_at(&USER_ROOM, move |position| {
        let filled = |at: Position| if at == Position::ZERO { position } else { at };
        let (left_at, joined_at) = (row.left_at.map(filled), row.joined_at.map(filled));
        ((user, room), UserRoom { position, left_at, joined_at, ..row })
    });
}

impl ServerDraft {
    /// The row as the commit at `position` makes it.
    pub(super) fn at(&self, position: Position) -> RoomServer {
        let was_in = self.stored.filter(|stored| stored.joined_users > 0);
        let joined = was_in.map_or(position, |stored| stored.joined);
        let left = if self.joined_users > 0 { RoomServer::STILL } else { position };
        RoomServer { joined_users: self.joined_users, joined, left }
    }

    fn write(self, (room, generation): (RoomNo, u32), server: String, batch: &mut Batch) {
        if self.stored.is_none() {
            batch.put(&SERVER_ROOM, &(&*server, room), &());
        }
        batch.put_at(&ROOM_SERVER, move |position| ((room, generation, server), self.at(position)));
    }
}

/// Lets a local user forget a room that they left; says whether they may (client-server API, "Leaving rooms").
///
/// Asserts the row that it read; a flow reads and commits again on a conflict.
pub fn forget(view: &View<'_>, room: RoomNo, user: &UserId, batch: &mut Batch) -> Result<bool, ReadError> {
    let key = bounded(user.as_str()).into_owned();
    let Some(row) = view.get(&USER_ROOM, &(&*key, room))? else { return Ok(false) };
    if !matches!(row.membership, Membership::Leave | Membership::Ban) {
        return Ok(false);
    }
    if row.forgotten {
        return Ok(true);
    }
    batch.assert_is(&USER_ROOM, &(&*key, room), &row);
    batch.put(&USER_ROOM, &(&*key, room), &UserRoom { forgotten: true, ..row });
    record(batch, Entry::user(Stream::Membership, user).of(room.0));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(memberships: &[Membership]) -> UserRoom {
        let mut row = None;
        for (at, membership) in memberships.iter().enumerate() {
            let number = u8::try_from(at + 1).unwrap();
            row = Some(next_user_room(row.as_ref(), *membership, Some(Seq(1)), Root([number; 16])));
        }
        row.unwrap()
    }

    #[test]
    fn what_was_seen_last_is_the_first_leave() {
        use Membership::{Ban, Invite, Join, Leave};
        assert_eq!(steps(&[Join]).left_root, None);
        assert_eq!(steps(&[Join, Leave]).left_root, Some(Root([2; 16])));
        assert_eq!(steps(&[Join, Leave, Ban]).left_root, Some(Root([2; 16])));
        assert_eq!(steps(&[Join, Leave, Invite, Leave]).left_root, Some(Root([2; 16])));
        assert_eq!(steps(&[Join, Leave, Join]).left_root, None);
        assert_eq!(steps(&[Join, Leave, Join, Ban]).left_root, Some(Root([4; 16])));
        assert_eq!(steps(&[Invite, Leave]).left_root, None);
        assert_eq!(steps(&[Join, Join]).joined_at, Some(Position::ZERO));
        assert_eq!(steps(&[Join, Leave]).joined_at, None);
        assert!(steps(&[Join, Leave, Invite]).was_joined && !steps(&[Invite, Leave]).was_joined);
    }
}
