//! With which servers this one talks at all.

use ruma::{OwnedServerName, ServerName};

use crate::event::server_acl::matches;

/// With which servers this one talks: an administrator's choice, in both directions.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The name of this server, which is no other one.
    pub own: OwnedServerName,
    /// Whether with any at all.
    pub enabled: bool,
    /// Globs of host names; when there are some, only with these.
    pub allowed: Vec<String>,
    /// Globs of host names: never with these.
    pub denied: Vec<String>,
}

impl Servers {
    /// Whether this server talks with another one. Neither its port nor upper and lower case matter; this server itself is
    /// no other one.
    pub fn allow(&self, server: &ServerName) -> bool {
        let host = server.host().to_lowercase();
        let matched = |globs: &[String]| globs.iter().any(|glob| matches(&glob.to_lowercase(), &host));
        let is_allowed = self.allowed.is_empty() || matched(&self.allowed);
        self.enabled && *server != *self.own && is_allowed && !matched(&self.denied)
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn servers(enabled: bool, allowed: &[&str], denied: &[&str]) -> Servers {
        let globs = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        let own = server_name!("own.example").to_owned();
        Servers { own, enabled, allowed: globs(allowed), denied: globs(denied) }
    }

    #[test]
    fn an_administrator_chooses() {
        let open = servers(true, &[], &["*.Evil.example", "evil.example"]);
        assert!(open.allow(server_name!("a.example")) && open.allow(server_name!("notevil.example")));
        for evil in ["evil.example", "EVIL.example:8448", "a.evil.example:1"] {
            assert!(!open.allow(<&ServerName>::try_from(evil).unwrap()), "{evil}");
        }
        let closed = servers(true, &["*.friends.example"], &["bad.friends.example"]);
        assert!(closed.allow(server_name!("a.friends.example")));
        assert!(!closed.allow(server_name!("bad.friends.example")) && !closed.allow(server_name!("a.example")));
        assert!(!servers(false, &[], &[]).allow(server_name!("a.example")));
        assert!(!open.allow(server_name!("own.example")), "this server is no other one");
    }
}
