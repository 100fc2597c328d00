//! The request that a session of user-interactive authentication is for, and no other.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ruma::{OwnedUserId, UserId};
use serde_json::Value as Json;

/// The request that a session is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asks, if the endpoint knows.
    pub user_id: Option<OwnedUserId>,
    /// From where the request came; a session is not bound to that.
    pub(super) from: IpAddr,
    /// A hash of user, method, path and body.
    pub(super) binding: [u8; 32],
}

impl Operation {
    /// The request `method path` of a user, with this body.
    pub fn new(user_id: Option<&UserId>, method: &str, path: &str, body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [user_id.map_or("", UserId::as_str), method, path] {
            hasher.update(&part.len().to_be_bytes()).update(part.as_bytes());
        }
        // A body that is no object has no `auth` in it and no flow to pass; its bytes will do.
        match serde_json::from_slice(body) {
            Ok(Json::Object(mut object)) => {
                object.remove("auth");
                digest(&Json::Object(object), &mut hasher);
            }
            _ => drop(hasher.update(body)),
        }
        let (user_id, from) = (user_id.map(ToOwned::to_owned), Ipv4Addr::UNSPECIFIED.into());
        Self { user_id, from, binding: *hasher.finalize().as_bytes() }
    }

    /// The same, known to come from this address.
    #[must_use]
    pub fn asked_from(self, from: IpAddr) -> Self {
        Self { from, ..self }
    }
}

/// Feeds a value in a form that does not depend on the order of keys or on white space.
fn digest(value: &Json, hasher: &mut blake3::Hasher) {
    match value {
        Json::Object(object) => {
            hasher.update(b"{").update(&object.len().to_be_bytes());
            for key in object.keys().collect::<BTreeSet<_>>() {
                hasher.update(&key.len().to_be_bytes()).update(key.as_bytes());
                digest(object.get(key).unwrap_or(&Json::Null), hasher);
            }
        }
        Json::Array(items) => {
            hasher.update(b"[").update(&items.len().to_be_bytes());
            for item in items {
                digest(item, hasher);
            }
        }
        scalar => {
            let text = scalar.to_string();
            hasher.update(b"=").update(&text.len().to_be_bytes()).update(text.as_bytes());
        }
    }
}
