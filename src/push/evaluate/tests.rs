//! Events against rules.

use ruma::{room_id, user_id};
use serde_json::json;

use super::*;

const NOTHING: Verdict = Verdict { notify: false, highlight: false };
const NOTIFY: Verdict = Verdict { notify: true, highlight: false };
const HIGHLIGHT: Verdict = Verdict { notify: true, highlight: true };

fn context(members: u64) -> RoomContext<'static> {
    RoomContext {
        room_id: room_id!("!room:localhost"),
        user_id: user_id!("@alice:localhost"),
        display_name: Some("Alice L."),
        members,
        may_notify: &|sender, key| sender == "@admin:localhost" && key == "room",
    }
}

fn judge(rules: &Rules, members: u64, event: &Json) -> Verdict {
    Matcher::new(rules).evaluate(&Event::parse(&event.to_string()).unwrap(), &context(members), &mut Steps::default())
}

fn defaults() -> Rules {
    crate::push::defaults::rules_for(user_id!("@alice:localhost"))
}

fn event(sender: &str, kind: &str, content: &Json) -> Json {
    json!({"sender": sender, "type": kind, "content": content})
}

fn with_override(conditions: Json) -> Rules {
    let mut rules = Rules::default();
    let Json::Array(conditions) = conditions else { unreachable!() };
    let rule = Rule {
        rule_id: "mine".to_owned(),
        conditions: Some(conditions),
        actions: vec![json!("notify")],
        ..Rule::default()
    };
    rules.put(Kind::Override, rule, None, None).unwrap();
    rules
}

#[test]
fn the_default_rules() {
    let text = json!({"msgtype": "m.text", "body": "hello"});
    let (bob, admin) = ("@bob:localhost", "@admin:localhost");
    let member = |key: &str, membership: &str| json!({"sender": bob, "type": "m.room.member", "state_key": key, "content": {"membership": membership}});
    let mentions = |content: Json| json!({"msgtype": "m.text", "body": "x", "m.mentions": content});
    for (what, members, event, verdict) in [
        ("a message", 3, event(bob, "m.room.message", &text), NOTIFY),
        ("one's own message", 3, event("@alice:localhost", "m.room.message", &text), NOTHING),
        ("a message between two", 2, event(bob, "m.room.message", &text), NOTIFY),
        ("an encrypted event", 3, event(bob, "m.room.encrypted", &json!({})), NOTIFY),
        ("a notice", 3, event(bob, "m.room.message", &json!({"msgtype": "m.notice", "body": "x"})), NOTHING),
        ("an invite for me", 3, member("@alice:localhost", "invite"), NOTIFY),
        ("an invite for another", 3, member("@carol:localhost", "invite"), NOTHING),
        ("a join", 3, member(bob, "join"), NOTHING),
        ("a mention", 3, event(bob, "m.room.message", &mentions(json!({"user_ids": ["@alice:localhost"]}))), HIGHLIGHT),
        ("another's mention", 3, event(bob, "m.room.message", &mentions(json!({"user_ids": [bob]}))), NOTIFY),
        ("@room by an admin", 3, event(admin, "m.room.message", &mentions(json!({"room": true}))), HIGHLIGHT),
        ("@room by another", 3, event(bob, "m.room.message", &mentions(json!({"room": true}))), NOTIFY),
        (
            "a tombstone",
            3,
            json!({"sender": bob, "type": "m.room.tombstone", "state_key": "", "content": {}}),
            HIGHLIGHT,
        ),
        ("no state", 3, event(bob, "m.room.tombstone", &json!({})), NOTHING),
        ("a reaction", 3, event(bob, "m.reaction", &json!({})), NOTHING),
        (
            "an edit",
            3,
            event(bob, "m.room.message", &json!({"body": "x", "m.relates_to": {"rel_type": "m.replace"}})),
            NOTHING,
        ),
        ("a call", 2, event(bob, "m.call.invite", &json!({})), NOTIFY),
        ("a poll", 3, event(bob, "org.matrix.msc3381.poll.start", &json!({})), NOTIFY),
        ("a vote", 3, event(bob, "org.matrix.msc3381.poll.response", &json!({})), NOTHING),
        ("a topic", 3, json!({"sender": bob, "type": "m.room.topic", "state_key": "", "content": {}}), NOTHING),
    ] {
        assert_eq!(judge(&defaults(), members, &event), verdict, "{what}");
    }
}

#[test]
fn the_first_match_decides_and_master_silences_all() {
    let mut rules = defaults();
    let message = event("@bob:localhost", "m.room.message", &json!({"body": "cake"}));
    let quiet = Rule { rule_id: "!room:localhost".to_owned(), ..Rule::default() };
    rules.put(Kind::Room, quiet, None, None).unwrap();
    assert_eq!(judge(&rules, 3, &message), NOTHING, "a room rule comes before the underride rules");
    let loud = Rule {
        rule_id: "cake".to_owned(),
        pattern: Some("cake".to_owned()),
        actions: vec![json!("notify"), json!({"set_tweak": "highlight"})],
        ..Rule::default()
    };
    rules.put(Kind::Content, loud, None, None).unwrap();
    assert_eq!(judge(&rules, 3, &message), HIGHLIGHT, "a content rule comes before a room rule");
    rules.set_enabled(Kind::Override, ".m.rule.master", true).unwrap();
    assert_eq!(judge(&rules, 3, &message), NOTHING);
}

