//! Which events authorise an event, and the rules about those that it cites.

use ruma::{EventId, OwnedUserId, UserId};
use serde_json::value::RawValue;

use super::{AuthError, demand, reject};
use crate::event::{
    member::{MemberContent, ThirdPartyInvite},
    pdu::Pdu,
    version::{Rules, room_id_is_create_id},
};

/// The state that an event must cite as authorising it (server-server API, "Auth events selection"), as far as the room
/// has it: types and state keys.
pub fn selection(
    kind: &str,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
    rules: &Rules,
) -> Result<Vec<(String, String)>, AuthError> {
    let mut selected = Vec::with_capacity(5);
    if kind == "m.room.create" {
        return Ok(selected);
    }
    let mut select = |kind: &str, state_key: &str| {
        let entry = (kind.to_owned(), state_key.to_owned());
        if !selected.contains(&entry) {
            selected.push(entry);
        }
    };
    select("m.room.power_levels", "");
    select("m.room.member", sender.as_str());
    if !room_id_is_create_id(rules) {
        select("m.room.create", "");
    }
    if kind != "m.room.member" {
        return Ok(selected);
    }
    let wrong = |what: &str| AuthError(what.to_owned());
    let target = state_key.ok_or_else(|| wrong("a membership has no state key"))?;
    select("m.room.member", target);
    let content = MemberContent::read(content);
    let membership = content.membership().ok_or_else(|| wrong("a membership does not say which"))?;
    if matches!(&*membership, "join" | "invite" | "knock") {
        select("m.room.join_rules", "");
    }
    if membership == "invite" && content.has_third_party_invite() {
        let names = content.third_party_invite().as_ref().and_then(ThirdPartyInvite::names);
        let (_, token) = names.ok_or_else(|| wrong("the invite of a third party has no token"))?;
        select("m.room.third_party_invite", &token);
    }
    if membership == "join"
        && rules.authorization.restricted_join_rule
        && let Some(via) = content.authorised_via()
    {
        let via = via.map_err(|()| wrong("`join_authorised_via_users_server` is no user id"))?;
        select("m.room.member", via.as_str());
    }
    Ok(selected)
}

/// The rules that need no state: those about the create event and about what an event cites. `fetch` finds cited events,
/// those that were rejected marked so.
pub fn check_citations(pdu: &Pdu, rules: &Rules, fetch: impl Fn(&EventId) -> Option<Pdu>) -> Result<(), AuthError> {
    if pdu.kind() == "m.room.create" {
        return check_create(pdu, rules);
    }
    if room_id_is_create_id(rules) {
        check_room(pdu, &fetch)?;
    }
    let expected = selection(pdu.kind(), pdu.sender(), pdu.state_key(), pdu.content(), rules)?;
    let mut seen = Vec::with_capacity(pdu.auth_events().len());
    for id in pdu.auth_events() {
        let cited = fetch(id).ok_or_else(|| AuthError(format!("the auth event {id} is not known")))?;
        demand(cited.room_id() == pdu.room_id(), "an auth event is of another room")?;
        let Some(state_key) = cited.state_key() else { return reject("an auth event is no state event") };
        let is_cited = |(kind, key): &(String, String)| kind == cited.kind() && key == state_key;
        let Some(at) = expected.iter().position(is_cited) else {
            return Err(AuthError(format!("`{}` is no auth event of this event", cited.kind())));
        };
        demand(!seen.contains(&at), "two auth events are of one type and state key")?;
        demand(!cited.is_rejected(), "an auth event was rejected")?;
        seen.push(at);
    }
    let is_create = |at: &usize| expected.get(*at).is_some_and(|(kind, _)| kind == "m.room.create");
    let has_create = room_id_is_create_id(rules) || seen.iter().any(is_create);
    demand(has_create, "no auth event is the create event")
}

/// Rule 2 of version 12: the room id is that of an accepted create event.
fn check_room(pdu: &Pdu, fetch: &impl Fn(&EventId) -> Option<Pdu>) -> Result<(), AuthError> {
    let hash = pdu.room_id().as_str().get(1..).unwrap_or_default();
    let create = EventId::parse(format!("${hash}")).ok().and_then(|id| fetch(&id));
    let create = create.ok_or_else(|| AuthError("the create event that the room id names is not known".to_owned()))?;
    let is_create = create.is_state("m.room.create", "") && !create.is_rejected();
    demand(is_create, "the room id does not name an accepted create event")
}

/// Rule 1. That the room version is known is clear from `rules`.
fn check_create(pdu: &Pdu, rules: &Rules) -> Result<(), AuthError> {
    demand(pdu.prev_events().is_empty(), "a create event has previous events")?;
    let rules = &rules.authorization;
    if !rules.room_create_event_id_as_room_id {
        let own = pdu.room_id().server_name() == Some(pdu.sender().server_name());
        demand(own, "the room id is not of the sender's server")?;
    }
    if !rules.use_room_create_sender {
        let creator: Option<serde::de::IgnoredAny> = pdu.content_field("creator");
        demand(creator.is_some(), "a create event must name the creator")?;
    }
    if rules.additional_room_creators {
        let more: Option<&str> = pdu.content_text("additional_creators");
        let is_list = |more: &str| serde_json::from_str::<Vec<OwnedUserId>>(more).is_ok();
        demand(more.is_none_or(is_list), "`additional_creators` is no list of user ids")?;
    }
    Ok(())
}
