//! Pieces of the hand-written codecs: fixed big-endian integers and strings behind their length.

use crate::store::DecodeError;

/// Takes `N` bytes off the front.
pub fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, tail) = input.split_first_chunk::<N>().ok_or(DecodeError("a row is too short"))?;
    *input = tail;
    Ok(*head)
}

/// Reads a byte.
pub fn take_u8(input: &mut &[u8]) -> Result<u8, DecodeError> {
    take::<1>(input).map(|[byte]| byte)
}

/// Reads a big-endian u32.
pub fn take_u32(input: &mut &[u8]) -> Result<u32, DecodeError> {
    take(input).map(u32::from_be_bytes)
}

/// Reads a big-endian u64.
pub fn take_u64(input: &mut &[u8]) -> Result<u64, DecodeError> {
    take(input).map(u64::from_be_bytes)
}

/// Appends a string of at most 65,535 bytes behind its length (two bytes); a longer one is cut, which no caller does:
/// what enters a row was held to the specification's 255 bytes before.
pub fn put_str(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u16::MAX), "the lengths of identifiers are checked on arrival");
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

/// Reads what [`put_str`] wrote.
pub fn take_str<'a>(input: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    let length = usize::from(u16::from_be_bytes(take(input)?));
    let (head, tail) = input.split_at_checked(length).ok_or(DecodeError("a string in a row is cut off"))?;
    *input = tail;
    std::str::from_utf8(head).map_err(|_| DecodeError("a string in a row is not UTF-8"))
}

/// Appends a string that may be absent.
pub fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_str(out, text);
    }
}

/// Reads what [`put_option`] wrote.
pub fn take_option<'a>(input: &mut &'a [u8]) -> Result<Option<&'a str>, DecodeError> {
    match take_u8(input)? {
        0 => Ok(None),
        1 => take_str(input).map(Some),
        _ => Err(DecodeError("neither present nor absent")),
    }
}

/// Nothing may be left.
pub fn finish(input: &[u8]) -> Result<(), DecodeError> {
    if input.is_empty() { Ok(()) } else { Err(DecodeError("a row is longer than its type")) }
}

/// Only version 1 exists.
pub fn first_version(version: u8) -> Result<(), DecodeError> {
    if version == 1 { Ok(()) } else { Err(DecodeError("a row of an unknown version")) }
}