#[test]
fn conditions_are_exact_about_types() {
    let rule = |condition: Json| with_override(json!([condition]));
    let with = |content: Json| event("@bob:localhost", "x", &content);
    for (condition, content, holds) in [
        (json!({"kind": "event_property_is", "key": "content.a", "value": 1}), json!({"a": 1}), true),
        (json!({"kind": "event_property_is", "key": "content.a", "value": 1}), json!({"a": "1"}), false),
        (json!({"kind": "event_property_is", "key": "content.a", "value": 1}), json!({"a": 1.0}), false),
        (json!({"kind": "event_property_is", "key": "content.a", "value": null}), json!({"a": null}), true),
        (json!({"kind": "event_property_is", "key": "content.a", "value": null}), json!({}), false),
        (json!({"kind": "event_property_is", "key": "content.a", "value": {}}), json!({"a": {}}), false),
        (json!({"kind": "event_property_is", "key": r"content.a\.b", "value": true}), json!({"a.b": true}), true),
        (json!({"kind": "event_property_is", "key": "content.a.b", "value": true}), json!({"a.b": true}), false),
        (json!({"kind": "event_property_is", "key": r"content.a\\b", "value": true}), json!({r"a\b": true}), true),
        (json!({"kind": "event_property_contains", "key": "content.a", "value": 1}), json!({"a": [0, 1]}), true),
        (json!({"kind": "event_property_contains", "key": "content.a", "value": "1"}), json!({"a": [0, 1]}), false),
        (json!({"kind": "event_property_contains", "key": "content.a", "value": 1}), json!({"a": 1}), false),
        (json!({"kind": "event_match", "key": "content.a", "pattern": "*"}), json!({"a": 1}), false),
        (json!({"kind": "event_match", "key": "content.a", "pattern": "*"}), json!({"a": ""}), true),
        (json!({"kind": "event_match", "key": "room_id", "pattern": "!room:*"}), json!({}), true),
        (json!({"kind": "contains_display_name"}), json!({"body": "ask alice l. about it"}), true),
        (json!({"kind": "contains_display_name"}), json!({"body": "alice"}), false),
        (json!({"kind": "org.example.unknown"}), json!({}), false),
        (json!({"kind": "event_match", "key": "content.a"}), json!({"a": "x"}), false),
    ] {
        let verdict = judge(&rule(condition.clone()), 3, &with(content.clone()));
        assert_eq!(verdict.notify, holds, "{condition} on {content}");
    }
}

#[test]
fn member_counts() {
    for (is, members, holds) in [
        ("2", 2, true),
        ("==2", 2, true),
        ("<3", 2, true),
        ("<2", 2, false),
        (">1", 2, true),
        (">=2", 2, true),
        ("<=1", 2, false),
        ("two", 2, false),
        ("", 0, false),
        ("-1", 1, false),
        ("+2", 2, false),
        ("99999999999999999999999", 2, false),
    ] {
        let rules = with_override(json!([{"kind": "room_member_count", "is": is}]));
        assert_eq!(judge(&rules, members, &event("@bob:localhost", "x", &json!({}))).notify, holds, "{is}");
    }
}

#[test]
fn many_costly_rules_are_given_up_and_many_such_events_cost_no_more_than_a_few() {
    let mut rules = with_override(json!([{"kind": "event_match", "key": "type", "pattern": "m.cheap"}]));
    for number in 0..200 {
        let rule = Rule {
            rule_id: number.to_string(),
            enabled: true,
            pattern: Some("*a".repeat(400)),
            actions: vec![json!("notify")],
            ..Rule::default()
        };
        rules.of_mut(Kind::Content).push(rule);
    }
    let (matcher, mut steps) = (Matcher::new(&rules), Steps(10 * LEAST));
    let mut judge = |kind: &str, body: &str| {
        let event = event("@bob:localhost", kind, &json!({ "body": body }));
        let before = steps.0;
        matcher.evaluate(&Event::parse(&event.to_string()).unwrap(), &context(2), &mut steps);
        before - steps.0
    };
    let long = "ab ".repeat(20_000);
    assert!(judge("m.cheap", &long) < 1_000, "the rules behind the one that holds are not looked at");
    let spent: Vec<u64> = (0..10).map(|_| judge("m.room.message", &long)).collect();
    assert_eq!(spent[0], 10 * LEAST);
    assert_eq!((spent[9], steps.0), (0, 0), "nothing is left to spend");
    let cheap = event("@bob:localhost", "m.cheap", &json!({ "body": long }));
    let verdict = matcher.evaluate(&Event::parse(&cheap.to_string()).unwrap(), &context(2), &mut steps);
    assert!(verdict.notify, "what costs little is judged all the same");
}
