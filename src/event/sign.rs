//! Signatures (appendices, "Signing JSON"; server-server API, "Signing events").

use std::fmt;

use ruma::{
    ServerName, SigningKeyAlgorithm,
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
    signatures::{self, Ed25519KeyPair, KeyPair as _},
};
use thiserror::Error;

use super::{
    hash::HashError,
    json,
    members::{members, without_signatures},
    redact::essential,
    version::Rules,
};

/// What stands before the 32 bytes of a seed in a PKCS#8 document of an Ed25519 key (RFC 8410).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A server's own Ed25519 key.
///
/// Of the two implementations at hand, that of `ed25519-dalek` (in `ruma-signatures`) takes half the time of ring's to sign
/// and to verify.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    key_id: String,
    server_name: String,
}

/// A seed or a key version cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not an Ed25519 key: {0}")]
pub struct KeyError(String);

const ALGORITHM: &str = "ed25519";

impl SigningKey {
    /// The key of a seed, called `ed25519:` and `version`, for `server_name`. A new key is one of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32], version: &str, server_name: &ServerName) -> Result<Self, KeyError> {
        let well_named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if version.is_empty() || !version.chars().all(well_named) {
            return Err(KeyError(format!("`{version}` is no key version: letters, digits and `_` are allowed")));
        }
        let document = [&PKCS8[..], &seed[..]].concat();
        let pair =
            Ed25519KeyPair::from_der(&document, version.to_owned()).map_err(|error| KeyError(error.to_string()))?;
        let key_id = format!("{ALGORITHM}:{version}");
        Ok(Self { pair, key_id, server_name: server_name.as_str().to_owned() })
    }

    /// Its id, `ed25519:…`.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What others check its signatures with.
    pub fn public_key(&self) -> [u8; 32] {
        self.pair.public_key()
    }

    /// The server that it signs for.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Signs bytes: a signature of 64 bytes.
    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_bytes().to_vec()
    }

    /// Signs bytes: a signature in unpadded base64.
    pub fn sign_text(&self, message: &[u8]) -> String {
        self.pair.sign(message).base64()
    }

    /// Adds a signature to an object that is no event.
    pub fn sign_json(&self, object: &mut CanonicalJsonObject) -> Result<(), HashError> {
        let signed = signed_text(object)?;
        self.add_signature(object, &signed)
    }

    /// Adds a signature to an event whose content hash is set: over what redaction would leave of it.
    pub fn sign_event(&self, object: &mut CanonicalJsonObject, rules: &Rules) -> Result<(), HashError> {
        let text = json::to_text(object);
        let signed = essential(&members(&text)?, rules)?;
        self.add_signature(object, &signed)
    }

    fn add_signature(&self, object: &mut CanonicalJsonObject, signed: &str) -> Result<(), HashError> {
        let signature = CanonicalJsonValue::String(self.sign_text(signed.as_bytes()));
        let signatures = entry(object, "signatures")?;
        entry(signatures, &self.server_name)?.insert(self.key_id.clone(), signature);
        Ok(())
    }
}

/// What is signed of an object that is no event: its canonical form without `signatures` and `unsigned` (appendices,
/// "Signing JSON").
pub fn signed_text(object: &CanonicalJsonObject) -> Result<String, HashError> {
    Ok(without_signatures(&json::to_text(object))?)
}

/// Whether a signature of a message is by this public key.
pub fn is_signed(message: &[u8], signature: &[u8], public_key: &[u8]) -> bool {
    signatures::verify_canonical_json_bytes(&SigningKeyAlgorithm::Ed25519, public_key, signature, message).is_ok()
}

fn entry<'o>(object: &'o mut CanonicalJsonObject, key: &str) -> Result<&'o mut CanonicalJsonObject, HashError> {
    let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
    match object.entry(key.to_owned()).or_insert_with(empty) {
        CanonicalJsonValue::Object(object) => Ok(object),
        _ => Err(HashError(format!("`{key}` is no object"))),
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} of {})", self.key_id, self.server_name)
    }
}
