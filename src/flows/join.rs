//! Joining a room of this server.

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    new_state::{self, NewState, member_content},
    room_error::RoomError,
    send::power_levels,
};
use crate::{
    app::App,
    event::power::Action,
    graph::{Event, Head, Member, Membership, Reader, RoomNo},
    rooms::{content, guest_access},
    store::{ReadError, View},
    users::profile,
};

/// The field by which a restricted join says who lets the user in.
const AUTHORISED_VIA: &str = "join_authorised_via_users_server";
/// Rooms whose members a restricted room may let in that are looked at.
const MOST_CONDITIONS: usize = 100;
/// Members that are read at once in search of one who may let others in.
const MEMBERS: usize = 1_000;

/// Who joins.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The user.
    pub user_id: OwnedUserId,
    /// A guest.
    pub is_guest: bool,
}

/// Joins a room. Who is in it already stays as they are.
pub async fn join(
    app: &App,
    joining: Joining,
    room_id: OwnedRoomId,
    reason: Option<String>,
) -> Result<OwnedRoomId, RoomError> {
    let (user_id, id) = (joining.user_id.clone(), room_id.clone());
    let find = move |reader: &Reader, view: &View<'_>| {
        let room = reader.room_no(view, &id)?.ok_or(RoomError::UnknownRoom)?;
        let member = reader.member(view, room, &user_id)?.map(|member| member.membership);
        Ok::<_, RoomError>((room, member, profile::get(view, &user_id)?.for_members()))
    };
    let (room, member, profile) = app.rooms.read(find).await?;
    if member == Some(Membership::Join) {
        return Ok(room_id);
    }
    let content = member_content(Membership::Join, &profile, reason);
    join_with(app, room, joining, content).await?;
    Ok(room_id)
}

/// Joins (or, when joined, changes the own member event) with this content.
pub(super) async fn join_with(
    app: &App,
    room: RoomNo,
    joining: Joining,
    mut content: CanonicalJsonObject,
) -> Result<OwnedEventId, RoomError> {
    let (user_id, is_guest) = (joining.user_id.clone(), joining.is_guest);
    let authorise = move |reader: &Reader, view: &View<'_>| authorise(reader, view, room, &joining);
    content.remove(AUTHORISED_VIA);
    if let Some(authoriser) = app.rooms.read(authorise).await? {
        content.insert(AUTHORISED_VIA.to_owned(), CanonicalJsonValue::String(authoriser.to_string()));
    }
    let state = NewState::of_member(&user_id, content);
    if is_guest {
        new_state::put_guest(app, &user_id, room, state).await
    } else {
        new_state::put(app, &user_id, room, state).await
    }
}

/// What a join needs beside the auth rules, which the graph asks: guests must be let in, and a restricted room wants to
/// know who lets the user in. `None` if nobody need to.
fn authorise(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    joining: &Joining,
) -> Result<Option<OwnedUserId>, RoomError> {
    let head = reader.head(view, room)?.ok_or(RoomError::UnknownRoom)?;
    let state = |kind: &str| reader.state_event(view, room, head.root, kind, "");
    if joining.is_guest && !guest_access::of_room(reader, view, room)? {
        return Err(RoomError::NotForGuests);
    }
    let member = reader.member(view, room, &joining.user_id)?.map(|member| member.membership);
    if matches!(member, Some(Membership::Join | Membership::Invite | Membership::Ban)) {
        return Ok(None);
    }
    let Some(rules) = state("m.room.join_rules")? else { return Ok(None) };
    let rule = content::text(rules.content(), "join_rule");
    if !matches!(rule.as_deref(), Some("restricted" | "knock_restricted")) {
        return Ok(None);
    }
    if !fulfils_a_condition(reader, view, &rules, &joining.user_id)? {
        return Err(RoomError::Forbidden("you are in none of the rooms whose members may join here".to_owned()));
    }
    let authoriser = authoriser(reader, view, (room, &head), &joining.user_id)?;
    let nobody = || RoomError::Forbidden("nobody of this server may let others into this room".to_owned());
    authoriser.map(Some).ok_or_else(nobody)
}

/// Whether the user is in a room whose members may join (room version 8, "restricted").
fn fulfils_a_condition(reader: &Reader, view: &View<'_>, rules: &Event, user_id: &UserId) -> Result<bool, ReadError> {
    #[derive(Deserialize)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        room_id: String,
    }
    let allow: Vec<Json> = content::field(rules.content(), "allow").unwrap_or_default();
    let conditions = allow.into_iter().filter_map(|condition| serde_json::from_value::<Condition>(condition).ok());
    for condition in conditions.filter(|condition| condition.kind == "m.room_membership").take(MOST_CONDITIONS) {
        let Ok(room_id) = RoomId::parse(condition.room_id) else { continue };
        let Some(room) = reader.room_no(view, &room_id)? else { continue };
        let row = reader.user_room(view, user_id, room)?;
        if row.is_some_and(|row| row.membership == Membership::Join) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A member of this server who may invite. Asked first are those who have a level of their own, since in most rooms
/// nobody else may.
fn authoriser(
    reader: &Reader,
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    joining: &UserId,
) -> Result<Option<OwnedUserId>, ReadError> {
    let Some(levels) = power_levels(reader, view, (room, head))? else { return Ok(None) };
    let needed = levels.to(Action::Invite);
    let able = |user_id: &UserId| user_id.server_name() == joining.server_name() && levels.of(user_id) >= needed;
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
