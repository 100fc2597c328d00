//! Namespaces: which users, aliases and rooms an application service cares for.

use regex::{Regex, RegexBuilder};

/// Namespaces of one kind that a registration may have.
const MOST: usize = 100;
/// What a compiled expression may take in memory, in bytes.
const LARGEST: usize = 1 << 20;

/// What an application service cares for.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// User ids.
    pub users: Vec<Namespace>,
    /// Room aliases.
    pub aliases: Vec<Namespace>,
    /// Room ids.
    pub rooms: Vec<Namespace>,
}

/// A set of ids.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Nobody else makes such an id.
    pub exclusive: bool,
    ids: Regex,
}

impl Namespace {
    /// By a regular expression, which is matched in time that is linear in the length of what it is matched against.
    ///
    /// # Errors
    /// Why there is no such expression.
    pub fn new(exclusive: bool, expression: &str) -> Result<Self, String> {
        let ids = RegexBuilder::new(expression).size_limit(LARGEST).build().map_err(|error| error.to_string())?;
        Ok(Self { exclusive, ids })
    }

    /// Whether an id is in it. The expression describes how the id begins, as it does for other servers: `@irc_.*` and `@irc_`
    /// are the same, and `.*@irc_` is another.
    pub fn has(&self, id: &str) -> bool {
        self.ids.find(id).is_some_and(|found| found.start() == 0)
    }
}

/// Whether an id is in one of these, and whether in one that is exclusive.
pub(super) fn any(namespaces: &[Namespace], id: &str, exclusively: bool) -> bool {
    namespaces.iter().any(|namespace| (namespace.exclusive || !exclusively) && namespace.has(id))
}

/// Refuses more than anybody needs.
pub(super) fn check_count(namespaces: &[Namespace]) -> Result<(), String> {
    if namespaces.len() > MOST { Err(format!("has more than {MOST} namespaces of one kind")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(expression: &str, id: &str) -> bool {
        Namespace::new(true, expression).unwrap().has(id)
    }

    #[test]
    fn an_expression_says_how_an_id_begins() {
        assert!(has("@irc_.*", "@irc_bob:a.b") && has("@irc_", "@irc_bob:a.b"));
        assert!(has(r"^@irc_.*:a\.b$", "@irc_bob:a.b") && !has(r"^@irc_.*:a\.b$", "@irc_bob:a.bc"));
        assert!(!has("irc_.*", "@irc_bob:a.b"), "it begins with an @");
        assert!(has("@a|@b", "@b:c") && !has("a|@b", "@a:c"), "no alternative counts that begins later");
    }

    #[test]
    fn what_would_cost_much_is_refused_or_costs_little() {
        assert!(Namespace::new(true, "(").is_err());
        assert!(Namespace::new(true, r"@(?=irc)").is_err(), "that needs backtracking");
        assert!(Namespace::new(true, r"((\w{100}){100}){100}").is_err(), "too large");
        // By backtracking these would not come to an end.
        assert!(has("(a*)*", &"a".repeat(10_000)));
        assert!(!has("@(a*)*b", &format!("@{}", "a".repeat(10_000))));
    }
}
