//! Who is in a room, which rooms a user has, which servers take part.

use ruma::{ServerName, UserId};

use super::Reader;
use crate::{
    graph::{
        Head,
        keys::{MEMBER, ROOM_SERVER, SERVER_ROOM, USER_ROOM, bounded},
        rows::{Member, RoomServer, UserRoom},
        types::{Membership, RoomNo},
    },
    store::{Page, Position, ReadError, View},
};

/// Some members of a room, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPage {
    /// Id (or, for an id that is no valid key, its hash) and standing.
    pub members: Vec<(String, Member)>,
    /// Where the next page begins: behind this id. `None` when there is none.
    pub next: Option<String>,
}

/// Some servers of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPage {
    /// Name (or, for a name that is no valid key, its hash) and part in the room.
    pub servers: Vec<(String, RoomServer)>,
    /// Where the next page begins: behind this name. `None` when there is none.
    pub next: Option<String>,
}

/// Rows that are read at once when a whole span is wanted.
const PAGE: usize = 1_000;

impl Reader {
    /// A user's standing in the current state of a room.
    pub fn member(&self, view: &View<'_>, room: RoomNo, user: &UserId) -> Result<Option<Member>, ReadError> {
        Ok(self.members_of(view, &[(room, user)])?.pop().flatten())
    }

    /// [`Reader::member`] for many pairs, in their order: two waves.
    pub fn members_of(&self, view: &View<'_>, wanted: &[(RoomNo, &UserId)]) -> Result<Vec<Option<Member>>, ReadError> {
        let rooms: Vec<RoomNo> = wanted.iter().map(|(room, _)| *room).collect();
        let heads = self.heads(view, &rooms)?;
        let keys = wanted.iter().zip(heads).map(|((room, user), head)| {
            (*room, head.map_or(0, |head| head.index_generation), bounded(user.as_str()).into_owned())
        });
        view.multi_get(&MEMBER, keys)
    }

    /// Up to `limit` members of a room whose standing is one of `wanted` (any, if that is empty), behind the id `after`.
    pub fn member_page(
        &self,
        view: &View<'_>,
        room: RoomNo,
        wanted: &[Membership],
        after: Option<&str>,
        limit: usize,
    ) -> Result<MemberPage, ReadError> {
        let generation = self.head(view, room)?.map_or(0, |head| head.index_generation);
        let mut page = MemberPage { members: Vec::new(), next: None };
        let mut after = after.map(str::to_owned);
        while page.members.len() < limit {
            let mut span = MEMBER.span(&(room, generation));
            if let Some(after) = &after {
                span = span.after(&(room, generation, after.as_str()));
            }
            let rows = view.scan(&span, PAGE.min(limit.max(64)))?;
            let mut left = rows.more;
            for ((_, _, user), member) in rows.rows {
                if page.members.len() >= limit {
                    left = true;
                    break;
                }
                after = Some(user.clone());
                if wanted.is_empty() || wanted.contains(&member.membership) {
                    page.members.push((user, member));
                }
            }
            if !left {
                return Ok(page);
            }
        }
        page.next = after;
        Ok(page)
    }

    /// All members of a room whose standing is one of `wanted` (any, if that is empty).
    pub fn members(
        &self,
        view: &View<'_>,
        room: RoomNo,
        wanted: &[Membership],
    ) -> Result<Vec<(String, Member)>, ReadError> {
        Ok(self.member_page(view, room, wanted, None, usize::MAX)?.members)
    }

    /// A local user's relation to a room.
    pub fn user_room(&self, view: &View<'_>, user: &UserId, room: RoomNo) -> Result<Option<UserRoom>, ReadError> {
        view.get(&USER_ROOM, &(&*bounded(user.as_str()), room))
    }

    /// A local user's relation to many rooms, in their order: one wave.
    pub fn user_rooms_of(
        &self,
        view: &View<'_>,
        user: &UserId,
        rooms: &[RoomNo],
    ) -> Result<Vec<Option<UserRoom>>, ReadError> {
        let user = bounded(user.as_str());
        view.multi_get(&USER_ROOM, rooms.iter().map(|room| (&*user, *room)))
    }

    /// All rooms of a local user, forgotten ones included.
    pub fn user_rooms(&self, view: &View<'_>, user: &UserId) -> Result<Vec<(RoomNo, UserRoom)>, ReadError> {
        let whole = USER_ROOM.span(&(&*bounded(user.as_str()),));
        let (mut span, mut found) = (whole.clone(), Vec::new());
        loop {
            let page = view.scan(&span, PAGE)?;
            let last = page.rows.last().map(|(key, _)| key.clone());
            found.extend(page.rows.into_iter().map(|((_, room), row)| (room, row)));
            match last {
                Some(last) if page.more => span = whole.clone().after(&last),
                _ => return Ok(found),
            }
        }
    }

