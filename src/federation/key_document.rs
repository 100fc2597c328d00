//! The published keys of a server: one signed object (server-server API, "Publishing Keys").

use std::{collections::BTreeMap, time::Duration};

use base64::Engine as _;
use ruma::{
    Int, OwnedServerName, ServerName,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use thiserror::Error;

use super::identity::Identity;
use crate::{
    base::clock::UnixMillis,
    event::{
        hash::{HashError, LENIENT_BASE64},
        json,
        sign::{is_signed, signed_text},
    },
};

/// An Ed25519 public key.
pub(super) type PublicKey = [u8; 32];

/// How long our own document holds. Others ask again after half of it.
const OWN_LIFETIME: Duration = Duration::from_hours(24);
/// The longest that a document of another server is believed, in ms, whatever it says.
pub(super) const LONGEST_LIFETIME: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The largest document that is read, in bytes.
pub(super) const LARGEST: usize = 64 << 10;
/// The most keys of a document; servers have one or two.
const MOST_KEYS: usize = 100;
/// The longest names (in bytes) that are stored.
const LONGEST_NAME: usize = 255;

/// Why a document is not believed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DocumentError {
    /// It is no object of canonical JSON.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// A field is missing or of an odd type.
    #[error("`{0}` is missing or odd")]
    Field(&'static str),
    /// It has more keys, or longer names, than any server needs.
    #[error("it is too large")]
    TooLarge,
    /// None of its active keys has signed it.
    #[error("none of its own keys has signed it")]
    NotSigned,
}

/// A document that one of its own active keys has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyDocument {
    pub(super) server_name: OwnedServerName,
    pub(super) valid_until: UnixMillis,
    /// By key id.
    pub(super) active: BTreeMap<String, PublicKey>,
    /// By key id, with the time from which on it signed nothing.
    pub(super) old: BTreeMap<String, (PublicKey, UnixMillis)>,
    object: CanonicalJsonObject,
}

impl KeyDocument {
    /// Reads a document of any server and checks that one of its own keys has signed it. Keys that are not Ed25519, or
    /// not well-formed, are as if they were not there.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > LARGEST {
            return Err(DocumentError::TooLarge);
        }
        let object = json::parse(bytes)?;
        let server_name = match object.get("server_name") {
            Some(CanonicalJsonValue::String(name)) => ServerName::parse(name).ok(),
            _ => None,
        };
        let server_name = server_name.ok_or(DocumentError::Field("server_name"))?;
        let valid_until = time(&object, "valid_until_ts").ok_or(DocumentError::Field("valid_until_ts"))?;
        let active = entries(&object, "verify_keys")?.ok_or(DocumentError::Field("verify_keys"))?;
        let active = active.filter_map(|(id, entry)| Some((id.clone(), public_key(entry)?))).collect();
        let old = entries(&object, "old_verify_keys")?.into_iter().flatten();
        let old = old
            .filter_map(|(id, entry)| Some((id.clone(), (public_key(entry)?, time(entry, "expired_ts")?))))
            .collect();
        let document = Self { server_name, valid_until, active, old, object };
        let name = &document.server_name;
        if name.as_str().len() > LONGEST_NAME {
            return Err(DocumentError::TooLarge);
        }
        if !document.is_signed_by(name, &document.active) {
            return Err(DocumentError::NotSigned);
        }
        Ok(document)
    }

    /// Whether one of these keys of a server has signed it.
    pub(super) fn is_signed_by(&self, server: &ServerName, keys: &BTreeMap<String, PublicKey>) -> bool {
        let Ok(signed) = signed_text(&self.object) else { return false };
        let of_server = object(&self.object, "signatures").and_then(|signatures| object(signatures, server.as_str()));
        of_server.into_iter().flatten().any(|(key_id, signature)| match (keys.get(key_id), signature) {
            (Some(key), CanonicalJsonValue::String(signature)) => {
                LENIENT_BASE64.decode(signature).is_ok_and(|signature| is_signed(signed.as_bytes(), &signature, key))
            }
            _ => false,
        })
    }

    /// As it is stored.
    pub(super) fn to_text(&self) -> String {
        json::to_text(&self.object)
    }

    /// Whether it says something of a key.
    pub(super) fn has(&self, key_id: &str) -> bool {
        self.active.contains_key(key_id) || self.old.contains_key(key_id)
    }

    /// Until when it is believed, if it came at this time.
    pub(super) fn believed_until(&self, fetched_at: UnixMillis) -> UnixMillis {
        self.valid_until.min(fetched_at.saturating_add(LONGEST_LIFETIME))
    }

    /// With the signature of this server too, for whoever trusts it as a notary.
    pub(super) fn countersigned(mut self, identity: &Identity) -> Result<CanonicalJsonObject, HashError> {
        identity.active.sign_json(&mut self.object)?;
        Ok(self.object)
    }
}

