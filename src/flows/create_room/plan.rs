//! Which events a new room begins with (client-server API, `POST /createRoom`). Pure.

use ruma::{
    Int, OwnedRoomAliasId, OwnedUserId, RoomVersionId, UserId,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::{
    event::{Rules, version},
    flows::set_state::NewState,
    users::profile::MemberProfile,
};

/// Events that one commit holds; everything but invites must fit.
pub const MOST_AT_ONCE: usize = 50;
/// The most users that are invited at once.
pub const MOST_INVITES: usize = 500;
/// What the tombstone of a room of version 12 or later needs: more than `state_default`, so that only creators and
/// those whom they trust can close a room for good.
const TOMBSTONE: i64 = 150;

/// Which default state a room gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Joined by invite.
    PrivateChat,
    /// Joined by invite; who is invited at once has the creator's power.
    TrustedPrivateChat,
    /// Joined by anybody.
    PublicChat,
}

/// A room to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who makes it.
    pub creator: OwnedUserId,
    /// What the creator's member event says of them.
    pub profile: MemberProfile,
    /// The version.
    pub version: RoomVersionId,
    /// Which default state it gets.
    pub preset: Preset,
    /// More fields of the create event.
    pub creation_content: CanonicalJsonObject,
    /// Fields of the power levels that differ from the default.
    pub power_levels: CanonicalJsonObject,
    /// More state.
    pub initial_state: Vec<NewState>,
    /// The name.
    pub name: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// The alias.
    pub alias: Option<OwnedRoomAliasId>,
    /// Who is invited, and what their member events say of them.
    pub invite: Vec<(OwnedUserId, MemberProfile)>,
    /// It is a direct chat with those who are invited.
    pub is_direct: bool,
}

/// Why there can be no such room.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// This server does not know the version.
    #[error("this server does not support room version {0}")]
    UnsupportedVersion(RoomVersionId),
    /// A field of the request is not what it must be.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too many events.
    #[error("a room can't begin with more than {MOST_AT_ONCE} state events and {MOST_INVITES} invites")]
    TooMany,
}

/// The events of a new room, in the order of the specification; the first is the create event.
pub fn plan(wish: Wish) -> Result<Vec<NewState>, PlanError> {
    let rules = version::rules(&wish.version).ok_or_else(|| PlanError::UnsupportedVersion(wish.version.clone()))?;
    if wish.invite.iter().any(|(user_id, _)| *user_id == wish.creator) {
        return Err(PlanError::Invalid("you can't invite yourself"));
    }
    let mut events = vec![
        create(&wish, rules)?,
        member(&wish.creator, "join", &wish.profile, false),
        state("m.room.power_levels", power_levels(&wish, rules)?),
    ];
    if let Some(alias) = &wish.alias {
        events.push(state("m.room.canonical_alias", object(json!({"alias": alias}))));
    }
    let wanted = |kind: &str| wish.initial_state.iter().any(|event| event.kind == kind && event.state_key.is_empty());
    // What the preset says of the same, `initial_state` says better.
    events.extend(preset(wish.preset).into_iter().filter(|event| !wanted(&event.kind)));
    let named: Vec<NewState> = [name(&wish), topic(&wish)].into_iter().flatten().collect();
    let overridden =
        |event: &NewState| event.state_key.is_empty() && named.iter().any(|named| named.kind == event.kind);
    events.extend(wish.initial_state.iter().filter(|event| !overridden(event)).cloned());
    events.extend(named);
    if events.len() > MOST_AT_ONCE || wish.invite.len() > MOST_INVITES {
        return Err(PlanError::TooMany);
    }
    events.extend(wish.invite.iter().map(|(user_id, profile)| member(user_id, "invite", profile, wish.is_direct)));
    Ok(events)
}

fn create(wish: &Wish, rules: &Rules) -> Result<NewState, PlanError> {
    let mut content = wish.creation_content.clone();
    content.insert("room_version".to_owned(), text(wish.version.as_str()));
    content.remove("creator");
    if !rules.authorization.use_room_create_sender {
        content.insert("creator".to_owned(), text(wish.creator.as_str()));
    }
    if rules.authorization.additional_room_creators {
        let creators = additional_creators(wish)?;
        content.remove("additional_creators");
        if !creators.is_empty() {
            let creators = creators.iter().map(|user_id| text(user_id.as_str())).collect();
            content.insert("additional_creators".to_owned(), CanonicalJsonValue::Array(creators));
        }
    }
    Ok(state("m.room.create", content))
}

