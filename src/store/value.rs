//! Values: the first byte is the version of the encoding, the rest belongs to the type.

use serde::{Serialize, de::DeserializeOwned};

use super::codec::DecodeError;

/// Something that can be stored. Decoders of every released version stay for ever; golden bytes in the tests hold them.
pub trait Value: Sized {
    /// The version that `encode` writes.
    const VERSION: u8;
    /// Appends the body, without the version byte. Equal values must give equal bytes: assertions compare them.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads a body that was written as `version`.
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError>;
}

/// The version byte and the body of `value`.
pub fn to_bytes<V: Value>(value: &V) -> Vec<u8> {
    let mut out = vec![V::VERSION];
    value.encode(&mut out);
    out
}

/// What [`to_bytes`] wrote, now or by an older release.
pub fn from_bytes<V: Value>(bytes: &[u8]) -> Result<V, DecodeError> {
    let (version, body) = bytes.split_first().ok_or(DecodeError("a value without its version byte"))?;
    V::decode(*version, body)
}

/// A small record that is stored in serde's order of fields, in the compact `postcard` form.
///
/// Changing its fields means a new `VERSION` and a kept decoder for the old one in [`Record::upgrade`].
pub trait Record: Serialize + DeserializeOwned {
    /// The version of today's fields.
    const VERSION: u8 = 1;
    /// Decodes a body of an older version.
    fn upgrade(_version: u8, _body: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError("a value of an unknown version"))
    }
}

impl<T: Record> Value for T {
    const VERSION: u8 = <T as Record>::VERSION;

    #[expect(
        clippy::expect_used,
        reason = "INVARIANT: records hold nothing that postcard refuses, such as untagged enums"
    )]
    fn encode(&self, out: &mut Vec<u8>) {
        let body = postcard::to_stdvec(self).expect("a record is always serialisable");
        out.extend_from_slice(&body);
    }

    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        if version != <T as Record>::VERSION {
            return Self::upgrade(version, body);
        }
        postcard::from_bytes(body).map_err(|_| DecodeError("a record does not decode"))
    }
}

/// No value: the key says all.
impl Value for () {
    const VERSION: u8 = 1;
    fn encode(&self, _: &mut Vec<u8>) {}
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        match (version, body) {
            (1, []) => Ok(()),
            _ => Err(DecodeError("an empty value is not empty")),
        }
    }
}

impl Value for Vec<u8> {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        if version == 1 { Ok(body.to_vec()) } else { Err(DecodeError("bytes of an unknown version")) }
    }
}

impl Value for String {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        if version != 1 {
            return Err(DecodeError("a string of an unknown version"));
        }
        Self::from_utf8(body.to_vec()).map_err(|_| DecodeError("a stored string is not UTF-8"))
    }
}

impl Value for u64 {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        match (version, body.try_into()) {
            (1, Ok(bytes)) => Ok(Self::from_be_bytes(bytes)),
            _ => Err(DecodeError("not a stored u64")),
        }
    }
}

impl Value for u32 {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        match (version, body.try_into()) {
            (1, Ok(bytes)) => Ok(Self::from_be_bytes(bytes)),
            _ => Err(DecodeError("not a stored u32")),
        }
    }
}