    /// All servers that are or were in a room.
    pub fn servers(&self, view: &View<'_>, room: RoomNo) -> Result<Vec<(String, RoomServer)>, ReadError> {
        let (generation, since) = self.generation(view, room)?;
        let page = view.scan(&ROOM_SERVER.span(&(room, generation)), usize::MAX)?;
        Ok(page.rows.into_iter().map(|((.., server), row)| (server, row.since(since))).collect())
    }

    /// Whether a user of this server is joined to a room.
    pub fn has_server(&self, view: &View<'_>, room: RoomNo, server: &ServerName) -> Result<bool, ReadError> {
        Ok(self.server(view, room, server)?.is_some_and(|row| row.joined_users > 0))
    }

    /// How a server stands to a room; `None` if none of its users was ever joined, as far as is known here.
    pub fn server(&self, view: &View<'_>, room: RoomNo, server: &ServerName) -> Result<Option<RoomServer>, ReadError> {
        let (generation, since) = self.generation(view, room)?;
        let row = view.get(&ROOM_SERVER, &(room, generation, &*bounded(server.as_str())))?;
        Ok(row.map(|row| row.since(since)))
    }

    /// A server's part in each of these rooms, in their order: two waves.
    pub fn parts_of(
        &self,
        view: &View<'_>,
        server: &ServerName,
        rooms: &[RoomNo],
    ) -> Result<Vec<Option<RoomServer>>, ReadError> {
        let server = bounded(server.as_str());
        let generations: Vec<_> = self.heads(view, rooms)?.iter().map(|head| generation_of(head.as_ref())).collect();
        let keys = rooms.iter().zip(&generations).map(|(room, (generation, _))| (*room, *generation, &*server));
        let rows = view.multi_get(&ROOM_SERVER, keys)?.into_iter().zip(&generations);
        Ok(rows.map(|(row, (_, since))| Some(row?.since(*since))).collect())
    }

    /// The servers to which events of a room go that arrived at `from` or later: all that are in it, and those that left
    /// since. Up to `limit` behind the name `after`, in the order of their names.
    pub fn servers_in(
        &self,
        view: &View<'_>,
        room: RoomNo,
        from: Position,
        (after, limit): (Option<&str>, usize),
    ) -> Result<ServerPage, ReadError> {
        let (generation, since) = self.generation(view, room)?;
        let (mut servers, mut after) = (Vec::new(), after.map(str::to_owned));
        loop {
            let mut span = ROOM_SERVER.span(&(room, generation));
            if let Some(after) = &after {
                span = span.after(&(room, generation, after.as_str()));
            }
            let page = view.scan(&span, PAGE.min(limit.max(64)))?;
            let mut rows = page.rows.into_iter();
            for ((.., server), row) in rows.by_ref() {
                if servers.len() >= limit {
                    return Ok(ServerPage { servers, next: after });
                }
                after = Some(server.clone());
                let row = row.since(since);
                if row.left >= from {
                    servers.push((server, row));
                }
            }
            if !page.more {
                return Ok(ServerPage { servers, next: None });
            }
        }
    }

    /// Up to `limit` servers, each with a room in which it is or was, behind `after`. A server comes again for each room.
    pub fn all_servers(
        &self,
        view: &View<'_>,
        after: Option<&(String, RoomNo)>,
        limit: usize,
    ) -> Result<Page<String, RoomNo>, ReadError> {
        let whole = SERVER_ROOM.span(&());
        let span = after.map_or(whole.clone(), |(server, room)| whole.after(&(server.as_str(), *room)));
        let page = view.scan(&span, limit)?;
        Ok(Page { rows: page.rows.into_iter().map(|(key, ())| key).collect(), more: page.more })
    }

    /// Up to `limit` rooms in which a server is or was, behind `after`, and its part in each.
    pub fn server_rooms(
        &self,
        view: &View<'_>,
        server: &ServerName,
        (after, limit): (Option<RoomNo>, usize),
    ) -> Result<Page<RoomNo, RoomServer>, ReadError> {
        let name = bounded(server.as_str());
        let whole = SERVER_ROOM.span(&(&*name,));
        let page = view.scan(&after.map_or(whole.clone(), |after| whole.after(&(&*name, after))), limit)?;
        let rooms: Vec<RoomNo> = page.rows.into_iter().map(|((_, room), ())| room).collect();
        let rows = self.parts_of(view, server, &rooms)?.into_iter().zip(&rooms);
        let rows = rows.filter_map(|(row, room)| Some((*room, row?))).collect();
        Ok(Page { rows, more: page.more })
    }

    /// Which generation of the indexes of a room is to be read, and the commit that began it.
    fn generation(&self, view: &View<'_>, room: RoomNo) -> Result<(u32, Position), ReadError> {
        Ok(generation_of(self.head(view, room)?.as_ref()))
    }
}

fn generation_of(head: Option<&Head>) -> (u32, Position) {
    head.map_or((0, Position::ZERO), |head| (head.index_generation, head.indexes_since))
}