/// Who else counts as a creator: those that the client names and, of a trusted chat, who is invited.
fn additional_creators(wish: &Wish) -> Result<Vec<OwnedUserId>, PlanError> {
    let invalid = PlanError::Invalid("`additional_creators` must be a list of user ids");
    let named = match wish.creation_content.get("additional_creators") {
        None => &[][..],
        Some(CanonicalJsonValue::Array(named)) => named,
        Some(_) => return Err(invalid),
    };
    let mut creators: Vec<OwnedUserId> = Vec::new();
    for user_id in named {
        let parsed = user_id.as_str().and_then(|user_id| UserId::parse(user_id).ok());
        creators.push(parsed.ok_or_else(|| invalid.clone())?);
    }
    if wish.preset == Preset::TrustedPrivateChat {
        creators.extend(wish.invite.iter().map(|(user_id, _)| user_id.clone()));
    }
    let mut unique: Vec<OwnedUserId> = Vec::new();
    for user_id in creators {
        if user_id != wish.creator && !unique.contains(&user_id) {
            unique.push(user_id);
        }
    }
    Ok(unique)
}

fn power_levels(wish: &Wish, rules: &Rules) -> Result<CanonicalJsonObject, PlanError> {
    let privileged = rules.authorization.explicitly_privilege_room_creators;
    let mut users = CanonicalJsonObject::new();
    if !privileged {
        users.insert(wish.creator.to_string(), integer(100));
        if wish.preset == Preset::TrustedPrivateChat {
            users.extend(wish.invite.iter().map(|(user_id, _)| (user_id.to_string(), integer(100))));
        }
    }
    let invite = if wish.preset == Preset::PublicChat { 50 } else { 0 };
    let mut content = object(json!({
        "ban": 50,
        "events": {
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.encryption": 100,
            "m.room.history_visibility": 100,
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": 100,
        },
        "events_default": 0,
        "invite": invite,
        "kick": 50,
        "redact": 50,
        "state_default": 50,
        "users_default": 0,
    }));
    content.insert("users".to_owned(), CanonicalJsonValue::Object(users));
    content.extend(wish.power_levels.clone());
    if privileged {
        protect_tombstone(wish, &mut content)?;
    }
    Ok(content)
}

/// Room version 12, "Room upgrades": the tombstone's level must be higher than `state_default`. What the client says of
/// it itself stays.
fn protect_tombstone(wish: &Wish, content: &mut CanonicalJsonObject) -> Result<(), PlanError> {
    let asked = wish.power_levels.get("events").and_then(CanonicalJsonValue::as_object);
    if asked.is_some_and(|events| events.contains_key("m.room.tombstone")) {
        return Ok(());
    }
    let state_default = content.get("state_default").and_then(CanonicalJsonValue::as_integer).map_or(50, i64::from);
    let level = TOMBSTONE.max(state_default.saturating_add(50));
    match content.get_mut("events") {
        Some(CanonicalJsonValue::Object(events)) => {
            events.insert("m.room.tombstone".to_owned(), integer(level));
            Ok(())
        }
        _ => Err(PlanError::Invalid("`events` of the power levels must be an object")),
    }
}

fn preset(preset: Preset) -> [NewState; 3] {
    let (join_rule, guest_access) = match preset {
        Preset::PrivateChat | Preset::TrustedPrivateChat => ("invite", "can_join"),
        Preset::PublicChat => ("public", "forbidden"),
    };
    [
        state("m.room.join_rules", object(json!({"join_rule": join_rule}))),
        state("m.room.history_visibility", object(json!({"history_visibility": "shared"}))),
        state("m.room.guest_access", object(json!({"guest_access": guest_access}))),
    ]
}

fn name(wish: &Wish) -> Option<NewState> {
    let name = wish.name.as_ref()?;
    Some(state("m.room.name", object(json!({"name": name}))))
}

/// Client-server API, "m.room.topic": plain, and as an extensible text.
fn topic(wish: &Wish) -> Option<NewState> {
    let topic = wish.topic.as_ref()?;
    let content = json!({"topic": topic, "m.topic": {"m.text": [{"body": topic, "mimetype": "text/plain"}]}});
    Some(state("m.room.topic", object(content)))
}