/// Our own document, signed anew.
pub(super) fn own(identity: &Identity, now: UnixMillis) -> Result<CanonicalJsonObject, HashError> {
    let text = |text: &str| CanonicalJsonValue::String(text.to_owned());
    let lifetime = u64::try_from(OWN_LIFETIME.as_millis()).unwrap_or(u64::MAX);
    let key = |key: &PublicKey| ("key".to_owned(), text(&base64::engine::general_purpose::STANDARD_NO_PAD.encode(key)));
    let active = [(identity.active.key_id().to_owned(), [key(&identity.active.public_key())].into_iter().collect())];
    let old = identity.old.iter().map(|old| {
        let entry = [key(&old.public_key), ("expired_ts".to_owned(), integer(old.expired_at))];
        (old.key_id.clone(), CanonicalJsonValue::Object(entry.into_iter().collect()))
    });
    let mut object = CanonicalJsonObject::from([
        ("server_name".to_owned(), text(identity.active.server_name())),
        ("valid_until_ts".to_owned(), integer(now.saturating_add(lifetime))),
        (
            "verify_keys".to_owned(),
            CanonicalJsonValue::Object(active.map(|(id, key)| (id, CanonicalJsonValue::Object(key))).into()),
        ),
        ("old_verify_keys".to_owned(), CanonicalJsonValue::Object(old.collect())),
    ]);
    identity.active.sign_json(&mut object)?;
    Ok(object)
}

fn integer(time: UnixMillis) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::try_from(time).unwrap_or(Int::MAX))
}

fn time(object: &CanonicalJsonObject, field: &str) -> Option<UnixMillis> {
    match object.get(field)? {
        CanonicalJsonValue::Integer(time) => u64::try_from(i64::from(*time)).ok(),
        _ => None,
    }
}

fn object<'o>(object: &'o CanonicalJsonObject, field: &str) -> Option<&'o CanonicalJsonObject> {
    match object.get(field)? {
        CanonicalJsonValue::Object(inner) => Some(inner),
        _ => None,
    }
}

/// The well-formed entries of an object of keys; `None` if it is not there.
fn entries<'o>(
    of: &'o CanonicalJsonObject,
    field: &'static str,
) -> Result<Option<impl Iterator<Item = (&'o String, &'o CanonicalJsonObject)>>, DocumentError> {
    let keys = match of.get(field) {
        None => return Ok(None),
        Some(CanonicalJsonValue::Object(keys)) => keys,
        Some(_) => return Err(DocumentError::Field(field)),
    };
    if keys.len() > MOST_KEYS {
        return Err(DocumentError::TooLarge);
    }
    Ok(Some(keys.iter().filter_map(|(id, entry)| match entry {
        CanonicalJsonValue::Object(entry) if is_key_id(id) => Some((id, entry)),
        _ => None,
    })))
}

/// Whether a key id is one that this server can use and store.
pub(super) fn is_key_id(id: &str) -> bool {
    id.len() <= LONGEST_NAME && id.strip_prefix("ed25519:").is_some_and(|version| !version.is_empty())
}

