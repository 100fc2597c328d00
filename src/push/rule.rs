//! Push rules as data: what a rule says, and the rules of a user by kind.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The kinds of rules, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before all others.
    Override,
    /// About the words of a message.
    Content,
    /// About a room.
    Room,
    /// About a sender.
    Sender,
    /// After all others.
    Underride,
}

impl Kind {
    /// All kinds, in the order in which they are tried.
    pub const ALL: [Self; 5] = [Self::Override, Self::Content, Self::Room, Self::Sender, Self::Underride];

    /// Its name in paths and in the rule set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Content => "content",
            Self::Room => "room",
            Self::Sender => "sender",
            Self::Underride => "underride",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A rule. What this server does not know of conditions and actions is kept as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What to do when it matches.
    pub actions: Vec<Json>,
    /// For override and underride rules: what must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Json>>,
    /// Whether it is one of the server's.
    pub default: bool,
    /// Whether it is tried.
    pub enabled: bool,
    /// For content rules: the glob that must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Unique within its kind.
    pub rule_id: String,
}

/// All rules of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    #[serde(default)]
    content: Vec<Rule>,
    #[serde(default, rename = "override")]
    overrides: Vec<Rule>,
    #[serde(default)]
    room: Vec<Rule>,
    #[serde(default)]
    sender: Vec<Rule>,
    #[serde(default)]
    underride: Vec<Rule>,
}

impl Rules {
    /// The rules of a kind, most important first.
    pub fn of(&self, kind: Kind) -> &[Rule] {
        match kind {
            Kind::Override => &self.overrides,
            Kind::Content => &self.content,
            Kind::Room => &self.room,
            Kind::Sender => &self.sender,
            Kind::Underride => &self.underride,
        }
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut Vec<Rule> {
        match kind {
            Kind::Override => &mut self.overrides,
            Kind::Content => &mut self.content,
            Kind::Room => &mut self.room,
            Kind::Sender => &mut self.sender,
            Kind::Underride => &mut self.underride,
        }
    }

    /// One rule.
    pub fn get(&self, kind: Kind, rule_id: &str) -> Option<&Rule> {
        self.of(kind).iter().find(|rule| rule.rule_id == rule_id)
    }
}
