//! Which events a server may see: those that one of its users may, by `m.room.history_visibility` × membership.
//!
//! Client-server API, "Room History Visibility", asked for all users of a server at once. The server that asks has a user in
//! the room, now or later than the event ([`super::ServerAccess`]), so that what is `shared` with whoever joins later is shared
//! with it.

use std::collections::{HashMap, hash_map::Entry};

use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};

use crate::{
    graph::{Event, Membership, Reader, RoomNo, Root, Seq, StateKey},
    rooms::visibility::{HISTORY_VISIBILITY, HistoryVisibility, MEMBER, membership_in},
    store::{ReadError, View},
};

/// Users of a server who are looked at: those who are in the room now and have been for the longest come first. A server of
/// more users sees no event at which none of these was there.
const MOST_USERS: usize = 1_000;
/// Members who are read at once.
const PAGE: usize = 1_000;
/// Users whose membership at an event is looked up at once.
const WAVE: usize = 50;

/// How close the users of a server come to a room at a moment, the closest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    Absent,
    Invited,
    Joined,
}

impl Presence {
    fn of(membership: Membership) -> Self {
        match membership {
            Membership::Join => Self::Joined,
            Membership::Invite => Self::Invited,
            Membership::Leave | Membership::Knock | Membership::Ban => Self::Absent,
        }
    }

    fn sees(self, setting: HistoryVisibility) -> bool {
        match setting {
            HistoryVisibility::WorldReadable | HistoryVisibility::Shared => true,
            HistoryVisibility::Invited => self >= Self::Invited,
            HistoryVisibility::Joined => self == Self::Joined,
        }
    }
}

/// Looks at events of one room as a server that is in it, remembering what held at which state.
#[derive(Debug)]
pub struct ServerEyes {
    room: RoomNo,
    server: OwnedServerName,
    /// Users of the server that are or were something in the room; read when first needed.
    users: Option<Vec<OwnedUserId>>,
    settings: HashMap<Root, HistoryVisibility>,
    presences: HashMap<Root, Presence>,
    /// By membership event.
    memberships: HashMap<Seq, Membership>,
}

impl ServerEyes {
    /// The eyes of a server that is in this room.
    pub(super) fn of(room: RoomNo, server: OwnedServerName) -> Self {
        let (users, settings, presences, memberships) = Default::default();
        Self { room, server, users, settings, presences, memberships }
    }

    /// Whether the server may see an event of the room: as things stood before it or, where the event itself changes them,
    /// after it.
    pub fn sees(&mut self, reader: &Reader, view: &View<'_>, event: &Event) -> Result<bool, ReadError> {
        let before = self.setting(reader, view, event.meta.root_before)?;
        let is_setting = event.is_state(HISTORY_VISIBILITY, "");
        let after = if is_setting { HistoryVisibility::of(Some(event.content())) } else { before };
        // Nobody needs to be looked for.
        if [before, after].iter().any(|setting| Presence::Absent.sees(*setting)) {
            return Ok(true);
        }
        let mut presence = self.presence(reader, view, event.meta.root_before)?;
        if event.kind == MEMBER && self.is_ours(event.state_key.as_deref()) {
            presence = presence.max(Presence::of(membership_in(Some(event.content()))));
        }
        Ok(presence.sees(before) || presence.sees(after))
    }

    /// Whether a user of the server was in the room at an event: before it, or by it.
    pub(super) fn was_in(&mut self, reader: &Reader, view: &View<'_>, event: &Event) -> Result<bool, ReadError> {
        let joins = event.kind == MEMBER
            && self.is_ours(event.state_key.as_deref())
            && membership_in(Some(event.content())) == Membership::Join;
        Ok(joins || self.presence(reader, view, event.meta.root_before)? == Presence::Joined)
    }

    fn is_ours(&self, state_key: Option<&str>) -> bool {
        let user = state_key.and_then(|key| <&UserId>::try_from(key).ok());
        user.is_some_and(|user| user.server_name() == self.server)
    }

    fn setting(&mut self, reader: &Reader, view: &View<'_>, root: Root) -> Result<HistoryVisibility, ReadError> {
        match self.settings.entry(root) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(unknown) => {
                let event = reader.state_event(view, self.room, root, HISTORY_VISIBILITY, "")?;
                Ok(*unknown.insert(HistoryVisibility::of(event.as_ref().map(|event| event.content()))))
            }
        }
    }

    fn presence(&mut self, reader: &Reader, view: &View<'_>, root: Root) -> Result<Presence, ReadError> {
        if let Some(known) = self.presences.get(&root) {
            return Ok(*known);
        }
        let users = match self.users.take() {
            Some(users) => users,
            None => users_of(reader, view, self.room, &self.server)?,
        };
        let mut closest = Presence::Absent;
        for wave in users.chunks(WAVE) {
            closest = closest.max(self.closest(reader, view, root, wave)?);
            if closest == Presence::Joined {
                break;
            }
        }
        self.users = Some(users);
        self.presences.insert(root, closest);
        Ok(closest)
    }

    /// The closest of some users in a state.
    fn closest(
        &mut self,
        reader: &Reader,
        view: &View<'_>,
        root: Root,
        users: &[OwnedUserId],
    ) -> Result<Presence, ReadError> {
        let keys: Vec<StateKey> = users.iter().map(|user| StateKey::new(MEMBER, user.as_str())).collect();
        let seqs: Vec<Seq> = reader.state_seqs(view, self.room, root, &keys)?.into_iter().flatten().collect();
        let unknown = seqs.iter().filter(|seq| !self.memberships.contains_key(seq));
        let unknown: Vec<_> = unknown.map(|seq| (self.room, *seq)).collect();
        for event in reader.events(view, &unknown)?.into_iter().flatten() {
            self.memberships.insert(event.seq, membership_in(Some(event.content())));
        }
        let known = seqs.iter().filter_map(|seq| self.memberships.get(seq));
        Ok(known.map(|membership| Presence::of(*membership)).max().unwrap_or(Presence::Absent))
    }
}

/// The users of a server who are or were something in a room, as far as the current state says so: the joined ones first,
/// and of these the ones whose membership is the oldest.
fn users_of(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    server: &ServerName,
) -> Result<Vec<OwnedUserId>, ReadError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = reader.member_page(view, room, &[], after.as_deref(), PAGE)?;
        let users = page.members.into_iter().filter_map(|(user, member)| Some((UserId::parse(user).ok()?, member)));
        found.extend(users.filter(|(user, _)| user.server_name() == server));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    found.sort_by_key(|(_, member)| (member.membership != Membership::Join, member.position, member.seq));
    found.truncate(MOST_USERS);
    Ok(found.into_iter().map(|(user, _)| user).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_setting_shows_to_whom() {
        use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};
        for (setting, absent, invited, joined) in [
            (WorldReadable, true, true, true),
            (Shared, true, true, true),
            (Invited, false, true, true),
            (Joined, false, false, true),
        ] {
            assert_eq!(Presence::Absent.sees(setting), absent, "{setting:?}");
            assert_eq!(Presence::Invited.sees(setting), invited, "{setting:?}");
            assert_eq!(Presence::Joined.sees(setting), joined, "{setting:?}");
        }
        for out in [Membership::Leave, Membership::Knock, Membership::Ban] {
            assert_eq!(Presence::of(out), Presence::Absent);
        }
    }
}
