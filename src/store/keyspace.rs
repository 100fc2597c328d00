//! Keyspaces: what a key and a value are, said once.

use std::{fmt, marker::PhantomData};

use super::{
    codec::{DecodeError, Key, PrefixOf},
    value::{Value, from_bytes},
};

/// The physical part of the store that a keyspace lives in; keyspaces that are written and read alike share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Small and mutable: heads, tokens, metadata.
    Hot,
    /// Event bodies, compressed.
    Event,
    /// State trees and what belongs to them.
    State,
    /// Ways to find things.
    Index,
    /// Ordered by position, read from the end, truncated from the front.
    Log,
    /// Waits to be taken away.
    Inbox,
}

impl Family {
    /// All families, in the order of their definition.
    pub const ALL: [Self; 6] = [Self::Hot, Self::Event, Self::State, Self::Index, Self::Log, Self::Inbox];

    /// The name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Event => "event",
            Self::State => "state",
            Self::Index => "index",
            Self::Log => "log",
            Self::Inbox => "inbox",
        }
    }
}

/// What a keyspace is, without its types: for the catalogue, the checks and the engines.
#[derive(Clone, Copy, Debug)]
pub struct KeyspaceInfo {
    /// Its family.
    pub family: Family,
    /// The first byte of each of its keys; unique in the family.
    pub prefix: u8,
    /// Its name in the catalogue.
    pub name: &'static str,
    /// One line: key → value, and when it is written.
    pub doc: &'static str,
    /// Values may exceed 100 kB (they are stored in pieces), up to 4 MB.
    pub large: bool,
    /// Tries whether a stored key and value are what the keyspace says.
    pub decode: fn(key: &[u8], value: &[u8]) -> Result<(), DecodeError>,
}

/// A typed part of the store. Declared in exactly one `keys.rs` and used nowhere outside that module.
pub struct Keyspace<K, V> {
    info: KeyspaceInfo,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Value> Keyspace<K, V> {
    /// A keyspace whose values are at most 100 kB.
    pub const fn new(family: Family, prefix: u8, name: &'static str, doc: &'static str) -> Self {
        Self {
            info: KeyspaceInfo { family, prefix, name, doc, large: false, decode: Self::decode_row },
            types: PhantomData,
        }
    }

    /// A keyspace whose values may be up to 4 MB.
    pub const fn large(family: Family, prefix: u8, name: &'static str, doc: &'static str) -> Self {
        Self {
            info: KeyspaceInfo { family, prefix, name, doc, large: true, decode: Self::decode_row },
            types: PhantomData,
        }
    }

    /// What it is, without its types.
    pub const fn info(&self) -> KeyspaceInfo {
        self.info
    }

    /// The stored form of a key, or of the first parts of one.
    pub fn key_bytes(&self, key: &impl PrefixOf<K>) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.push(self.info.prefix);
        key.encode(&mut out);
        out
    }

    /// All keys that begin with `prefix`; narrow it with the methods of [`Span`].
    pub fn span(&self, prefix: &impl PrefixOf<K>) -> Span<K, V> {
        let start = self.key_bytes(prefix);
        let end = successor(start.clone());
        Span { info: self.info, start, end, reversed: false, types: PhantomData }
    }

    /// Reads a stored key.
    pub(super) fn decode_key(bytes: &[u8]) -> Result<K, DecodeError> {
        K::decode(bytes.get(1..).unwrap_or_default())
    }

    fn decode_row(key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        Self::decode_key(key)?;
        from_bytes::<V>(value).map(drop)
    }
}

impl<K, V> fmt::Debug for Keyspace<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyspace({})", self.info.name)
    }
}

/// A range of keys of one keyspace, in key order or against it.
#[derive(Clone)]
pub struct Span<K, V> {
    pub(super) info: KeyspaceInfo,
    /// Inclusive.
    pub(super) start: Vec<u8>,
    /// Exclusive; empty means "to the end of the family".
    pub(super) end: Vec<u8>,
    pub(super) reversed: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V> Span<K, V> {
    /// Only keys at or behind `key` (or the first key that begins with it).
    #[must_use]
    pub fn from(mut self, key: &impl PrefixOf<K>) -> Self {
        let start = self.encoded(key);
        self.raise_start(start);
        self
    }

    /// Only keys behind every key that begins with `key`.
    #[must_use]
    pub fn after(mut self, key: &impl PrefixOf<K>) -> Self {
        let start = successor(self.encoded(key));
        self.raise_start(start);
        self
    }

    /// Only keys up to the last key that begins with `key`, that one included.
    #[must_use]
    pub fn through(mut self, key: &impl PrefixOf<K>) -> Self {
        let end = successor(self.encoded(key));
        self.lower_end(end);
        self
    }

    /// Only keys before `key`.
    #[must_use]
    pub fn before(mut self, key: &impl PrefixOf<K>) -> Self {
        let end = self.encoded(key);
        self.lower_end(end);
        self
    }

    /// Last key first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reversed = !self.reversed;
        self
    }

    fn encoded(&self, key: &impl PrefixOf<K>) -> Vec<u8> {
        let mut out = vec![self.info.prefix];
        key.encode(&mut out);
        out
    }

    fn raise_start(&mut self, start: Vec<u8>) {
        if start > self.start {
            self.start = start;
        }
    }

    fn lower_end(&mut self, end: Vec<u8>) {
        if !end.is_empty() && (self.end.is_empty() || end < self.end) {
            self.end = end;
        }
    }
}

/// The first byte string behind all that begin with `prefix`; empty when there is none.
fn successor(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return prefix;
        }
    }
    prefix
}

#[cfg(test)]
mod tests;
