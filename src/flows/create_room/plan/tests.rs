//! Plans of rooms, by preset and version.

use ruma::{RoomVersionId, room_alias_id, user_id};
use serde_json::Value as Json;

use super::*;
use crate::event::version::SUPPORTED;

/// A wish for a room, and what is known for it.
#[derive(Clone)]
struct Wish {
    new: NewRoom,
    known: Known,
}

fn wish(version: RoomVersionId, preset: Preset) -> Wish {
    let new = NewRoom {
        creator: user_id!("@alice:a").to_owned(),
        version,
        preset,
        creation_content: CanonicalJsonObject::new(),
        power_levels: CanonicalJsonObject::new(),
        initial_state: Vec::new(),
        name: None,
        topic: None,
        alias_name: None,
        invite: Vec::new(),
        is_direct: false,
        published: false,
    };
    let profile = MemberProfile { displayname: Some("Alice".to_owned()), avatar_url: None };
    Wish { new, known: Known { profile, ..Known::default() } }
}

fn plan(Wish { new, known }: Wish) -> Result<Vec<NewState>, PlanError> {
    super::plan(&new, &known)
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
    let mut wish = wish(RoomVersionId::V11, Preset::PrivateChat);
    wish.new.name = Some("Name".to_owned());
    wish.new.topic = Some("Topic".to_owned());
    wish.known.alias = Some(room_alias_id!("#x:a").to_owned());
    wish.known.invite = vec![(user_id!("@bob:a").to_owned(), MemberProfile::default())];
    wish.new.is_direct = true;
    let initial = |kind: &str, content: Json| NewState::of_room(kind, object(content));
    wish.new.initial_state = vec![
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
    for (preset, join, lets_guests_in, invite) in [
        (Preset::PrivateChat, "invite", true, 0),
        (Preset::TrustedPrivateChat, "invite", true, 0),
        (Preset::PublicChat, "public", false, 50),
    ] {
        for version in SUPPORTED {
            let events = plan(wish(version, preset)).unwrap();
            assert_eq!(content(&events, "m.room.join_rules"), json!({"join_rule": join}));
            let guest_access = shown(&events).into_iter().find(|(kind, ..)| kind == "m.room.guest_access");
            assert_eq!(guest_access.map(|event| event.2), lets_guests_in.then(|| json!({"guest_access": "can_join"})));
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
        wish.known.invite = vec![(user_id!("@bob:a").to_owned(), MemberProfile::default())];
        wish.new.creation_content =
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
    asked.known.invite = vec![(user_id!("@bob:a").to_owned(), MemberProfile::default())];
    asked.new.creation_content = object(json!({"additional_creators": ["@carol:b", "@bob:a", "@alice:a"]}));
    let create = content(&plan(asked.clone()).unwrap(), "m.room.create");
    assert_eq!(create["additional_creators"], json!(["@carol:b", "@bob:a"]));
    for wrong in [json!("@carol:b"), json!([1]), json!(["carol"]), json!({})] {
        asked.new.creation_content = object(json!({"additional_creators": wrong}));
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
        wish.new.power_levels = object(asked.clone());
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
    wish.new.power_levels = object(json!({"events": []}));
    assert!(matches!(plan(wish), Err(PlanError::Invalid(_))));
}

#[test]
fn what_cannot_be_is_refused() {
    let unknown = RoomVersionId::try_from("nope").unwrap();
    assert_eq!(plan(wish(unknown.clone(), Preset::PrivateChat)), Err(PlanError::UnsupportedVersion(unknown)));
    let mut to_myself = wish(RoomVersionId::V11, Preset::PrivateChat);
    to_myself.known.invite = vec![(user_id!("@alice:a").to_owned(), MemberProfile::default())];
    assert!(matches!(plan(to_myself), Err(PlanError::Invalid(_))));
    let mut large = wish(RoomVersionId::V11, Preset::PrivateChat);
    large.new.initial_state = vec![NewState::of_room("x.y", CanonicalJsonObject::new()); MOST_AT_ONCE];
    assert_eq!(plan(large), Err(PlanError::TooMany));
}