/// A member event.
pub fn member(user_id: &UserId, membership: &str, profile: &MemberProfile, is_direct: bool) -> NewState {
    let mut content = object(json!({"membership": membership}));
    let mut put = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            content.insert(name.to_owned(), text(value));
        }
    };
    put("displayname", &profile.displayname);
    put("avatar_url", &profile.avatar_url);
    if is_direct {
        content.insert("is_direct".to_owned(), CanonicalJsonValue::Bool(true));
    }
    NewState { kind: "m.room.member".to_owned(), state_key: user_id.to_string(), content }
}

fn state(kind: &str, content: CanonicalJsonObject) -> NewState {
    NewState { kind: kind.to_owned(), state_key: String::new(), content }
}

fn text(text: &str) -> CanonicalJsonValue {
    CanonicalJsonValue::String(text.to_owned())
}

fn integer(value: i64) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::new_saturating(value))
}

/// Our own literals as canonical JSON.
fn object(literal: Json) -> CanonicalJsonObject {
    match CanonicalJsonValue::try_from(literal) {
        Ok(CanonicalJsonValue::Object(object)) => object,
        // INVARIANT: literals of this file are objects of text and small integers.
        _ => CanonicalJsonObject::new(),
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_alias_id, user_id};

    use super::*;
    use crate::event::version::SUPPORTED;

    fn wish(version: RoomVersionId, preset: Preset) -> Wish {
        Wish {
            creator: user_id!("@alice:a").to_owned(),
            profile: MemberProfile { displayname: Some("Alice".to_owned()), avatar_url: None },
            version,
            preset,
            creation_content: CanonicalJsonObject::new(),
            power_levels: CanonicalJsonObject::new(),
            initial_state: Vec::new(),
            name: None,
            topic: None,
            alias: None,
            invite: Vec::new(),
            is_direct: false,
        }
    }

    fn shown(events: &[NewState]) -> Vec<(String, String, Json)> {
        let show = |event: &NewState| {
            let content = serde_json::to_value(&event.content).unwrap();
            (event.kind.clone(), event.state_key.clone(), content)
        };
        events.iter().map(show).collect()
    }

    fn content(events: &[NewState], kind: &str) -> Json {
        let event = events.iter().find(|event| event.kind == kind).unwrap();
        serde_json::to_value(&event.content).unwrap()
    }

    #[test]
    fn the_order_is_the_specifications() {
        let mut wish = wish(RoomVersionId::V11, Preset::PublicChat);
        wish.name = Some("Name".to_owned());
        wish.topic = Some("Topic".to_owned());
        wish.alias = Some(room_alias_id!("#x:a").to_owned());
        wish.invite = vec![(user_id!("@bob:a").to_owned(), MemberProfile::default())];
        wish.is_direct = true;
        let initial = |kind: &str, content: Json| state(kind, object(content));
        wish.initial_state = vec![
            initial("m.room.history_visibility", json!({"history_visibility": "joined"})),
            initial("m.room.name", json!({"name": "Other"})),
            initial("x.y", json!({"z": 1})),
        ];
        let events = shown(&plan(wish).unwrap());
        let kinds: Vec<&str> = events.iter().map(|(kind, ..)| kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "m.room.create",
                "m.room.member",
                "m.room.power_levels",
                "m.room.canonical_alias",
                "m.room.join_rules",
                "m.room.guest_access",
                "m.room.history_visibility",
                "x.y",
                "m.room.name",
                "m.room.topic",
                "m.room.member",
            ]
        );
        assert_eq!(events[0].2, json!({"room_version": "11"}));
        assert_eq!(events[1].2, json!({"membership": "join", "displayname": "Alice"}));
        assert_eq!(events[6].2, json!({"history_visibility": "joined"}));
        assert_eq!(
            events[9].2,
            json!({"topic": "Topic", "m.topic": {"m.text": [{"body": "Topic", "mimetype": "text/plain"}]}})
        );
        assert_eq!(events[10].1, "@bob:a");
        assert_eq!(events[10].2, json!({"membership": "invite", "is_direct": true}));
    }

    #[test]
    fn presets_differ_in_three_events_and_the_level_of_invites() {
        for (preset, join, guests, invite) in [
            (Preset::PrivateChat, "invite", "can_join", 0),
            (Preset::TrustedPrivateChat, "invite", "can_join", 0),
            (Preset::PublicChat, "public", "forbidden", 50),
        ] {
            for version in SUPPORTED {
                let events = plan(wish(version, preset)).unwrap();
                assert_eq!(content(&events, "m.room.join_rules"), json!({"join_rule": join}));
                assert_eq!(content(&events, "m.room.guest_access"), json!({"guest_access": guests}));
                assert_eq!(content(&events, "m.room.history_visibility"), json!({"history_visibility": "shared"}));
                assert_eq!(content(&events, "m.room.power_levels")["invite"], invite);
            }
        }
    }

    #[test]
    fn versions_differ_in_who_is_creator_and_how_they_have_power() {
        for version in SUPPORTED {
            let rules = version::rules(&version).unwrap();
            let mut wish = wish(version.clone(), Preset::TrustedPrivateChat);
            wish.invite = vec![(user_id!("@bob:a").to_owned(), MemberProfile::default())];
            wish.creation_content =
                object(json!({"creator": "@eve:a", "room_version": "77", "m.federate": false, "x": {"y": 1}}));
            let events = plan(wish).unwrap();
            let create = content(&events, "m.room.create");
            assert_eq!(create["room_version"], version.as_str());
            assert_eq!((&create["m.federate"], &create["x"]), (&json!(false), &json!({"y": 1})));
            let names_creator = !rules.authorization.use_room_create_sender;
            assert_eq!(create.get("creator"), names_creator.then_some(&json!("@alice:a")), "{version}");
            let levels = content(&events, "m.room.power_levels");
            let expected = if version == RoomVersionId::V12 {
                assert_eq!(create["additional_creators"], json!(["@bob:a"]));
                assert_eq!(levels["events"]["m.room.tombstone"], 150);
                json!({})
            } else {
                assert_eq!(create.get("additional_creators"), None);
                assert_eq!(levels["events"]["m.room.tombstone"], 100);
                json!({"@alice:a": 100, "@bob:a": 100})
            };
            assert_eq!(levels["users"], expected, "{version}");
        }
    }

    #[test]
    fn additional_creators_are_merged_each_once_and_must_be_user_ids() {
        let mut asked = wish(RoomVersionId::V12, Preset::TrustedPrivateChat);
        asked.invite = vec![(user_id!("@bob:a").to_owned(), MemberProfile::default())];
        asked.creation_content = object(json!({"additional_creators": ["@carol:b", "@bob:a", "@alice:a"]}));
        let create = content(&plan(asked.clone()).unwrap(), "m.room.create");
        assert_eq!(create["additional_creators"], json!(["@carol:b", "@bob:a"]));
        for wrong in [json!("@carol:b"), json!([1]), json!(["carol"]), json!({})] {
            asked.creation_content = object(json!({"additional_creators": wrong}));
            assert!(matches!(plan(asked.clone()), Err(PlanError::Invalid(_))));
        }
    }

    #[test]
    fn the_clients_power_levels_lie_on_top() {
        for (asked, tombstone) in [
            (json!({"events": {"m.room.name": 0}}), 150),
            (json!({"events": {"m.room.tombstone": 7}}), 7),
            (json!({"state_default": 200}), 250),
            (json!({"users": {"@bob:a": 9}}), 150),
        ] {
            let mut wish = wish(RoomVersionId::V12, Preset::PrivateChat);
            wish.power_levels = object(asked.clone());
            let levels = content(&plan(wish).unwrap(), "m.room.power_levels");
            assert_eq!(levels["events"]["m.room.tombstone"], tombstone, "{asked}");
            assert_eq!(levels["ban"], 50);
            for (field, value) in asked.as_object().unwrap() {
                if field != "events" {
                    assert_eq!(levels[field], *value);
                }
            }
        }
        let mut wish = wish(RoomVersionId::V12, Preset::PrivateChat);
        wish.power_levels = object(json!({"events": []}));
        assert!(matches!(plan(wish), Err(PlanError::Invalid(_))));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let unknown = RoomVersionId::try_from("nope").unwrap();
        assert_eq!(plan(wish(unknown.clone(), Preset::PrivateChat)), Err(PlanError::UnsupportedVersion(unknown)));
        let mut to_myself = wish(RoomVersionId::V11, Preset::PrivateChat);
        to_myself.invite = vec![(user_id!("@alice:a").to_owned(), MemberProfile::default())];
        assert!(matches!(plan(to_myself), Err(PlanError::Invalid(_))));
        let mut large = wish(RoomVersionId::V11, Preset::PrivateChat);
        large.initial_state = vec![state("x.y", CanonicalJsonObject::new()); MOST_AT_ONCE];
        assert_eq!(plan(large), Err(PlanError::TooMany));
    }
}
