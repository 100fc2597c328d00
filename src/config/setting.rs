//! The description of one option: what the example file, the documentation, the checks and the errors are made from.

use super::value::Value;

/// One option. `T` is what the program needs.
pub(super) struct Setting<T: 'static> {
    /// Its name inside its section.
    pub key: &'static str,
    /// What it does: one or more whole sentences.
    pub about: &'static str,
    /// What may stand there, with the unit, to follow "allowed: ".
    pub allowed: &'static str,
    /// What holds when it is not set.
    pub presence: Presence,
    /// Never shown in errors.
    pub secret: bool,
    /// From what was typed; none if it is not allowed.
    pub read: fn(&Value) -> Option<T>,
}

/// What holds when an option is not set. All texts are TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// This value holds.
    Default(&'static str),
    /// It must be set, for example to this value.
    Required(&'static str),
    /// Something is absent or off; this value is an example.
    Optional(&'static str),
}

/// A section of the configuration.
pub(super) struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a sentence or two.
    pub about: &'static str,
    /// Its options, in the order in which the example file shows them.
    pub settings: &'static [&'static dyn Describe],
}

/// A [`Setting`] of whatever type.
pub(super) trait Describe: Sync {
    /// Its name inside its section.
    fn key(&self) -> &'static str;
    /// What it does.
    fn about(&self) -> &'static str;
    /// What may stand there.
    fn allowed(&self) -> &'static str;
    /// What holds when it is not set.
    fn presence(&self) -> Presence;
    /// Whether its value must not be shown.
    fn is_secret(&self) -> bool;
    /// Whether this value may stand there.
    fn accepts(&self, value: &Value) -> bool;
}

impl<T> Describe for Setting<T> {
    fn key(&self) -> &'static str {
        self.key
    }
    fn about(&self) -> &'static str {
        self.about
    }
    fn allowed(&self) -> &'static str {
        self.allowed
    }
    fn presence(&self) -> Presence {
        self.presence
    }
    fn is_secret(&self) -> bool {
        self.secret
    }
    fn accepts(&self, value: &Value) -> bool {
        (self.read)(value).is_some()
    }
}

/// The environment variable that sets an option.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("MYELIN_{section}_{key}").to_ascii_uppercase()
}
