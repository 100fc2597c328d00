//! The authorisation rules (room versions, "Authorization rules"): whether a state allows an event.
//!
//! `ruma-state-res` has them, too, and is what the tests compare with. It reads the power levels anew for every event it
//! judges, which took 2 ms with 1,000 users in them; here they are read once.

mod citations;
mod levels;
mod member;
#[cfg(test)]
mod tests;

use ruma::UserId;
use thiserror::Error;

pub use self::citations::{check_citations, selection};
use super::{
    pdu::Pdu,
    power::{Action, Level, PowerLevels},
    version::Rules,
};

/// The rule that an event breaks, in words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not allowed: {0}")]
pub struct AuthError(pub String);

fn reject(rule: &str) -> Result<(), AuthError> {
    Err(AuthError(rule.to_owned()))
}

/// Rejects unless the condition holds.
fn demand(holds: bool, rule: &str) -> Result<(), AuthError> {
    if holds { Ok(()) } else { reject(rule) }
}

/// The rules that need a state: `state` finds its events by type and state key.
///
/// That the servers that must sign an event have signed it, is checked before
/// ([`required_servers`](super::verify::required_servers)).
pub fn check(pdu: &Pdu, rules: &Rules, state: impl Fn(&str, &str) -> Option<Pdu>) -> Result<(), AuthError> {
    if pdu.kind() == "m.room.create" {
        return Ok(());
    }
    let create = state("m.room.create", "").ok_or_else(|| AuthError("the room has no create event".to_owned()))?;
    let judge = Judge { pdu, rules, create, state };
    judge.check_federation()?;
    match pdu.kind() {
        "m.room.aliases" if rules.authorization.special_case_room_aliases => judge.check_aliases(),
        "m.room.member" => judge.check_member(),
        _ => judge.check_other(),
    }
}

/// An event before a state.
struct Judge<'a, S> {
    pdu: &'a Pdu,
    rules: &'a Rules,
    create: Pdu,
    state: S,
}

impl<S: Fn(&str, &str) -> Option<Pdu>> Judge<'_, S> {
    fn check_federation(&self) -> Result<(), AuthError> {
        let same_server = self.pdu.sender().server_name() == self.create.sender().server_name();
        let closed = || self.create.content_field::<bool>("m.federate") == Some(false);
        demand(same_server || !closed(), "the room is not for users of other servers")
    }

    fn check_aliases(&self) -> Result<(), AuthError> {
        let own = self.pdu.state_key() == Some(self.pdu.sender().server_name().as_str());
        demand(own, "the state key of aliases must be the sender's server")
    }

    fn check_other(&self) -> Result<(), AuthError> {
        let (pdu, sender) = (self.pdu, self.pdu.sender());
        demand(self.membership(sender) == Membership::Join, "the sender is not in the room")?;
        let levels = self.levels();
        let own = levels.of(sender);
        if pdu.kind() == "m.room.third_party_invite" {
            return demand(own >= levels.to(Action::Invite), "the sender may not invite");
        }
        if own < levels.to_send(pdu.kind(), pdu.state_key().is_some()) {
            return Err(AuthError(format!("the sender's power level does not suffice for `{}`", pdu.kind())));
        }
        if pdu.state_key().is_some_and(|key| key.starts_with('@') && key != sender.as_str()) {
            return reject("the state key is another user's id");
        }
        match pdu.kind() {
            "m.room.power_levels" => levels::check(pdu, self.rules, &levels),
            "m.room.redaction" if self.rules.authorization.special_case_room_redaction => {
                self.check_redaction(own >= levels.to(Action::Redact))
            }
            _ => Ok(()),
        }
    }

    /// Versions 1 and 2; later ones decide when the redaction is applied.
    fn check_redaction(&self, may_redact: bool) -> Result<(), AuthError> {
        let same_server = || {
            let target = self.pdu.redacts().and_then(|target| target.server_name());
            target.is_some() && target == self.pdu.event_id().server_name()
        };
        demand(may_redact || same_server(), "the sender may not redact events of other servers")
    }

    fn find(&self, kind: &str, state_key: &str) -> Option<Pdu> {
        (self.state)(kind, state_key)
    }

    fn levels(&self) -> PowerLevels {
        PowerLevels::new(&self.create, self.find("m.room.power_levels", "").as_ref(), self.rules)
    }

    fn membership(&self, user_id: &UserId) -> Membership {
        self.find("m.room.member", user_id.as_str()).map_or(Membership::Leave, |event| Membership::of(&event))
    }
}

/// A user's standing, as the rules tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Leave,
    Invite,
    Join,
    Knock,
    Ban,
    /// A word that the rules do not know, or none.
    Unknown,
}

impl Membership {
    fn of(event: &Pdu) -> Self {
        match event.content_field::<String>("membership").as_deref() {
            Some("leave") => Self::Leave,
            Some("invite") => Self::Invite,
            Some("join") => Self::Join,
            Some("knock") => Self::Knock,
            Some("ban") => Self::Ban,
            _ => Self::Unknown,
        }
    }
}
