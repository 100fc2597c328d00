//! The content of `m.room.member`, as rules and signatures look at it.

use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The fields that matter, each still JSON: other types than expected are no error here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MemberContent<'a> {
    #[serde(borrow, default)]
    membership: Option<&'a RawValue>,
    #[serde(borrow, default)]
    third_party_invite: Option<&'a RawValue>,
    #[serde(borrow, default)]
    join_authorised_via_users_server: Option<&'a RawValue>,
}

/// What another service signed of an invite.
#[derive(Debug, Deserialize)]
pub(super) struct ThirdPartyInvite<'a> {
    #[serde(borrow)]
    signed: &'a RawValue,
}

impl<'a> MemberContent<'a> {
    /// Reads a content; of what is no object nothing is known.
    pub(super) fn read(content: &'a RawValue) -> Self {
        serde_json::from_str(content.get()).unwrap_or_default()
    }

    /// The word, if it is one.
    pub(super) fn membership(&self) -> Option<String> {
        serde_json::from_str(self.membership?.get()).ok()
    }

    /// Whether it is the invite of a third party, whatever that looks like.
    pub(super) fn has_third_party_invite(&self) -> bool {
        self.third_party_invite.is_some()
    }

    /// The invite of a third party, if it has the form.
    pub(super) fn third_party_invite(&self) -> Option<ThirdPartyInvite<'a>> {
        serde_json::from_str(self.third_party_invite?.get()).ok()
    }

    /// The user whose server lets another join: `None` if it is absent, an error if it is no user id.
    pub(super) fn authorised_via(&self) -> Option<Result<OwnedUserId, ()>> {
        self.join_authorised_via_users_server.map(|user_id| serde_json::from_str(user_id.get()).map_err(drop))
    }
}

impl<'a> ThirdPartyInvite<'a> {
    /// What is signed, an object in canonical JSON.
    pub(super) fn signed(&self) -> &'a str {
        self.signed.get()
    }

    /// The user who is invited, and the token that names the `m.room.third_party_invite`.
    pub(super) fn names(&self) -> Option<(String, String)> {
        #[derive(Deserialize)]
        struct Signed {
            mxid: String,
            token: String,
        }
        let signed: Signed = serde_json::from_str(self.signed.get()).ok()?;
        Some((signed.mxid, signed.token))
    }
}
