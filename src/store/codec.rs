//! Keys: a tuple codec that keeps order and delimits itself.
//!
//! The encoding of a tuple is the encoding of its parts, one after another; byte order of encodings is the order of the
//! tuples, and the encoding of a shorter tuple is a prefix of every longer one that begins with the same parts. Integers
//! are big-endian (signed ones with the sign bit flipped); strings and byte strings escape 0x00 as 01 01 and 0x01 as
//! 01 02 and end with 0x00.

use thiserror::Error;

/// Bytes in the store do not decode as what their keyspace says. Always a sign of damage or of a bug.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

/// One element of a key.
pub trait KeyPart: Sized {
    /// Appends the order-keeping form.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads one element off the front of `input`.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;
}

/// Takes `N` bytes off the front of `input`.
pub fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, tail) = input.split_first_chunk::<N>().ok_or(DecodeError("shorter than its type"))?;
    *input = tail;
    Ok(*head)
}

impl KeyPart for u8 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(take::<1>(input)?[0])
    }
}

impl KeyPart for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::from_be_bytes(take(input)?))
    }
}

impl KeyPart for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::from_be_bytes(take(input)?))
    }
}

impl KeyPart for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ (1 << 63)).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok((u64::decode(input)? ^ (1 << 63)).cast_signed())
    }
}

impl<const N: usize> KeyPart for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        take(input)
    }
}

impl KeyPart for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_escaped(self, out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        decode_escaped(input)
    }
}

impl KeyPart for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_escaped(self.as_bytes(), out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Self::from_utf8(decode_escaped(input)?).map_err(|_| DecodeError("a string in a key is not UTF-8"))
    }
}

fn encode_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            0x00 => out.extend_from_slice(&[0x01, 0x01]),
            0x01 => out.extend_from_slice(&[0x01, 0x02]),
            _ => out.push(byte),
        }
    }
    out.push(0x00);
}

fn decode_escaped(input: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    loop {
        match take::<1>(input)?[0] {
            0x00 => return Ok(out),
            0x01 => match take::<1>(input)?[0] {
                0x01 => out.push(0x00),
                0x02 => out.push(0x01),
                _ => return Err(DecodeError("an unknown escape in a key")),
            },
            byte => out.push(byte),
        }
    }
}

/// A value that may stand for a `T` in a key: the `T` itself, a reference to it, or (for strings) a borrowed one.
pub trait EncodeAs<T> {
    /// Appends the form that `T` would have.
    fn encode_as(&self, out: &mut Vec<u8>);
}

impl<T: KeyPart> EncodeAs<T> for T {
    fn encode_as(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

impl<T: KeyPart> EncodeAs<T> for &T {
    fn encode_as(&self, out: &mut Vec<u8>) {
        (*self).encode(out);
    }
}

impl EncodeAs<String> for &str {
    fn encode_as(&self, out: &mut Vec<u8>) {
        encode_escaped(self.as_bytes(), out);
    }
}

/// A whole key: a tuple of parts.
pub trait Key: Sized {
    /// Reads a key from exactly these bytes.
    fn decode(input: &[u8]) -> Result<Self, DecodeError>;
}

/// A tuple that can stand for the first elements of a `K` (or for all of them).
pub trait PrefixOf<K: Key> {
    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);
}

/// A tuple that can stand for a whole `K`.
pub trait KeyOf<K: Key>: PrefixOf<K> {}

impl<K: Key> PrefixOf<K> for () {
    fn encode(&self, _: &mut Vec<u8>) {}
}

// Tuples have no common trait in Rust, so each length is spelled out; this macro is the only one of the store.
macro_rules! tuple_key {
    ($($part:ident)+) => {
        impl<$($part: KeyPart),+> Key for ($($part,)+) {
            fn decode(mut input: &[u8]) -> Result<Self, DecodeError> {
                let key = ($($part::decode(&mut input)?,)+);
                if input.is_empty() { Ok(key) } else { Err(DecodeError("a key is longer than its type")) }
            }
        }
        tuple_prefix!([] $($part)+);
    };
}

// Walks through the prefixes of a tuple: `[taken…] left…`.
macro_rules! tuple_prefix {
    ([$($taken:ident)*] $next:ident $($left:ident)*) => {
        paste_prefix!([$($taken)* $next] [$($left)*]);
        tuple_prefix!([$($taken)* $next] $($left)*);
    };
    ([$($taken:ident)*]) => {
        paste_whole!([$($taken)*]);
    };
}

macro_rules! paste_prefix {
    ([A] [$($left:ident)*]) => { paste_prefix!(@ [A:XA:0] [$($left)*]); };
    ([A B] [$($left:ident)*]) => { paste_prefix!(@ [A:XA:0 B:XB:1] [$($left)*]); };
    ([A B C] [$($left:ident)*]) => { paste_prefix!(@ [A:XA:0 B:XB:1 C:XC:2] [$($left)*]); };
    ([A B C D] [$($left:ident)*]) => { paste_prefix!(@ [A:XA:0 B:XB:1 C:XC:2 D:XD:3] [$($left)*]); };
    ([A B C D E] [$($left:ident)*]) => { paste_prefix!(@ [A:XA:0 B:XB:1 C:XC:2 D:XD:3 E:XE:4] [$($left)*]); };
    (@ [$($part:ident:$as:ident:$index:tt)+] [$($left:ident)*]) => {
        impl<$($part: KeyPart,)+ $($left: KeyPart,)* $($as: EncodeAs<$part>),+> PrefixOf<($($part,)+ $($left,)*)> for ($($as,)+) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode_as(out);)+
            }
        }
    };
}

macro_rules! paste_whole {
    ([A]) => { paste_whole!(@ A:XA); };
    ([A B]) => { paste_whole!(@ A:XA B:XB); };
    ([A B C]) => { paste_whole!(@ A:XA B:XB C:XC); };
    ([A B C D]) => { paste_whole!(@ A:XA B:XB C:XC D:XD); };
    ([A B C D E]) => { paste_whole!(@ A:XA B:XB C:XC D:XD E:XE); };
    (@ $($part:ident:$as:ident)+) => {
        impl<$($part: KeyPart,)+ $($as: EncodeAs<$part>),+> KeyOf<($($part,)+)> for ($($as,)+) {}
    };
}

tuple_key!(A);
tuple_key!(A B);
tuple_key!(A B C);
tuple_key!(A B C D);
tuple_key!(A B C D E);

#[cfg(test)]
mod tests;
