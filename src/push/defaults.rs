//! The server-default rules of the specification, and those for polls (MSC3930) that clients expect beside them.

use ruma::UserId;
use serde_json::{Value as Json, json};

use super::rule::{Kind, Rule, Rules};

/// The rule that comes before all others.
pub const MASTER: &str = ".m.rule.master";

fn rule(rule_id: &str, conditions: Vec<Json>, actions: Vec<Json>) -> Rule {
    Rule {
        rule_id: rule_id.to_owned(),
        conditions: Some(conditions),
        actions,
        default: true,
        enabled: rule_id != MASTER,
        pattern: None,
    }
}

fn matches(key: &str, pattern: &str) -> Json {
    json!({"kind": "event_match", "key": key, "pattern": pattern})
}

fn is(key: &str, value: impl Into<Json>) -> Json {
    json!({"kind": "event_property_is", "key": key, "value": value.into()})
}

fn members(count: &str) -> Json {
    json!({"kind": "room_member_count", "is": count})
}

fn sound(value: &str) -> Json {
    json!({"set_tweak": "sound", "value": value})
}

/// The rules that `user_id` begins with.
pub fn rules_for(user_id: &UserId) -> Rules {
    let mut rules = Rules::default();
    *rules.of_mut(Kind::Override) = overrides(user_id);
    *rules.of_mut(Kind::Underride) = underrides();
    rules
}

fn overrides(user_id: &UserId) -> Vec<Rule> {
    let notify = || json!("notify");
    let highlight = || json!({"set_tweak": "highlight"});
    let mention = json!({
        "kind": "event_property_contains",
        "key": r"content.m\.mentions.user_ids",
        "value": user_id,
    });
    let may_notify_room = json!({"kind": "sender_notification_permission", "key": "room"});
    let invite = vec![
        matches("type", "m.room.member"),
        matches("content.membership", "invite"),
        matches("state_key", user_id.as_str()),
    ];
    vec![
        rule(MASTER, vec![], vec![]),
        rule(".m.rule.suppress_notices", vec![matches("content.msgtype", "m.notice")], vec![]),
        rule(".m.rule.invite_for_me", invite, vec![notify(), sound("default")]),
        rule(".m.rule.member_event", vec![matches("type", "m.room.member")], vec![]),
        rule(".m.rule.is_user_mention", vec![mention], vec![notify(), sound("default"), highlight()]),
        rule(
            ".m.rule.is_room_mention",
            vec![is(r"content.m\.mentions.room", true), may_notify_room],
            vec![notify(), highlight()],
        ),
        rule(
            ".m.rule.tombstone",
            vec![matches("type", "m.room.tombstone"), matches("state_key", "")],
            vec![notify(), highlight()],
        ),
        rule(".m.rule.reaction", vec![matches("type", "m.reaction")], vec![]),
        rule(".m.rule.room.server_acl", vec![matches("type", "m.room.server_acl"), matches("state_key", "")], vec![]),
        rule(".m.rule.suppress_edits", vec![is(r"content.m\.relates_to.rel_type", "m.replace")], vec![]),
        rule(".org.matrix.msc3930.rule.poll_response", vec![is("type", "org.matrix.msc3381.poll.response")], vec![]),
    ]
}

fn underrides() -> Vec<Rule> {
    let notify = || json!("notify");
    let loud = || vec![notify(), sound("default")];
    let poll = |suffix: &str| is("type", format!("org.matrix.msc3381.poll.{suffix}"));
    vec![
        rule(".m.rule.call", vec![matches("type", "m.call.invite")], vec![notify(), sound("ring")]),
        rule(".m.rule.encrypted_room_one_to_one", vec![members("2"), matches("type", "m.room.encrypted")], loud()),
        rule(".m.rule.room_one_to_one", vec![members("2"), matches("type", "m.room.message")], loud()),
        rule(".m.rule.message", vec![matches("type", "m.room.message")], vec![notify()]),
        rule(".m.rule.encrypted", vec![matches("type", "m.room.encrypted")], vec![notify()]),
        rule(".org.matrix.msc3930.rule.poll_start_one_to_one", vec![members("2"), poll("start")], loud()),
        rule(".org.matrix.msc3930.rule.poll_start", vec![poll("start")], vec![notify()]),
        rule(".org.matrix.msc3930.rule.poll_end_one_to_one", vec![members("2"), poll("end")], loud()),
        rule(".org.matrix.msc3930.rule.poll_end", vec![poll("end")], vec![notify()]),
    ]
}

#[cfg(test)]
mod tests {
    use ruma::{push::Ruleset, user_id};

    use super::*;

    /// ruma's list, which was compared with the specification's text, and ours are two readings of one page.
    #[test]
    fn they_are_those_of_the_specification() {
        let user_id = user_id!("@alice:localhost");
        let mut theirs = serde_json::to_value(Ruleset::server_default(user_id)).unwrap();
        let theirs = theirs.as_object_mut().unwrap();
        // Thread subscriptions (MSC4306) are not offered.
        theirs.remove("postcontent");
        let ours = serde_json::to_value(rules_for(user_id)).unwrap();
        for kind in Kind::ALL {
            let theirs = theirs.get(kind.name()).cloned().unwrap_or_else(|| json!([]));
            assert_eq!(ours[kind.name()], theirs, "{}", kind.name());
        }
    }
}
