//! Rooms that members of other rooms may join: the join rules `restricted` and `knock_restricted` (client-server API,
//! "Restricted rooms"; room versions 8 and 10).

use ruma::{OwnedUserId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::Value as Json;

use super::{content, power::power_levels};
use crate::{
    event::{power::Action, version},
    graph::{Event, Head, Member, Membership, Reader, RoomNo},
    store::{ReadError, View},
};

/// The field by which a restricted join says who lets the user in.
pub const AUTHORISED_VIA: &str = "join_authorised_via_users_server";
/// Rooms whose members a restricted room may let in that are looked at.
const MOST_CONDITIONS: usize = 100;
/// Members that are read at once in search of one who may let others in.
const MEMBERS: usize = 1_000;

/// Who lets a user into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nobody need to: the user is invited or joined, or the room is not restricted, so that the auth rules alone decide.
    NotNeeded,
    /// This member of the server that was asked about.
    By(OwnedUserId),
    /// The user is in none of the rooms whose members may join.
    Refused,
    /// The user may be in one of those rooms, of which not all are known here.
    Unknown,
    /// The user may join, but no member of the server may let them in.
    NoAuthoriser,
}

/// Who of `server` lets a user into a room by its current state.
pub fn admission(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    user_id: &UserId,
    server: &ServerName,
) -> Result<Admission, ReadError> {
    let member = reader.member(view, room, user_id)?.map(|member| member.membership);
    if matches!(member, Some(Membership::Join | Membership::Invite | Membership::Ban)) {
        return Ok(Admission::NotNeeded);
    }
    let join_rules = reader.state_event(view, room, head.root, "m.room.join_rules", "")?;
    let Some(join_rules) = join_rules.filter(|event| is_restricted(head, event)) else {
        return Ok(Admission::NotNeeded);
    };
    match conditions(reader, view, &join_rules, user_id)? {
        Conditions::Met => {
            let authoriser = authoriser(reader, view, (room, head), server)?;
            Ok(authoriser.map_or(Admission::NoAuthoriser, Admission::By))
        }
        Conditions::NotMet => Ok(Admission::Refused),
        Conditions::Unknown => Ok(Admission::Unknown),
    }
}

fn is_restricted(head: &Head, join_rules: &Event) -> bool {
    let Some(rules) = version::rules(&head.room_version) else { return false };
    match content::text(join_rules.content(), "join_rule").as_deref() {
        Some("restricted") => rules.authorization.restricted_join_rule,
        Some("knock_restricted") => rules.authorization.knock_restricted_join_rule,
        _ => false,
    }
}

enum Conditions {
    Met,
    NotMet,
    /// None that can be looked at is met, and others can't be.
    Unknown,
}

/// Whether the user is in a room whose members may join.
fn conditions(reader: &Reader, view: &View<'_>, join_rules: &Event, user_id: &UserId) -> Result<Conditions, ReadError> {
    #[derive(Deserialize)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        room_id: String,
    }
    let allow: Vec<Json> = content::field(join_rules.content(), "allow").unwrap_or_default();
    let conditions = allow.into_iter().filter_map(|condition| serde_json::from_value::<Condition>(condition).ok());
    let mut answer = Conditions::NotMet;
    for condition in conditions.filter(|condition| condition.kind == "m.room_membership").take(MOST_CONDITIONS) {
        let Ok(room_id) = RoomId::parse(condition.room_id) else { continue };
        // Of a room that this server is not in it does not know who is.
        let known = reader.room(view, &room_id)?.filter(|(_, head)| !head.is_left);
        let Some((room, _)) = known else {
            answer = Conditions::Unknown;
            continue;
        };
        if reader.member(view, room, user_id)?.is_some_and(|member| member.membership == Membership::Join) {
            return Ok(Conditions::Met);
        }
    }
    Ok(answer)
}

/// A member of the server who may invite. Asked first are those who have a level of their own, since in most rooms nobody
/// else may.
fn authoriser(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    server: &ServerName,
) -> Result<Option<OwnedUserId>, ReadError> {
    let Some(levels) = power_levels(reader, view, (room, head))? else { return Ok(None) };
    let needed = levels.to(Action::Invite);
    let able = |user_id: &UserId| user_id.server_name() == server && levels.of(user_id) >= needed;
    let named = levels.creators().iter().cloned().chain(levels.named_users()).filter(|user_id| able(user_id));
    let named: Vec<OwnedUserId> = named.collect();
    let standings = reader.members_of(view, &named.iter().map(|user_id| (room, &**user_id)).collect::<Vec<_>>())?;
    let is_joined = |member: &Option<Member>| member.is_some_and(|member| member.membership == Membership::Join);
    if let Some((user_id, _)) = named.into_iter().zip(standings).find(|(_, member)| is_joined(member)) {
        return Ok(Some(user_id));
    }
    if levels.of_others() < needed {
        return Ok(None);
    }
    let mut after: Option<String> = None;
    loop {
        let page = reader.member_page(view, room, &[Membership::Join], after.as_deref(), MEMBERS)?;
        let members = page.members.into_iter().filter_map(|(user_id, _)| UserId::parse(user_id).ok());
        let found = members.into_iter().find(|user_id| able(user_id));
        if found.is_some() || page.next.is_none() {
            return Ok(found);
        }
        after = page.next;
    }
}