fn public_key(entry: &CanonicalJsonObject) -> Option<PublicKey> {
    match entry.get("key")? {
        CanonicalJsonValue::String(key) => LENIENT_BASE64.decode(key).ok()?.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use serde_json::{Value, json};

    use super::{super::identity::OldKey, *};
    use crate::event::SigningKey;

    const NOW: UnixMillis = 1_800_000_000_000;

    fn identity(seed: u8, old: Vec<OldKey>) -> Identity {
        let active = SigningKey::from_seed(&[seed; 32], "a", server_name!("a.b")).unwrap();
        Identity { active: active.into(), old: old.into() }
    }

    fn own_bytes() -> Vec<u8> {
        json::to_bytes(&own(&identity(1, vec![]), NOW).unwrap())
    }

    /// Our own document, changed and signed by the key of this seed.
    fn changed(seed: u8, change: impl Fn(&mut Value)) -> Result<KeyDocument, DocumentError> {
        let mut value: Value = serde_json::from_slice(&own_bytes()).unwrap();
        value.as_object_mut().unwrap().remove("signatures");
        change(&mut value);
        let mut object = json::parse(value.to_string().as_bytes()).unwrap();
        identity(seed, vec![]).active.sign_json(&mut object).unwrap();
        KeyDocument::read(&json::to_bytes(&object))
    }

    #[test]
    fn our_own_document_is_read_by_others() {
        let old = OldKey { key_id: "ed25519:old".to_owned(), public_key: [9; 32], expired_at: 5 };
        let identity = identity(1, vec![old]);
        let document = KeyDocument::read(&json::to_bytes(&own(&identity, NOW).unwrap())).unwrap();
        assert_eq!(document.server_name, "a.b");
        assert_eq!(document.active, BTreeMap::from([("ed25519:a".to_owned(), identity.active.public_key())]));
        assert_eq!(document.old, BTreeMap::from([("ed25519:old".to_owned(), ([9; 32], 5))]));
        assert_eq!(document.valid_until, NOW + 24 * 60 * 60 * 1_000, "not less than an hour ahead");
    }

    #[test]
    fn only_what_its_own_active_key_has_signed_is_believed() {
        assert!(changed(1, |_| ()).is_ok());
        assert_eq!(changed(2, |_| ()), Err(DocumentError::NotSigned), "signed by another key of the same id");
        assert_eq!(changed(1, |document| document["server_name"] = json!("c.d")), Err(DocumentError::NotSigned));
        let retired = changed(1, |document| {
            let key = document["verify_keys"]["ed25519:a"]["key"].clone();
            document["old_verify_keys"] = json!({"ed25519:a": {"key": key, "expired_ts": 1}});
            document["verify_keys"] = json!({});
        });
        assert_eq!(retired, Err(DocumentError::NotSigned), "an old key signs no document");
        let text = String::from_utf8(own_bytes()).unwrap();
        let tampered = text.replace("valid_until_ts\":18", "valid_until_ts\":28");
        assert_ne!(text, tampered);
        assert_eq!(KeyDocument::read(tampered.as_bytes()), Err(DocumentError::NotSigned));
    }

    #[test]
    fn odd_documents_are_refused_and_odd_keys_are_not_there() {
        for field in ["server_name", "valid_until_ts", "verify_keys"] {
            for odd in [Value::Null, json!(true), json!("x y"), json!([])] {
                let read = changed(1, |document| document[field] = odd.clone());
                assert_eq!(read, Err(DocumentError::Field(field)), "{field}: {odd}");
            }
        }
        let document = changed(1, |document| {
            let keys = document["verify_keys"].as_object_mut().unwrap();
            for (id, entry) in [
                ("ed25519:short", json!({"key": "AAAA"})),
                ("ed25519:odd", json!("x")),
                ("ed25519:", keys["ed25519:a"].clone()),
                ("curve25519:a", keys["ed25519:a"].clone()),
                (&format!("ed25519:{}", "x".repeat(300)), keys["ed25519:a"].clone()),
            ] {
                keys.insert(id.to_owned(), entry);
            }
        });
        assert_eq!(document.unwrap().active.len(), 1);
        let many = changed(1, |document| {
            let entry = document["verify_keys"]["ed25519:a"].clone();
            let keys = (0..200).map(|at| (format!("ed25519:k{at}"), entry.clone()));
            document["old_verify_keys"] = Value::Object(keys.collect());
        });
        assert_eq!(many, Err(DocumentError::TooLarge));
        assert_eq!(KeyDocument::read(&vec![b' '; LARGEST + 1]), Err(DocumentError::TooLarge));
    }

    #[test]
    fn nothing_is_believed_for_longer_than_seven_days() {
        let document = changed(1, |document| document["valid_until_ts"] = json!(9_007_199_254_740_991_u64)).unwrap();
        assert_eq!(document.believed_until(NOW), NOW + LONGEST_LIFETIME);
        let document = changed(1, |document| document["valid_until_ts"] = json!(NOW + 5)).unwrap();
        assert_eq!(document.believed_until(NOW), NOW + 5);
    }

    #[test]
    fn a_notary_adds_its_signature_and_changes_nothing() {
        let notary = SigningKey::from_seed(&[3; 32], "n", server_name!("n.o")).unwrap();
        let keys = BTreeMap::from([("ed25519:n".to_owned(), notary.public_key())]);
        let notary = Identity { active: notary.into(), old: vec![].into() };
        let document = KeyDocument::read(&own_bytes()).unwrap();
        assert!(!document.is_signed_by(server_name!("n.o"), &keys));
        let signed = document.clone().countersigned(&notary).unwrap();
        let read = KeyDocument::read(&json::to_bytes(&signed)).unwrap();
        assert!(read.is_signed_by(server_name!("n.o"), &keys));
        assert_eq!((read.active, read.valid_until), (document.active, document.valid_until));
    }
}
