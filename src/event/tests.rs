//! The specification's vectors, and what holds for every room version.

use proptest::prelude::*;
use ruma::{
    OwnedEventId, OwnedRoomId, RoomVersionId, ServerName,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
    serde::{Base64, base64::Standard},
    user_id,
};

use super::{
    auth,
    build::{BuildError, Template, build},
    format::{FormatError, LARGEST},
    hash, json,
    pdu::Pdu,
    power::{Action, Level, PowerLevels},
    redact::redact,
    sign::SigningKey,
    verify::Verified,
    version::{self, Rules, SUPPORTED, has_event_ids, redacts_in_content, room_id_is_create_id},
};

/// Appendices, "Cryptographic Test Vectors": the key of all vectors.
const VECTOR_SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

fn vector_key() -> SigningKey {
    let seed = Base64::<Standard>::parse(VECTOR_SEED).unwrap();
    SigningKey::from_seed(seed.as_bytes().try_into().unwrap(), "1", &ServerName::parse("domain").unwrap()).unwrap()
}

pub(super) fn our_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32], "a_1", &ServerName::parse("example.org").unwrap()).unwrap()
}

pub(super) fn keys_of(key: &SigningKey) -> ruma::signatures::PublicKeyMap {
    let public = Base64::new(key.public_key().to_vec());
    [(key.server_name().to_owned(), [(key.key_id().to_owned(), public)].into())].into()
}

fn object(json: &str) -> CanonicalJsonObject {
    json::parse(json.as_bytes()).unwrap()
}

pub(super) fn rules_of(version: &RoomVersionId) -> &'static Rules {
    version::rules(version).unwrap()
}

pub(super) fn template(version: &RoomVersionId, kind: &str, state_key: Option<&str>, content: &str) -> Template {
    let rules = rules_of(version);
    let is_bare_create = kind == "m.room.create" && room_id_is_create_id(rules);
    Template {
        room_id: (!is_bare_create).then(|| OwnedRoomId::try_from("!room:example.org").unwrap()),
        event_id: has_event_ids(rules).then(|| OwnedEventId::try_from("$opaque:example.org").unwrap()),
        sender: user_id!("@alice:example.org").to_owned(),
        kind: kind.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: object(content),
        redacts: None,
        origin_server_ts: 1_700_000_000_000,
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
    }
}

pub(super) fn made(version: &RoomVersionId, kind: &str, state_key: Option<&str>, content: &str) -> Pdu {
    build(template(version, kind, state_key, content), rules_of(version), &our_key()).unwrap()
}

