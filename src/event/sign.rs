//! Signatures (appendices, "Signing JSON"; server-server API, "Signing events").

use std::fmt;

use ruma::{
    ServerName,
    canonical_json::CanonicalJsonObject,
    signatures::{self, Ed25519KeyPair, KeyPair as _, PublicKeyMap},
};
use thiserror::Error;

use super::{
    hash::HashError,
    pdu::{FormatError, Pdu},
    redact::redact,
    version::Rules,
};

/// What stands before the 32 bytes of a seed in a PKCS#8 document of an Ed25519 key (RFC 8410).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A server's own Ed25519 key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    server_name: String,
}

/// A seed or a key version cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not an Ed25519 key: {0}")]
pub struct KeyError(String);

/// A signature is missing or wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the signatures do not hold: {0}")]
pub struct SignatureError(String);

impl SigningKey {
    /// The key of a seed, called `ed25519:` and `version`, for `server_name`.
    pub fn from_seed(seed: &[u8; 32], version: &str, server_name: &ServerName) -> Result<Self, KeyError> {
        let well_named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if version.is_empty() || !version.chars().all(well_named) {
            return Err(KeyError(format!("`{version}` is no key version: letters, digits and `_` are allowed")));
        }
        let document = [&PKCS8[..], &seed[..]].concat();
        let pair =
            Ed25519KeyPair::from_der(&document, version.to_owned()).map_err(|error| KeyError(error.to_string()))?;
        Ok(Self { pair, server_name: server_name.as_str().to_owned() })
    }

    /// Its id, `ed25519:…`.
    pub fn key_id(&self) -> String {
        format!("ed25519:{}", self.pair.version())
    }

    /// What others check its signatures with.
    pub fn public_key(&self) -> [u8; 32] {
        self.pair.public_key()
    }

    /// The server that it signs for.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Signs bytes.
    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_bytes().to_vec()
    }

    /// Adds a signature to an object that is no event.
    pub fn sign_json(&self, object: &mut CanonicalJsonObject) -> Result<(), HashError> {
        signatures::sign_json(&self.server_name, &self.pair, object).map_err(|error| HashError(error.to_string()))
    }

    /// Adds a signature to an event whose content hash is set: over what redaction would leave of it.
    pub fn sign_event(&self, object: &mut CanonicalJsonObject, rules: &Rules) -> Result<(), HashError> {
        signatures::sign_event(&self.server_name, &self.pair, object, &rules.redaction)
            .map_err(|error| HashError(error.to_string()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} of {})", self.key_id(), self.server_name)
    }
}

/// An event whose signatures hold: really from the servers that it names. Only such an event is fit for the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pdu: Pdu,
    was_redacted: bool,
}

impl Verified {
    /// Checks signatures and content hash with the keys of the servers that must have signed. An event whose content hash
    /// is wrong goes on in its redacted form.
    ///
    /// Server-server API, "Checks performed on receipt of a PDU", steps 2 and 3.
    pub fn check(pdu: &Pdu, rules: &Rules, keys: &PublicKeyMap) -> Result<Self, SignatureError> {
        let fail = |error: &dyn fmt::Display| SignatureError(error.to_string());
        let object = pdu.to_object().map_err(|error| fail(&error))?;
        match signatures::verify_event(keys, &object, rules).map_err(|error| fail(&error))? {
            signatures::Verified::All => Ok(Self { pdu: pdu.clone(), was_redacted: false }),
            signatures::Verified::Signatures => {
                let redacted = |object| -> Result<Pdu, FormatError> { Pdu::from_object(redact(object, rules)?, rules) };
                Ok(Self { pdu: redacted(object).map_err(|error| fail(&error))?, was_redacted: true })
            }
        }
    }

    /// The event.
    pub fn pdu(&self) -> &Pdu {
        &self.pdu
    }

    /// Whether the content hash was wrong, so that this is the redacted form.
    pub fn was_redacted(&self) -> bool {
        self.was_redacted
    }
}
