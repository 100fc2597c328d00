//! Hashes, redaction and signatures against those of `ruma-signatures`, which works on trees where ours works on text;
//! and against a running Synapse where the two differ.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use proptest::prelude::*;
use ruma::{RoomVersionId, canonical_json, signatures};
use serde_json::json;

use super::{
    hash,
    members::members,
    pdu::Pdu,
    power::{Action, Level, PowerLevels},
    redact::redact,
    tests::{any_content, any_kind, keys_of, made, our_key, rules_of, template},
    verify::{Verified, required_servers},
    version::SUPPORTED,
};
use crate::event::{FormatError, Template, build::build};

proptest! {
    #[test]
    fn hashes_signatures_and_redaction_are_those_of_ruma(at in 0_usize..12, kind in any_kind(), content in any_content()) {
        let version = &SUPPORTED[at];
        let rules = rules_of(version);
        // Where the two differ, see below.
        prop_assume!(!content.contains_key("third_party_invite"));
        let pdu = build(Template { content, ..template(version, &kind, Some("")  , "{}") }, rules, &our_key()).unwrap();
        let object = pdu.to_object().unwrap();

        let ours = hash::content_hash(&members(pdu.text()).unwrap());
        let theirs = signatures::content_hash(&object).unwrap();
        prop_assert_eq!(ours.as_ref(), theirs.as_bytes());
        prop_assert_eq!(pdu.reference_hash(rules).unwrap(), signatures::reference_hash(&object, rules).unwrap());
        let theirs = canonical_json::redact(object.clone(), &rules.redaction, None).unwrap();
        prop_assert_eq!(redact(pdu.text(), rules).unwrap(), serde_json::to_string(&theirs).unwrap());
        if kind != "m.room.member" && !object["content"].as_object().unwrap().contains_key("join_authorised_via_users_server") {
            prop_assert!(matches!(signatures::verify_event(&keys_of(&our_key()), &object, rules), Ok(signatures::Verified::All)));
        }
    }
}

