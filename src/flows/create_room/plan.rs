//! Which events a new room begins with (client-server API, `POST /createRoom`). Pure.

use std::collections::BTreeSet;

use ruma::{
    OwnedRoomAliasId, OwnedUserId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::json;

use super::{
    literals::{object, text},
    new_room::{MOST_AT_ONCE, MOST_INVITES, NewRoom, PlanError, Preset},
    power_levels::power_levels,
};
use crate::{
    event::{Rules, version},
    flows::new_state::{NewState, member_content},
    graph::Membership,
    users::profile::MemberProfile,
};

/// What is looked up for the plan of a room.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// What the creator's member event says of them.
    pub(super) profile: MemberProfile,
    /// The alias.
    pub(super) alias: Option<OwnedRoomAliasId>,
    /// Who is invited, each once, and what their member events say of them.
    pub(super) invite: Vec<(OwnedUserId, MemberProfile)>,
}

/// Refuses what is too much whatever it says, before anything is done with it.
pub(super) fn check_size(new: &NewRoom) -> Result<(), PlanError> {
    if new.initial_state.len() > MOST_AT_ONCE || new.invite.len() > MOST_INVITES {
        return Err(PlanError::TooMany);
    }
    Ok(())
}

/// The events of a new room, in the order of the specification; the first is the create event.
pub(super) fn plan(new: &NewRoom, known: &Known) -> Result<Vec<NewState>, PlanError> {
    let rules = version::rules(&new.version).ok_or_else(|| PlanError::UnsupportedVersion(new.version.clone()))?;
    if known.invite.iter().any(|(user_id, _)| *user_id == new.creator) {
        return Err(PlanError::Invalid("you can't invite yourself"));
    }
    let invitees: Vec<&UserId> = known.invite.iter().map(|(user_id, _)| &**user_id).collect();
    let joined = member_content(Membership::Join, &known.profile, None);
    let mut events = vec![
        NewState::of_room("m.room.create", create(new, &invitees, rules)?),
        NewState::of_member(&new.creator, joined),
        NewState::of_room("m.room.power_levels", power_levels(new, &invitees, rules)?),
    ];
    if let Some(alias) = &known.alias {
        events.push(NewState::of_room("m.room.canonical_alias", object(json!({"alias": alias}))));
    }
    let wanted = |kind: &str| new.initial_state.iter().any(|event| event.kind == kind && event.state_key.is_empty());
    // What the preset says of the same, `initial_state` says better.
    events.extend(preset(new.preset).into_iter().filter(|event| !wanted(&event.kind)));
    let named: Vec<NewState> = [name(new), topic(new)].into_iter().flatten().collect();
    let overridden =
        |event: &NewState| event.state_key.is_empty() && named.iter().any(|named| named.kind == event.kind);
    events.extend(new.initial_state.iter().filter(|event| !overridden(event)).cloned());
    events.extend(named);
    // If anybody is invited, one invite is among the first events: by it all others are judged.
    if events.len() + usize::from(!known.invite.is_empty()) > MOST_AT_ONCE {
        return Err(PlanError::TooMany);
    }
    let banned = |event: &NewState| {
        event.kind == "m.room.member"
            && event.content.get("membership").and_then(CanonicalJsonValue::as_str) == Some("ban")
    };
    let banned: BTreeSet<&str> =
        new.initial_state.iter().filter(|event| banned(event)).map(|event| event.state_key.as_str()).collect();
    if known.invite.iter().any(|(user_id, _)| banned.contains(user_id.as_str())) {
        return Err(PlanError::Invalid("nobody can be banned and invited at once"));
    }
    events.extend(known.invite.iter().map(|(user_id, profile)| invite(user_id, profile, new.is_direct)));
    Ok(events)
}

fn create(new: &NewRoom, invitees: &[&UserId], rules: &Rules) -> Result<CanonicalJsonObject, PlanError> {
    let mut content = new.creation_content.clone();
    content.insert("room_version".to_owned(), text(new.version.as_str()));
    content.remove("creator");
    if !rules.authorization.use_room_create_sender {
        content.insert("creator".to_owned(), text(new.creator.as_str()));
    }
    if rules.authorization.additional_room_creators {
        let creators = additional_creators(new, invitees)?;
        content.remove("additional_creators");
        if !creators.is_empty() {
            let creators = creators.iter().map(|user_id| text(user_id.as_str())).collect();
            content.insert("additional_creators".to_owned(), CanonicalJsonValue::Array(creators));
        }
    }
    Ok(content)
}

/// Who else counts as a creator: those that the client names and, of a trusted chat, who is invited.
fn additional_creators(new: &NewRoom, invitees: &[&UserId]) -> Result<Vec<OwnedUserId>, PlanError> {
    let invalid = PlanError::Invalid("`additional_creators` must be a list of user ids");
    let named = match new.creation_content.get("additional_creators") {
        None => &[][..],
        Some(CanonicalJsonValue::Array(named)) => named,
        Some(_) => return Err(invalid),
    };
    let mut creators: Vec<OwnedUserId> = Vec::new();
    for user_id in named {
        let parsed = user_id.as_str().and_then(|user_id| UserId::parse(user_id).ok());
        creators.push(parsed.ok_or_else(|| invalid.clone())?);
    }
    if new.preset == Preset::TrustedPrivateChat {
        creators.extend(invitees.iter().map(|user_id| (*user_id).to_owned()));
    }
    let mut once = BTreeSet::from([new.creator.clone()]);
    creators.retain(|user_id| once.insert(user_id.clone()));
    Ok(creators)
}

/// That guests are kept out of public rooms needs no event: it is what holds without one (client-server API, "Guest access").
fn preset(preset: Preset) -> Vec<NewState> {
    let (join_rule, lets_guests_in) = match preset {
        Preset::PrivateChat | Preset::TrustedPrivateChat => ("invite", true),
        Preset::PublicChat => ("public", false),
    };
    let mut events = vec![
        NewState::of_room("m.room.join_rules", object(json!({"join_rule": join_rule}))),
        NewState::of_room("m.room.history_visibility", object(json!({"history_visibility": "shared"}))),
    ];
    if lets_guests_in {
        events.push(NewState::of_room("m.room.guest_access", object(json!({"guest_access": "can_join"}))));
    }
    events
}

fn name(new: &NewRoom) -> Option<NewState> {
    let name = new.name.as_ref()?;
    Some(NewState::of_room("m.room.name", object(json!({"name": name}))))
}

/// Client-server API, "m.room.topic": plain, and as an extensible text.
fn topic(new: &NewRoom) -> Option<NewState> {
    let topic = new.topic.as_ref()?;
    let content = json!({"topic": topic, "m.topic": {"m.text": [{"body": topic, "mimetype": "text/plain"}]}});
    Some(NewState::of_room("m.room.topic", object(content)))
}

fn invite(user_id: &UserId, profile: &MemberProfile, is_direct: bool) -> NewState {
    let mut content = member_content(Membership::Invite, profile, None);
    if is_direct {
        content.insert("is_direct".to_owned(), CanonicalJsonValue::Bool(true));
    }
    NewState::of_member(user_id, content)
}

#[cfg(test)]
mod tests;
