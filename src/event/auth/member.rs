//! The rules about memberships.

use std::collections::BTreeMap;

use base64::Engine as _;
use ruma::UserId;
use serde_json::Value;

use super::{Action, AuthError, Judge, Membership, demand, reject};
use crate::event::{
    hash::LENIENT_BASE64,
    member::{MemberContent, ThirdPartyInvite},
    members::without_signatures,
    pdu::Pdu,
    power::creator,
    sign::is_signed,
};

impl<S: Fn(&str, &str) -> Option<Pdu>> Judge<'_, S> {
    /// Rule 5 of versions 1–5 and 12, 4 of those between.
    pub(super) fn check_member(&self) -> Result<(), AuthError> {
        let target = self.pdu.state_key().and_then(|key| <&UserId>::try_from(key).ok());
        let Some(target) = target else { return reject("the state key of a membership must be a user id") };
        let content = MemberContent::read(self.pdu.content());
        match content.membership().as_deref() {
            Some("join") => self.check_join(target, &content),
            Some("invite") => self.check_invite(target, &content),
            Some("leave") => self.check_leave(target),
            Some("ban") => self.check_ban(target),
            Some("knock") if self.rules.authorization.knocking => self.check_knock(target),
            _ => reject("unknown membership"),
        }
    }

    fn check_join(&self, target: &UserId, content: &MemberContent<'_>) -> Result<(), AuthError> {
        if let [only] = self.pdu.prev_events()
            && *only == *self.create.event_id()
            && creator(&self.create, self.rules).as_deref() == Some(target)
        {
            return Ok(());
        }
        demand(self.pdu.sender() == target, "nobody can join for another user")?;
        let membership = self.membership(target);
        demand(membership != Membership::Ban, "the user is banned")?;
        let is_expected = matches!(membership, Membership::Invite | Membership::Join);
        let rules = &self.rules.authorization;
        match self.join_rule().as_deref() {
            Some("public") => Ok(()),
            Some("invite") => demand(is_expected, "the room is for invited users"),
            Some("knock") if rules.knocking => demand(is_expected, "the room is for invited users"),
            Some("restricted") if rules.restricted_join_rule => self.check_restricted(is_expected, content),
            Some("knock_restricted") if rules.knock_restricted_join_rule => self.check_restricted(is_expected, content),
            _ => reject("the join rule lets nobody join"),
        }
    }

    fn check_restricted(&self, is_expected: bool, content: &MemberContent<'_>) -> Result<(), AuthError> {
        if is_expected {
            return Ok(());
        }
        let Some(Ok(via)) = content.authorised_via() else {
            return reject("no member's server says that the user may join");
        };
        demand(self.membership(&via) == Membership::Join, "the user who lets join is not in the room")?;
        let levels = self.levels();
        demand(levels.of(&via) >= levels.to(Action::Invite), "the user who lets join may not invite")
    }

    fn check_invite(&self, target: &UserId, content: &MemberContent<'_>) -> Result<(), AuthError> {
        let membership = self.membership(target);
        if content.has_third_party_invite() {
            demand(membership != Membership::Ban, "the user is banned")?;
            return self.check_third_party_invite(target, content.third_party_invite());
        }
        let sender = self.pdu.sender();
        demand(self.membership(sender) == Membership::Join, "the sender is not in the room")?;
        let is_in = matches!(membership, Membership::Join | Membership::Ban);
        demand(!is_in, "the invited user is in the room or banned")?;
        let levels = self.levels();
        demand(levels.of(sender) >= levels.to(Action::Invite), "the sender may not invite")
    }

    fn check_third_party_invite(&self, target: &UserId, invite: Option<ThirdPartyInvite<'_>>) -> Result<(), AuthError> {
        let named = invite.as_ref().and_then(ThirdPartyInvite::names);
        let (Some(invite), Some((mxid, token))) = (invite, named) else {
            return reject("the invite of a third party must have a signed user id and token");
        };
        demand(mxid == target.as_str(), "the invite of a third party is for another user")?;
        let Some(room_invite) = self.find("m.room.third_party_invite", &token) else {
            return reject("the room has no invite of a third party with this token");
        };
        demand(room_invite.sender() == self.pdu.sender(), "the invite of a third party is by another user")?;
        let is_signed = is_signed_by_any(invite.signed(), &public_keys(&room_invite));
        demand(is_signed, "the invite of a third party is not signed by a key of the room's invite")
    }

    fn check_leave(&self, target: &UserId) -> Result<(), AuthError> {
        let sender = self.pdu.sender();
        let own = self.membership(sender);
        if sender == target {
            let may_leave = match own {
                Membership::Invite | Membership::Join => true,
                Membership::Knock => self.rules.authorization.knocking,
                Membership::Leave | Membership::Ban | Membership::Unknown => false,
            };
            return demand(may_leave, "the user is not in the room, nor invited, nor knocking");
        }
        demand(own == Membership::Join, "the sender is not in the room")?;
        let levels = self.levels();
        let power = levels.of(sender);
        let is_banned = self.membership(target) == Membership::Ban;
        demand(!is_banned || power >= levels.to(Action::Ban), "the sender may not unban")?;
        demand(power >= levels.to(Action::Kick) && levels.of(target) < power, "the sender may not remove this user")
    }

    fn check_ban(&self, target: &UserId) -> Result<(), AuthError> {
        let sender = self.pdu.sender();
        demand(self.membership(sender) == Membership::Join, "the sender is not in the room")?;
        let levels = self.levels();
        let power = levels.of(sender);
        demand(power >= levels.to(Action::Ban) && levels.of(target) < power, "the sender may not ban this user")
    }

    fn check_knock(&self, target: &UserId) -> Result<(), AuthError> {
        let may_knock = match self.join_rule().as_deref() {
            Some("knock") => true,
            Some("knock_restricted") => self.rules.authorization.knock_restricted_join_rule,
            _ => false,
        };
        demand(may_knock, "the join rule lets nobody knock")?;
        demand(self.pdu.sender() == target, "nobody can knock for another user")?;
        let is_in = matches!(self.membership(target), Membership::Ban | Membership::Invite | Membership::Join);
        demand(!is_in, "the user is in the room, invited or banned")
    }

    fn join_rule(&self) -> Option<String> {
        self.find("m.room.join_rules", "")?.content_field("join_rule")
    }
}

/// The keys of an `m.room.third_party_invite`, those that can be read.
fn public_keys(invite: &Pdu) -> Vec<Vec<u8>> {
    let more: Vec<Value> = invite.content_field("public_keys").unwrap_or_default();
    let more = more.iter().filter_map(|key| key.get("public_key")?.as_str().map(str::to_owned));
    let one: Option<String> = invite.content_field("public_key");
    // They come in either alphabet.
    let decode = |key: String| LENIENT_BASE64.decode(key.replace('-', "+").replace('_', "/")).ok();
    one.into_iter().chain(more).filter_map(decode).collect()
}

fn is_signed_by_any(signed: &str, keys: &[Vec<u8>]) -> bool {
    #[derive(serde::Deserialize)]
    struct Signed {
        signatures: BTreeMap<String, BTreeMap<String, Value>>,
    }
    let (Ok(message), Ok(Signed { signatures })) = (without_signatures(signed), serde_json::from_str(signed)) else {
        return false;
    };
    signatures
        .values()
        .flatten()
        .filter(|(key_id, _)| key_id.starts_with("ed25519:"))
        .filter_map(|(_, signature)| LENIENT_BASE64.decode(signature.as_str()?).ok())
        .any(|signature| keys.iter().any(|key| is_signed(message.as_bytes(), &signature, key)))
}
