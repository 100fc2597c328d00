//! Push rules: which events notify a user (client-server API, "Push Notifications").
//!
//! [`rule`] says what a rule is, [`rules`] reads and changes those of a user, [`defaults`] has those that everybody begins
//! with, [`evaluate`] decides about an event.

mod check;
pub mod defaults;
pub mod evaluate;
mod glob;
pub mod rule;
pub mod rules;

pub use self::{
    check::RulesError,
    evaluate::{Event, Matcher, RoomContext, Steps, Verdict},
    rule::{Kind, Rule, Rules},
};
