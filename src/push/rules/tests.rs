//! Reading and changing rules.

use ruma::user_id;
use serde_json::json;

use super::*;
use crate::push::check::{LONGEST_ID, LONGEST_PATTERN};

fn rule(id: &str) -> Rule {
    Rule { rule_id: id.to_owned(), actions: vec![json!("notify")], ..Rule::default() }
}

fn alice() -> Rules {
    defaults::rules_for(user_id!("@alice:localhost"))
}

fn own(rules: &Rules, kind: Kind) -> Vec<&str> {
    rules.of(kind).iter().filter(|rule| !rule.default).map(|rule| rule.rule_id.as_str()).collect()
}

#[test]
fn new_rules_come_first_but_behind_master() {
    let mut rules = alice();
    for id in ["a", "b"] {
        rules.put(Kind::Override, rule(id), None, None).unwrap();
    }
    let ids: Vec<_> = rules.of(Kind::Override).iter().map(|rule| rule.rule_id.as_str()).take(4).collect();
    assert_eq!(ids, [".m.rule.master", "b", "a", ".m.rule.suppress_notices"]);
}

#[test]
fn rules_are_placed_beside_others() {
    let mut rules = alice();
    for id in ["c", "b", "a"] {
        rules.put(Kind::Underride, rule(id), None, None).unwrap();
    }
    for (id, after, before, order) in [
        ("a", Some("c"), None, "b c a"),
        ("a", None, Some("c"), "b a c"),
        ("b", Some("a"), Some("c"), "a b c"),
        ("d", Some("a"), Some("c"), "a b d c"),
        ("d", None, None, "a b d c"),
        ("c", None, Some("a"), "c a b d"),
        ("d", Some("d2"), None, ""),
        ("d", Some("d"), None, ""),
        ("d", None, Some(".m.rule.message"), ""),
        ("d", Some("b"), Some("a"), ""),
        ("d", Some("a"), Some("a"), ""),
    ] {
        let before_it: Vec<_> = own(&rules, Kind::Underride).into_iter().map(ToOwned::to_owned).collect();
        let result = rules.put(Kind::Underride, rule(id), after, before);
        if order.is_empty() {
            assert!(result.is_err(), "{id} {after:?} {before:?}");
            assert_eq!(own(&rules, Kind::Underride), before_it, "nothing is half done");
        } else {
            assert_eq!(own(&rules, Kind::Underride).join(" "), order, "{id} {after:?} {before:?}");
        }
    }
}

#[test]
fn replacing_keeps_the_switch_and_removes_what_the_kind_has_not() {
    let mut rules = alice();
    let odd = Rule { pattern: Some("x".to_owned()), conditions: Some(vec![]), ..rule("!r:localhost") };
    rules.put(Kind::Room, odd, None, None).unwrap();
    rules.set_enabled(Kind::Room, "!r:localhost", false).unwrap();
    rules.put(Kind::Room, rule("!r:localhost"), None, None).unwrap();
    let stored = rules.get(Kind::Room, "!r:localhost").unwrap();
    assert!(!stored.enabled && stored.pattern.is_none() && stored.conditions.is_none());
}

#[test]
fn default_rules_can_be_switched_and_changed_but_not_replaced() {
    let mut rules = alice();
    assert_eq!(rules.put(Kind::Override, rule(".m.rule.master"), None, None), Err(RulesError::ServerDefault));
    assert_eq!(rules.remove(Kind::Override, ".m.rule.master"), Err(RulesError::ServerDefault));
    assert_eq!(rules.remove(Kind::Override, "nothing"), Err(RulesError::NotFound));
    rules.set_enabled(Kind::Override, ".m.rule.master", true).unwrap();
    rules.set_actions(Kind::Underride, ".m.rule.message", vec![json!("dont_notify")]).unwrap();
    assert_eq!(rules.get(Kind::Underride, ".m.rule.message").unwrap().actions, [json!("dont_notify")]);
    // What the user changed survives a newer list of defaults, and what is no default any more goes.
    let mut stored = rules.clone();
    stored.of_mut(Kind::Underride).push(Rule { default: true, ..rule(".m.rule.gone") });
    let read = Rules::parse(stored.to_content().get(), user_id!("@alice:localhost"));
    assert_eq!(read, rules);
}

#[test]
fn bad_rules_are_refused() {
    let long = "x".repeat(LONGEST_ID + 1);
    for id in ["", ".x", "a/b", r"a\b", &long] {
        assert!(alice().put(Kind::Override, rule(id), None, None).is_err(), "{id}");
    }
    for (kind, bad) in [
        (Kind::Content, rule("no pattern")),
        (Kind::Content, Rule { pattern: Some("x".repeat(LONGEST_PATTERN)), ..rule("long") }),
        (Kind::Override, Rule { conditions: Some(vec![json!(1)]), ..rule("no object") }),
        (Kind::Override, Rule { conditions: Some(vec![json!({})]), ..rule("no kind") }),
        (Kind::Override, Rule { conditions: Some(vec![json!({"kind": "x"}); 51]), ..rule("many") }),
        (Kind::Override, Rule { actions: vec![json!(1)], ..rule("action") }),
        (Kind::Override, Rule { actions: vec![json!({})], ..rule("action") }),
    ] {
        assert!(alice().put(kind, bad.clone(), None, None).is_err(), "{bad:?}");
    }
}

#[test]
fn what_cannot_be_read_gives_the_defaults() {
    for content in ["", "{}", "[]", r#"{"global": 1}"#, r#"{"global": {"override": [{}]}}"#] {
        assert_eq!(Rules::parse(content, user_id!("@alice:localhost")), alice(), "{content}");
    }
}
