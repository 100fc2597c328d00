//! What a client needs to name a room of which it does not know all members (client-server API, "Calculating the display
//! name for a room").

use ruma::{OwnedUserId, UserId};

use super::content;
use crate::{
    graph::{Member, Membership, Reader, RoomNo, Root, StateKey},
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

/// The summary of a room's current state, for one user.
///
/// In a room of more than 1,000 members the heroes are the first of some, not of all.
pub fn summary(reader: &Reader, view: &View<'_>, room: RoomNo, user_id: &UserId) -> Result<Summary, ReadError> {
    let Some(head) = reader.head(view, room)? else { return Ok(Summary::default()) };
    let heroes = if has_name(reader, view, room, head.root)? {
        Vec::new()
    } else {
        heroes(&reader.member_page(view, room, &[], None, MOST_LOOKED_AT)?.members, user_id)
    };
    Ok(Summary { heroes, joined: head.joined_members, invited: head.invited_members })
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

/// The first who are joined or invited; if there is nobody, the first who were.
fn heroes(members: &[(String, Member)], user_id: &UserId) -> Vec<OwnedUserId> {
    let first = |wanted: &[Membership]| -> Vec<OwnedUserId> {
        let others =
            members.iter().filter(|(user, member)| user != user_id.as_str() && wanted.contains(&member.membership));
        let mut others: Vec<_> = others.collect();
        others.sort_unstable_by_key(|(_, member)| (member.position, member.seq));
        others.into_iter().filter_map(|(user, _)| UserId::parse(user).ok()).take(MOST_HEROES).collect()
    };
    let present = first(&[Membership::Join, Membership::Invite]);
    if present.is_empty() { first(&[Membership::Leave, Membership::Ban]) } else { present }
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

    #[test]
    fn heroes_are_the_first_five_others() {
        let me = user_id!("@me:a");
        let (join, leave) = (Membership::Join, Membership::Leave);
        let mut list = vec![("z", join), ("me", join), ("left", leave)];
        assert_eq!(heroes(&members(&list), me), ["@z:a"]);
        list.extend([("b", Membership::Invite), ("c", join), ("d", join), ("e", join), ("f", join)]);
        assert_eq!(heroes(&members(&list), me), ["@z:a", "@b:a", "@c:a", "@d:a", "@e:a"]);
        assert_eq!(heroes(&members(&[("me", join), ("x", leave), ("y", Membership::Ban)]), me), ["@x:a", "@y:a"]);
        assert!(heroes(&members(&[("me", join)]), me).is_empty());
    }
}
