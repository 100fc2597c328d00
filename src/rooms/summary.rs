//! What a client needs to name a room of which it does not know all members (client-server API, "Calculating the display
//! name for a room").

use ruma::{OwnedUserId, UserId};

use super::content;
use crate::{
    graph::{Head, Member, Membership, Reader, RoomNo, Root, StateKey},
    store::{ReadError, View},
};

/// The most users by whom a room is named.
const MOST_HEROES: usize = 5;
/// Members among whom heroes are looked for.
const MOST_LOOKED_AT: usize = 1_000;

/// The `summary` of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Users by whom the room is named, but for the one who asks; empty when the room has a name.
    pub heroes: Vec<OwnedUserId>,
    /// How many are joined.
    pub joined: u32,
    /// How many are invited.
    pub invited: u32,
}

/// By whom or what a room is named, whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    has_name: bool,
    /// The first who are joined or invited: one more than there can be heroes, since nobody is their own.
    present: Vec<OwnedUserId>,
    /// The first who were.
    gone: Vec<OwnedUserId>,
}

impl Candidates {
    /// Those of a room's current state. In a room of more than 1,000 members they are the first of some, not of all.
    pub fn of(reader: &Reader, view: &View<'_>, room: RoomNo, root: Root) -> Result<Self, ReadError> {
        if has_name(reader, view, room, root)? {
            return Ok(Self { has_name: true, ..Self::default() });
        }
        Ok(Self::among(&reader.member_page(view, room, &[], None, MOST_LOOKED_AT)?.members))
    }

    fn among(members: &[(String, Member)]) -> Self {
        let first = |wanted: &[Membership]| -> Vec<OwnedUserId> {
            let mut found: Vec<_> = members.iter().filter(|(_, member)| wanted.contains(&member.membership)).collect();
            found.sort_unstable_by_key(|(_, member)| (member.position, member.seq));
            found.into_iter().filter_map(|(user, _)| UserId::parse(user).ok()).take(MOST_HEROES + 1).collect()
        };
        let present = first(&[Membership::Join, Membership::Invite]);
        Self { has_name: false, present, gone: first(&[Membership::Leave, Membership::Ban]) }
    }

    /// The heroes for one user: the first others; if there is nobody, the first who were.
    fn heroes(&self, user_id: &UserId) -> Vec<OwnedUserId> {
        let others = |users: &[OwnedUserId]| -> Vec<OwnedUserId> {
            users.iter().filter(|user| *user != user_id).take(MOST_HEROES).cloned().collect()
        };
        let present = others(&self.present);
        if present.is_empty() { others(&self.gone) } else { present }
    }

    /// The summary of the room for one user.
    pub fn summary(&self, head: &Head, user_id: &UserId) -> Summary {
        let heroes = if self.has_name { Vec::new() } else { self.heroes(user_id) };
        Summary { heroes, joined: head.joined_members, invited: head.invited_members }
    }
}

fn has_name(reader: &Reader, view: &View<'_>, room: RoomNo, root: Root) -> Result<bool, ReadError> {
    let keys = [StateKey::new("m.room.name", ""), StateKey::new("m.room.canonical_alias", "")];
    let events = reader.state_events(view, room, root, &keys)?;
    let has = |at: usize, field: &str| {
        let event = events.get(at).and_then(Option::as_ref);
        event.is_some_and(|event| content::text(event.content(), field).is_some())
    };
    Ok(has(0, "name") || has(1, "alias"))
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::{graph::Seq, store::Position};

    fn members(list: &[(&str, Membership)]) -> Vec<(String, Member)> {
        let numbered = list.iter().zip(1..).map(|((name, membership), seq)| {
            (format!("@{name}:a"), Member { membership: *membership, seq: Seq(seq), position: Position(9) })
        });
        numbered.collect()
    }

    fn heroes(list: &[(&str, Membership)], user_id: &UserId) -> Vec<OwnedUserId> {
        Candidates::among(&members(list)).heroes(user_id)
    }

    #[test]
    fn heroes_are_the_first_five_others() {
        let me = user_id!("@me:a");
        let (join, leave) = (Membership::Join, Membership::Leave);
        let mut list = vec![("z", join), ("me", join), ("left", leave)];
        assert_eq!(heroes(&list, me), ["@z:a"]);
        list.extend([("b", Membership::Invite), ("c", join), ("d", join), ("e", join), ("f", join)]);
        assert_eq!(heroes(&list, me), ["@z:a", "@b:a", "@c:a", "@d:a", "@e:a"]);
        assert_eq!(heroes(&[("me", join), ("x", leave), ("y", Membership::Ban)], me), ["@x:a", "@y:a"]);
        assert!(heroes(&[("me", join)], me).is_empty());
    }
}
