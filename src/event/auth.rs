//! The authorisation rules (room versions, "Authorization rules"): whether a state allows an event.

use ruma::{
    EventId, UserId,
    events::{StateEventType, TimelineEventType},
    state_res,
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{pdu::Pdu, version::Rules};

/// The rule that an event breaks, in words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not allowed: {0}")]
pub struct AuthError(pub String);

/// The state that an event must cite as authorising it (server-server API, "Auth events selection"), as far as the room
/// has it: types and state keys.
pub fn selection(
    kind: &str,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
    rules: &Rules,
) -> Result<Vec<(String, String)>, AuthError> {
    let kind = TimelineEventType::from(kind);
    let selected = state_res::auth_types_for_event(&kind, sender, state_key, content, &rules.authorization);
    let named = |(kind, state_key): (StateEventType, String)| (kind.to_string(), state_key);
    Ok(selected.map_err(AuthError)?.into_iter().map(named).collect())
}

/// The rules that need no state: those about the create event and about what an event cites. `fetch` finds cited events,
/// those that were rejected marked so.
pub fn check_citations(pdu: &Pdu, rules: &Rules, fetch: impl Fn(&EventId) -> Option<Pdu>) -> Result<(), AuthError> {
    state_res::check_state_independent_auth_rules(&rules.authorization, pdu, fetch).map_err(AuthError)
}

/// The rules that need a state: `state` finds its events by type and state key.
pub fn check(pdu: &Pdu, rules: &Rules, state: impl Fn(&str, &str) -> Option<Pdu>) -> Result<(), AuthError> {
    let fetch = |kind: &StateEventType, state_key: &str| state(&kind.to_string(), state_key);
    state_res::check_state_dependent_auth_rules(&rules.authorization, pdu, fetch).map_err(AuthError)
}