/// A key of the content that only matters to memberships asks for no signature elsewhere.
#[test]
fn only_memberships_name_further_servers() {
    let content = r#"{"join_authorised_via_users_server":"@x:elsewhere.org"}"#;
    let servers = |kind: &str, content: &str| {
        let pdu = made(&RoomVersionId::V11, kind, Some("@alice:example.org"), content);
        required_servers(&pdu, rules_of(&RoomVersionId::V11)).map(|servers| {
            let names: Vec<_> = servers.iter().map(|server| server.as_str().to_owned()).collect();
            names.join(" ")
        })
    };
    assert_eq!(servers("m.x", content).unwrap(), "example.org");
    assert_eq!(servers("m.room.member", content).unwrap(), "elsewhere.org example.org");
    assert!(servers("m.room.member", r#"{"join_authorised_via_users_server":"x"}"#).is_err());
    let invite = r#"{"membership":"invite","third_party_invite":{"signed":{}}}"#;
    assert_eq!(servers("m.room.member", invite).unwrap(), "");
    let odd = r#"{"membership":"invite","third_party_invite":"x"}"#;
    assert_eq!(servers("m.room.member", odd).unwrap(), "example.org");
}

#[test]
fn signatures_are_looked_at_as_the_specification_says() {
    let (version, rules, key) = (&RoomVersionId::V11, rules_of(&RoomVersionId::V11), our_key());
    let pdu = made(version, "m.room.message", None, r#"{"body":"x"}"#);
    let with = |signatures: serde_json::Value| {
        let mut object = pdu.to_object().unwrap();
        object.insert("signatures".to_owned(), serde_json::from_value(signatures).unwrap());
        Verified::check(&Pdu::from_object(object, rules).unwrap(), rules, &keys_of(&key))
    };
    let right =
        pdu.to_object().unwrap()["signatures"].as_object().unwrap()["example.org"].as_object().unwrap()["ed25519:a_1"]
            .as_str()
            .unwrap()
            .to_owned();
    assert!(with(json!({"example.org": {"ed25519:a_1": right}})).is_ok());
    assert!(with(json!({"example.org": {"ed25519:a_1": format!("{right}==")}})).is_ok(), "padded");
    assert!(
        with(json!({"example.org": {"ed25519:a_1": right, "ed25519:unknown": "x"}})).is_ok(),
        "unknown keys are skipped"
    );
    assert!(with(json!({"example.org": {"ed25519:a_1": right}, "other.org": 5})).is_ok(), "as are other servers");
    for wrong in [
        json!({}),
        json!({"example.org": {}}),
        json!({"example.org": 5}),
        json!({"example.org": {"ed25519:unknown": right}}),
        json!({"other.org": {"ed25519:a_1": right}}),
        json!({"example.org": {"ed25519:a_1": 5}}),
        json!({"example.org": {"ed25519:a_1": ""}}),
        json!({"example.org": {"ed25519:a_1": "A".repeat(86)}}),
    ] {
        assert!(with(wrong.clone()).is_err(), "{wrong}");
    }
    let mut unhashed = pdu.to_object().unwrap();
    unhashed.insert("hashes".to_owned(), serde_json::from_str("{}").unwrap());
    let unhashed = Pdu::from_object(unhashed, rules).unwrap();
    assert!(Verified::check(&unhashed, rules, &keys_of(&key)).is_err(), "without a content hash");
}

/// Ids that Synapse 1.1xx gives to memberships with an odd `third_party_invite`. Of one that is no object ruma keeps all.
#[test]
fn an_odd_third_party_invite_is_redacted_as_elsewhere() {
    for (third_party_invite, before_11, from_11) in [
        (json!("x"), "$AGKYox9G4sOtlRbFbZqywnxMyRfxuIP9QCt4q0nwjD0", "$c-r8Inke6kk893vVMHkaYL8qkxN3hQDBWcNKGWPVUgc"),
        (
            json!({"a": 1}),
            "$AGKYox9G4sOtlRbFbZqywnxMyRfxuIP9QCt4q0nwjD0",
            "$FIVMYu7gD37L9LGqL1kZa1Tb6wiIutdwl_g3f2fxbrU",
        ),
        (
            json!({"signed": 5, "a": 1}),
            "$AGKYox9G4sOtlRbFbZqywnxMyRfxuIP9QCt4q0nwjD0",
            "$zuR_pFeLPKAlrotSkscDiygElo4rNzHSPoZ3OQkXFxg",
        ),
    ] {
        let event = json!({
            "type": "m.room.member", "state_key": "@a:b", "sender": "@a:b", "depth": 1, "prev_events": [], "auth_events": [],
            "content": {"membership": "join", "third_party_invite": third_party_invite}, "origin_server_ts": 1,
            "hashes": {"sha256": "x"}, "signatures": {}, "room_id": "!a:b", "origin": "b", "membership": "join",
            "prev_state": [], "unknown": 1,
        });
        for (version, id) in [(6, before_11), (10, before_11), (11, from_11), (12, from_11)] {
            let rules = rules_of(&SUPPORTED[version - 1]);
            let pdu = Pdu::parse(event.to_string().as_bytes(), rules).unwrap();
            assert_eq!(pdu.event_id(), id, "version {version}: {third_party_invite}");
        }
    }
}

/// Hashes and ids that Synapse 1.163 gives to events with numbers that canonical JSON cannot say.
#[test]
fn early_versions_hash_any_numbers_as_elsewhere() {
    let levels = r#"{"ban":5.114698E4,"kick":1e16,"users":{"@a:b.org":1E2,"@b:b.org":50.57,"@c:b.org":-0,"@d:b.org":9007199254740993},"users_default":-0.0,"other":1e-5}"#;
    let other = r#"{"b":[1.0,{"z":1e10,"a":-1E-7}],"a":123456789012345678901234567890,"a":12345678901234567890.0}"#;
    for (version, kind, content, id, content_hash) in [
        (1, "m.room.power_levels", levels, "$x:b.org", "c70H4t2OOWQVzz0cxsR9c6RFIsLjhSfbVvbOrW2h+m8"),
        (
            3,
            "m.room.power_levels",
            levels,
            "$o5W9cp5ms4sw9H197QkaiXk7busSF1DitnbMT0x6z/g",
            "/jWyf6wD/Y8lJJAu0stbpP239wDhWU2ZXx2xzCEfs28",
        ),
        (
            5,
            "m.room.power_levels",
            levels,
            "$o5W9cp5ms4sw9H197QkaiXk7busSF1DitnbMT0x6z_g",
            "/jWyf6wD/Y8lJJAu0stbpP239wDhWU2ZXx2xzCEfs28",
        ),
        (1, "m.x", other, "$x:b.org", "0EYAgtahgqTVR/FhXEBnmiRurSA6lJpk9+EAC49e2bE"),
        (
            3,
            "m.x",
            other,
            "$Z5p3NyDGv/6/1+WsqbpGtvzXKQyvE+tydbX2qiIfjDs",
            "PS0WiIuSw8fMh0mk8bdStzt5lugBU3kHkSvHkI5H09w",
        ),
        (
            5,
            "m.x",
            other,
            "$Z5p3NyDGv_6_1-WsqbpGtvzXKQyvE-tydbX2qiIfjDs",
            "PS0WiIuSw8fMh0mk8bdStzt5lugBU3kHkSvHkI5H09w",
        ),
    ] {
        let (prev, own_id) = match version {
            1 => (r#"["$p:b.org",{"sha256":"x"}]"#, r#""event_id":"$x:b.org","#),
            _ => (r#""$p""#, ""),
        };
        let event = format!(
            r#"{{"type":"{kind}","state_key":"","sender":"@a:b.org","room_id":"!r:b.org","depth":3,{own_id}
            "origin_server_ts":1000,"prev_events":[{prev}],"auth_events":[],"hashes":{{"sha256":"x"}},"signatures":{{}},
            "unsigned":{{"age":1.5}},"content":{content}}}"#
        );
        let rules = rules_of(&SUPPORTED[version - 1]);
        let pdu = Pdu::parse(event.as_bytes(), rules).unwrap();
        assert_eq!(pdu.event_id(), id, "version {version}");
        let found = hash::content_hash(&members(pdu.text()).unwrap());
        assert_eq!(STANDARD_NO_PAD.encode(found), content_hash, "version {version}: {}", pdu.text());
        assert!(!pdu.text().contains("unsigned"));

        let again = Pdu::parse(pdu.json(), rules).unwrap();
        assert_eq!(again, pdu, "what was written once is read alike");
        let redacted = redact(pdu.text(), rules).unwrap();
        assert_eq!(Pdu::parse(redacted.as_bytes(), rules).unwrap().event_id(), id, "version {version}: redacted");

        let strict = event.replace(r#"["$p:b.org",{"sha256":"x"}]"#, r#""$p""#);
        assert!(matches!(Pdu::parse(strict.as_bytes(), rules_of(&RoomVersionId::V6)), Err(FormatError::Json(_))));
    }
}

/// Room version 1, "`m.room.power_levels` events accept values as floats".
#[test]
fn floats_are_power_levels_cut_off() {
    let content = r#"{"ban":5.114698E4,"kick":49.99,"users":{"@a:b.org":1E2,"@b:b.org":50.57,"@c:b.org":-0.9}}"#;
    let event = format!(
        r#"{{"type":"m.room.power_levels","state_key":"","sender":"@a:b.org","room_id":"!r:b.org","depth":3,
        "origin_server_ts":1000,"prev_events":[],"auth_events":[],"hashes":{{}},"signatures":{{}},"content":{content}}}"#
    );
    let rules = rules_of(&RoomVersionId::V5);
    let create = made(&RoomVersionId::V5, "m.room.create", Some(""), r#"{"creator":"@a:b.org"}"#);
    let pdu = Pdu::parse(event.as_bytes(), rules).unwrap();
    let levels = PowerLevels::new(&create, Some(&pdu), rules);
    let of = |user: &str| levels.of(user.try_into().unwrap());
    assert_eq!([of("@a:b.org"), of("@b:b.org"), of("@c:b.org")], [100, 50, 0].map(Level::Finite));
    assert_eq!([levels.to(Action::Ban), levels.to(Action::Kick)], [51_146, 49].map(Level::Finite));
    let beyond = event.replace("49.99", "1e309");
    assert!(Pdu::parse(beyond.as_bytes(), rules).is_err(), "no double");
}