#[test]
fn json_is_signed_as_the_appendix_says() {
    for (json, signature) in [
        ("{}", "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            r#"{"one":1,"two":"Two"}"#,
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ] {
        let mut signed = object(json);
        vector_key().sign_json(&mut signed).unwrap();
        let found = signed["signatures"].as_object().unwrap()["domain"].as_object().unwrap()["ed25519:1"].as_str();
        assert_eq!(found, Some(signature), "{json}");
    }
}

#[test]
fn events_are_hashed_and_signed_as_the_appendix_says() {
    for (json, hash, signature) in [
        (
            r#"{"room_id":"!x:domain","sender":"@a:domain","origin":"domain","origin_server_ts":1000000,"signatures":{},
                "hashes":{},"type":"X","content":{},"prev_events":[],"auth_events":[],"depth":3,"unsigned":{"age_ts":1000000}}"#,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            r#"{"content":{"body":"Here is the message content"},"event_id":"$0:domain","origin":"domain",
                "origin_server_ts":1000000,"type":"m.room.message","room_id":"!r:domain","sender":"@u:domain",
                "signatures":{},"unsigned":{"age_ts":1000000}}"#,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ] {
        let mut event = object(json);
        hash::add_content_hash(&mut event).unwrap();
        vector_key().sign_event(&mut event, rules_of(&RoomVersionId::V1)).unwrap();
        assert_eq!(event["hashes"].as_object().unwrap()["sha256"].as_str(), Some(hash));
        let found = event["signatures"].as_object().unwrap()["domain"].as_object().unwrap()["ed25519:1"].as_str();
        assert_eq!(found, Some(signature));
    }
}

#[test]
fn what_is_built_is_read_and_verified_in_every_version() {
    for version in &SUPPORTED {
        let (rules, key) = (rules_of(version), our_key());
        let pdu = made(version, "m.room.message", None, r#"{"msgtype":"m.text","body":"hi \u0007 ü"}"#);
        let again = Pdu::parse(pdu.json(), rules).unwrap();
        assert_eq!(again, pdu, "{version}");
        assert_eq!(&pdu.json()[pdu.content_range()], pdu.content().get().as_bytes());
        let verified = Verified::check(&again, rules, &keys_of(&key)).unwrap();
        assert!(!verified.was_redacted());

        let mut altered = pdu.to_object().unwrap();
        altered.insert("content".to_owned(), CanonicalJsonValue::Object(object(r#"{"body":"forged"}"#)));
        let altered = Pdu::from_object(altered, rules).unwrap();
        let verified = Verified::check(&altered, rules, &keys_of(&key)).unwrap();
        assert!(verified.was_redacted(), "a wrong content hash leaves the redacted form");
        assert_eq!(verified.pdu().content().get(), "{}");
        assert_eq!(verified.pdu().event_id(), pdu.event_id(), "and the id");

        let mut forged = pdu.to_object().unwrap();
        forged.insert("depth".to_owned(), CanonicalJsonValue::Integer(9.into()));
        let forged = Pdu::from_object(forged, rules).unwrap();
        assert!(Verified::check(&forged, rules, &keys_of(&key)).is_err(), "what redaction keeps is signed");
    }
}

#[test]
fn event_ids_have_the_form_of_their_version() {
    for version in &SUPPORTED {
        let pdu = made(version, "m.room.message", None, "{}");
        let id = pdu.event_id().as_str();
        match version {
            RoomVersionId::V1 | RoomVersionId::V2 => assert_eq!(id, "$opaque:example.org"),
            RoomVersionId::V3 => assert!(id.len() == 44 && !id.contains(['-', '_', ':']), "{id}"),
            _ => assert!(id.len() == 44 && !id.contains(['+', '/', ':']), "{id}"),
        }
    }
}

#[test]
fn a_create_event_of_version_12_names_its_room() {
    let pdu = made(&RoomVersionId::V12, "m.room.create", Some(""), r#"{"room_version":"12"}"#);
    assert_eq!(pdu.room_id().as_str()[1..], pdu.event_id().as_str()[1..]);
    assert!(!pdu.to_object().unwrap().contains_key("room_id"));

    let mut named = template(&RoomVersionId::V12, "m.room.create", Some(""), "{}");
    named.room_id = Some(OwnedRoomId::try_from("!room:example.org").unwrap());
    assert!(build(named, rules_of(&RoomVersionId::V12), &our_key()).is_err());
}

#[test]
fn redacts_stands_where_the_version_wants_it() {
    for version in &SUPPORTED {
        let mut redaction = template(version, "m.room.redaction", None, r#"{"reason":"spam"}"#);
        let target = OwnedEventId::try_from("$target:example.org").unwrap();
        redaction.redacts = Some(target.clone());
        let pdu = build(redaction, rules_of(version), &our_key()).unwrap();
        assert_eq!(pdu.redacts(), Some(&*target));
        let top = pdu.to_object().unwrap().contains_key("redacts");
        assert_eq!(top, !redacts_in_content(rules_of(version)), "{version}");
    }
}

#[test]
fn redaction_keeps_what_the_versions_say() {
    let kept = |version: &RoomVersionId, kind: &str, content: &str| {
        made(version, kind, Some(""), content).redacted(rules_of(version)).unwrap().content().get().to_owned()
    };
    let (v1, v9, v10, v11) = (RoomVersionId::V1, RoomVersionId::V9, RoomVersionId::V10, RoomVersionId::V11);
    assert_eq!(kept(&v1, "m.room.aliases", r#"{"aliases":[]}"#), r#"{"aliases":[]}"#);
    assert_eq!(kept(&RoomVersionId::V6, "m.room.aliases", r#"{"aliases":[]}"#), "{}");
    assert_eq!(
        kept(&RoomVersionId::V7, "m.room.join_rules", r#"{"join_rule":"x","allow":[]}"#),
        r#"{"join_rule":"x"}"#
    );
    let allowed = r#"{"allow":[],"join_rule":"x"}"#;
    assert_eq!(kept(&RoomVersionId::V8, "m.room.join_rules", allowed), allowed);
    let authorised = r#"{"join_authorised_via_users_server":"@a:b","membership":"join"}"#;
    assert_eq!(kept(&RoomVersionId::V8, "m.room.member", authorised), r#"{"membership":"join"}"#);
    assert_eq!(kept(&v9, "m.room.member", authorised), authorised);
    assert_eq!(kept(&v10, "m.room.create", r#"{"creator":"@a:b","m.federate":false}"#), r#"{"creator":"@a:b"}"#);
    assert_eq!(kept(&v11, "m.room.create", r#"{"m.federate":false}"#), r#"{"m.federate":false}"#);
    assert_eq!(kept(&v10, "m.room.power_levels", r#"{"invite":5,"ban":6}"#), r#"{"ban":6}"#);
    assert_eq!(kept(&v11, "m.room.power_levels", r#"{"ban":6,"invite":5}"#), r#"{"ban":6,"invite":5}"#);
    assert_eq!(kept(&v10, "m.room.redaction", r#"{"redacts":"$x"}"#), "{}");
    assert_eq!(kept(&v11, "m.room.redaction", r#"{"redacts":"$x"}"#), r#"{"redacts":"$x"}"#);
}

#[test]
fn fields_are_bound_in_bytes() {
    let version = RoomVersionId::V11;
    let with_key = |key: &str| build(template(&version, "m.x", Some(key), "{}"), rules_of(&version), &our_key());
    assert!(with_key(&"a".repeat(255)).is_ok());
    assert!(with_key(&format!("{}é", "a".repeat(253))).is_ok(), "255 bytes, 254 characters");
    let too_long = Err(BuildError::Format(FormatError::TooLarge("a field of more than 255 bytes")));
    assert_eq!(with_key(&format!("{}é", "a".repeat(254))), too_long, "256 bytes, 255 characters");
}

#[test]
fn events_of_others_are_bound_in_characters_before_version_11() {
    let received = |version: &RoomVersionId, key: &str| {
        let pdu = build(template(version, "m.x", Some("KEY"), "{}"), rules_of(version), &our_key()).unwrap();
        let json = String::from_utf8(pdu.json().to_vec()).unwrap().replace("KEY", key);
        Pdu::parse(json.as_bytes(), rules_of(version)).map(|pdu| pdu.state_key().map(str::to_owned))
    };
    let (fits, too_long) = ("é".repeat(255), "é".repeat(256));
    for version in [RoomVersionId::V1, RoomVersionId::V10] {
        assert_eq!(received(&version, &fits).unwrap().unwrap(), fits);
        assert!(matches!(received(&version, &too_long), Err(FormatError::TooLarge(_))));
        let own = build(template(&version, "m.x", Some(&fits), "{}"), rules_of(&version), &our_key());
        assert!(matches!(own, Err(BuildError::Format(FormatError::TooLarge(_)))), "510 bytes");
    }
    for version in [RoomVersionId::V11, RoomVersionId::V12] {
        assert!(matches!(received(&version, &fits), Err(FormatError::TooLarge(_))));
    }
}

#[test]
fn an_event_is_at_most_65_536_bytes() {
    let version = RoomVersionId::V11;
    let with_body = |length: usize| {
        let content = format!(r#"{{"body":"{}"}}"#, "a".repeat(length));
        build(template(&version, "m.x", None, &content), rules_of(&version), &our_key())
    };
    let frame = with_body(0).unwrap().json().len();
    assert_eq!(with_body(LARGEST - frame).unwrap().json().len(), LARGEST);
    for more in [1, 1_000, 1_000_000] {
        let error = with_body(LARGEST - frame + more);
        assert!(matches!(error, Err(BuildError::Format(FormatError::TooLarge(_)))), "{more} bytes too many");
    }
}

#[test]
fn what_is_no_event_is_refused() {
    let version = RoomVersionId::V11;
    let good = made(&version, "m.x", Some(""), "{}").to_object().unwrap();
    let cite = |count: usize| format!("[{}]", vec!["\"$a\""; count].join(","));
    for (field, value) in [
        ("depth", "-1"),
        ("depth", "\"1\""),
        ("depth", "null"),
        ("origin_server_ts", "\"1\""),
        ("content", "[]"),
        ("content", "null"),
        ("type", "1"),
        ("sender", "\"alice\""),
        ("sender", "[]"),
        ("state_key", "null"),
        ("room_id", "5"),
        ("prev_events", &cite(21)),
        ("auth_events", &cite(11)),
        ("prev_events", "{}"),
        ("prev_events", r#"[["$a",{}]]"#),
        ("auth_events", r#"[["$a"]]"#),
        ("auth_events", &format!("[\"${}\"]", "a".repeat(255))),
        ("prev_events", "[1]"),
        ("hashes", "1"),
        ("signatures", "[]"),
        ("room_id", "\"room\""),
    ] {
        let mut bad = good.clone();
        bad.insert(field.to_owned(), serde_json::from_str(value).unwrap());
        assert!(Pdu::from_object(bad, rules_of(&version)).is_err(), "{field}: {value:.30}");
        let mut absent = good.clone();
        absent.remove(field);
        let optional = field == "state_key";
        assert_eq!(Pdu::from_object(absent, rules_of(&version)).is_ok(), optional, "no {field}");
    }
    let mut odd_time = good;
    odd_time.insert("origin_server_ts".to_owned(), CanonicalJsonValue::Integer((-5).into()));
    assert_eq!(Pdu::from_object(odd_time, rules_of(&version)).unwrap().origin_server_ts(), 0, "odd, but an event");
}

#[test]
fn unsigned_is_dropped_on_receipt() {
    let version = RoomVersionId::V11;
    let mut smuggled = made(&version, "m.x", None, "{}").to_object().unwrap();
    smuggled.insert("unsigned".to_owned(), CanonicalJsonValue::Object(object(r#"{"age":"x","m.relations":{}}"#)));
    let pdu = Pdu::parse(&json::to_bytes(&smuggled), rules_of(&version)).unwrap();
    assert!(!pdu.to_object().unwrap().contains_key("unsigned"));
}

#[test]
fn levels_are_lenient_before_version_10() {
    let read = |version: &RoomVersionId, level: &str| {
        let create = made(version, "m.room.create", Some(""), r#"{"creator":"@alice:example.org"}"#);
        let levels = Pdu::from_object(
            made(version, "m.room.power_levels", Some(""), "{}").to_object().unwrap(),
            rules_of(version),
        );
        // Content that our own builder would refuse (a float) arrives from other servers: put it in by hand.
        let json = String::from_utf8(levels.unwrap().json().to_vec()).unwrap();
        let json = json.replace(r#""content":{}"#, &format!(r#""content":{{"ban":{level}}}"#));
        let id = OwnedEventId::try_from("$x:example.org").unwrap();
        let levels = Pdu::from_stored(id, json.into(), rules_of(version)).unwrap();
        PowerLevels::new(&create, Some(&levels), rules_of(version)).to(Action::Ban)
    };
    for (level, early, late) in [
        ("70", 70, 70),
        ("\"70\"", 70, 50),
        ("\" 70 \"", 70, 50),
        ("\"+5\"", 5, 50),
        ("\"-5\"", -5, 50),
        ("\"0x1\"", 50, 50),
        ("7.9", 7, 50),
        ("[]", 50, 50),
        ("{}", 50, 50),
        ("null", 50, 50),
        ("true", 50, 50),
        ("9223372036854775808", i64::MAX, 50),
    ] {
        assert_eq!(read(&RoomVersionId::V9, level), Level::Finite(early), "{level} in version 9");
        assert_eq!(read(&RoomVersionId::V10, level), Level::Finite(late), "{level} in version 10");
    }
}

#[test]
fn creators_stand_above_all_from_version_12_on() {
    let alice = user_id!("@alice:example.org");
    for version in &SUPPORTED {
        let content = r#"{"creator":"@alice:example.org","additional_creators":["@bob:example.org"]}"#;
        let create = made(version, "m.room.create", Some(""), content);
        let levels = PowerLevels::new(&create, None, rules_of(version));
        let privileged = *version == RoomVersionId::V12;
        assert_eq!(levels.of(alice), if privileged { Level::Infinite } else { Level::Finite(100) });
        assert_eq!(levels.creators().len(), if privileged { 2 } else { 1 });
        assert!(Level::Infinite > Level::Finite(i64::MAX));
    }
}

#[test]
fn rules_are_asked_with_the_state_given() {
    for version in &SUPPORTED {
        let rules = rules_of(version);
        let create = made(version, "m.room.create", Some(""), r#"{"creator":"@alice:example.org"}"#);
        let member = |membership: &str| {
            let content = format!(r#"{{"membership":"{membership}"}}"#);
            made(version, "m.room.member", Some("@alice:example.org"), &content)
        };
        let message = made(version, "m.room.message", None, "{}");
        let allowed_as = |membership: &str| {
            let own = member(membership);
            let state = [create.clone(), own];
            auth::check(&message, rules, |kind, key| state.iter().find(|event| event.is_state(kind, key)).cloned())
        };
        assert!(allowed_as("join").is_ok(), "{version}: {:?}", allowed_as("join"));
        assert!(allowed_as("leave").is_err() && allowed_as("ban").is_err());
        let selected = auth::selection("m.room.message", message.sender(), None, message.content(), rules).unwrap();
        assert_eq!(selected.iter().any(|(kind, _)| kind == "m.room.create"), !room_id_is_create_id(rules));
    }
}

pub(super) fn any_content() -> impl Strategy<Value = CanonicalJsonObject> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(CanonicalJsonValue::Bool),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(|n| CanonicalJsonValue::Integer(ruma::Int::new(n).unwrap())),
        ".{0,20}".prop_map(CanonicalJsonValue::String),
        Just(CanonicalJsonValue::Null),
    ];
    let value = leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(CanonicalJsonValue::Array),
            prop::collection::btree_map("[a-z_.]{1,8}", inner, 0..5).prop_map(CanonicalJsonValue::Object),
        ]
    });
    let keys = "membership|users|ban|allow|join_rule|aliases|redacts|creator|[a-z]{1,5}";
    prop::collection::btree_map(keys, value, 0..8)
}

pub(super) fn any_kind() -> impl Strategy<Value = String> {
    let known = ["m.room.member", "m.room.power_levels", "m.room.create", "m.room.join_rules", "m.room.redaction"];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "[a-z.]{1,20}"]
}

proptest! {
    #[test]
    fn redaction_is_idempotent_and_keeps_the_id(at in 0_usize..12, kind in any_kind(), content in any_content()) {
        let version = &SUPPORTED[at];
        let rules = rules_of(version);
        let template = Template { content, ..template(version, &kind, Some(""), "{}") };
        let pdu = build(template, rules, &our_key()).unwrap();
        let once = redact(pdu.text(), rules).unwrap();
        prop_assert_eq!(&redact(&once, rules).unwrap(), &once);
        let redacted = Pdu::parse(once.as_bytes(), rules).unwrap();
        prop_assert_eq!(redacted.event_id(), pdu.event_id());
    }

    #[test]
    fn what_was_accepted_can_be_said_again(at in 0_usize..12, kind in any_kind(), content in any_content()) {
        let version = &SUPPORTED[at];
        let rules = rules_of(version);
        let pdu = build(Template { content, ..template(version, &kind, None, "{}") }, rules, &our_key()).unwrap();
        let again = Pdu::parse(pdu.json(), rules).unwrap();
        prop_assert!(again.json().len() <= LARGEST);
        prop_assert_eq!(again.json(), pdu.json());
        // Who must sign a membership follows from a content that is one; ours here is arbitrary.
        let is_verified = Verified::check(&again, rules, &keys_of(&our_key())).is_ok();
        prop_assert!(is_verified || kind == "m.room.member");
    }
}
