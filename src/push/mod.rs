//! Push rules: which events notify a user (client-server API, "Push Notifications").
//!
//! [`rules`] holds the rules as a user sees and changes them, [`defaults`] those that everybody begins with, [`evaluate`]
//! decides about an event.

pub mod defaults;
pub mod evaluate;
mod glob;
pub mod rules;

pub use self::{
    evaluate::{Event, Matcher, RoomContext, Verdict},
    rules::{Kind, Rule, Rules, RulesError},
};
