//! Whom a user does not listen to (client-server API, "Ignoring Users").

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::de::IgnoredAny;

use super::content::field;
use crate::graph::Event;

/// The type of the account data that says whom a user ignores.
pub const IGNORED_USER_LIST: &str = "m.ignored_user_list";

/// The users whom a user ignores. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ignored(Option<Arc<BTreeSet<String>>>);

impl Ignored {
    /// Reads the content of `m.ignored_user_list`; what is no such content ignores nobody.
    pub fn of_content(content: &[u8]) -> Self {
        let list = field::<BTreeMap<String, IgnoredAny>>(content, "ignored_users").unwrap_or_default();
        Self((!list.is_empty()).then(|| Arc::new(list.into_keys().collect())))
    }

    /// Whether nobody is ignored.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The ids of those who are, in their order.
    pub fn user_ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|ignored| ignored.iter().map(String::as_str))
    }

    /// Whether this user is ignored.
    pub fn contains(&self, user_id: &str) -> bool {
        self.0.as_ref().is_some_and(|ignored| ignored.contains(user_id))
    }

    /// Whether the event is sent all the same: state always is, whoever set it.
    pub fn hears(&self, event: &Event) -> bool {
        event.state_key.is_some() || !self.contains(event.sender.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_what_is_none_ignores_nobody() {
        let list = Ignored::of_content(br#"{"ignored_users":{"@a:b":{},"@c:d":5}}"#);
        assert!(list.contains("@a:b") && list.contains("@c:d"), "the values say nothing");
        assert!(!list.contains("@e:f"));
        for odd in [r#"{}"#, r#"{"ignored_users":[]}"#, r#"{"ignored_users":{}}"#, "5"] {
            assert!(Ignored::of_content(odd.as_bytes()).is_empty(), "{odd}");
        }
    }
}
