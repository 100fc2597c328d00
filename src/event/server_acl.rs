//! `m.room.server_acl`: which servers may take part in a room (client-server API, "Server Access Control Lists").

use std::net::{Ipv4Addr, Ipv6Addr};

use ruma::ServerName;
use serde_json::Value;

use super::pdu::Pdu;

/// The servers that a room lets in. What is odd counts as absent, so that an odd list lets nobody in, as an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAcl {
    allow_ip_literals: bool,
    /// In lower case.
    allow: Vec<String>,
    deny: Vec<String>,
}

impl ServerAcl {
    /// Reads the state event.
    pub fn of(event: &Pdu) -> Self {
        let globs = |field: &str| -> Vec<String> {
            let listed: Vec<Value> = event.content_field(field).unwrap_or_default();
            listed.iter().filter_map(|glob| Some(glob.as_str()?.to_lowercase())).collect()
        };
        Self {
            allow_ip_literals: event.content_field("allow_ip_literals").unwrap_or(true),
            allow: globs("allow"),
            deny: globs("deny"),
        }
    }

    /// A room without a list.
    pub fn everybody() -> Self {
        Self { allow_ip_literals: true, allow: vec!["*".to_owned()], deny: Vec::new() }
    }

    /// A list that lets nobody in.
    pub fn nobody() -> Self {
        Self { allow_ip_literals: false, allow: Vec::new(), deny: Vec::new() }
    }

    /// Whether a server may take part. Neither its port nor upper and lower case matter.
    pub fn allows(&self, server: &ServerName) -> bool {
        let host = server.host().to_lowercase();
        let matches = |globs: &[String]| globs.iter().any(|glob| matches(glob, &host));
        (self.allow_ip_literals || !is_ip_literal(&host)) && !matches(&self.deny) && matches(&self.allow)
    }
}

fn is_ip_literal(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// Appendices, "Glob-style matching": `*` stands for any characters, `?` for one. At worst the product of both lengths,
/// which are at most 65,536 (an event) and 255 (a name).
pub fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0_usize, 0_usize);
    // Where the last star stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(char) = text.get(seen) {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == char => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                seen = taken + 1;
            }
        }
    }
    glob.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::tests::made;

    fn allows(content: &Value, server: &str) -> bool {
        let event = made(&ruma::RoomVersionId::V11, "m.room.server_acl", Some(""), &content.to_string());
        ServerAcl::of(&event).allows(<&ServerName>::try_from(server).unwrap())
    }

    #[test]
    fn the_steps_of_the_specification() {
        let acl = json!({"allow": ["*"], "deny": ["*.evil.com", "evil.com"], "allow_ip_literals": false});
        for (server, right) in [
            ("good.com", true),
            ("evil.com", false),
            ("EVIL.com", false),
            ("evil.com:8448", false),
            ("a.Evil.com:1", false),
            ("notevil.com", true),
            ("1.2.3.4", false),
            ("1.2.3.4:8448", false),
            ("[::1]", false),
            ("[::1]:8448", false),
            ("1.2.3.4.com", true),
        ] {
            assert_eq!(allows(&acl, server), right, "{server}");
        }
        assert!(allows(&json!({"allow": ["*"]}), "1.2.3.4"), "literals are allowed unless it says no");
        assert!(allows(&json!({"allow": ["A?c.D"]}), "abc.d") && !allows(&json!({"allow": ["a?c.d"]}), "ac.d"));
        assert!(!allows(&json!({"allow": ["good.com"]}), "other.com"), "what is not allowed is denied");
    }

    #[test]
    fn odd_types_count_as_absent() {
        for odd in [json!(1), json!("*"), json!({}), json!(null), json!(true), json!([1, {}, null])] {
            assert!(!allows(&json!({"allow": odd}), "a.b"), "allow {odd}");
            assert!(allows(&json!({"allow": ["*"], "deny": odd}), "a.b"), "deny {odd}");
            let literal = json!({"allow": [1, "*"], "allow_ip_literals": odd});
            assert!(allows(&literal, "1.2.3.4"), "allow_ip_literals {odd}");
        }
        assert!(!allows(&json!({}), "a.b"));
    }

    #[test]
    fn many_stars_take_no_more_than_the_product() {
        let glob = "*a".repeat(2_000);
        assert!(!matches(&glob, &"a".repeat(255)));
        assert!(matches("**a**b*", "xxaxxb") && matches("*", "") && !matches("?", "") && matches("", ""));
    }
}
