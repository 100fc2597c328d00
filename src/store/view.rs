//! Reading: one snapshot, typed.

use std::cell::Cell;

use thiserror::Error;

use super::{
    batch::Claims,
    codec::{DecodeError, Key, KeyOf},
    engine::{EngineError, RawRange, Snapshot},
    keyspace::{Family, Keyspace, Span},
    position::Position,
    value::{Value, from_bytes},
};

/// Why a read has no answer. Absence is not an error.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The engine could not read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Stored bytes do not decode.
    #[error("damaged row in `{keyspace}`: {why}")]
    Corrupt {
        /// Of which keyspace.
        keyspace: &'static str,
        /// What is wrong with them.
        why: DecodeError,
    },
}

/// One snapshot of the store and the horizon up to which it may be believed.
pub struct View<'a> {
    pub(super) snapshot: &'a dyn Snapshot,
    pub(super) horizon: Position,
    /// Set when the engine did not have an answer in memory, whatever the reader makes of that.
    pub(super) missed: Option<&'a Cell<bool>>,
}

/// A bounded part of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<K, V> {
    /// In the order of the span.
    pub rows: Vec<(K, V)>,
    /// The span has more rows than were asked for.
    pub more: bool,
}

impl<K, V> Page<K, V> {
    fn empty() -> Self {
        Self { rows: Vec::new(), more: false }
    }
}

impl View<'_> {
    /// Every row that was committed at or below this position is in the view. Rows above may be in it too: whoever
    /// reads by position stops here.
    pub fn horizon(&self) -> Position {
        self.horizon
    }

    /// The value of a key.
    pub fn get<K: Key, V: Value>(
        &self,
        keyspace: &Keyspace<K, V>,
        key: &impl KeyOf<K>,
    ) -> Result<Option<V>, ReadError> {
        self.snapshot.wave();
        self.get_in_wave(keyspace, key)
    }

    fn get_in_wave<K: Key, V: Value>(
        &self,
        keyspace: &Keyspace<K, V>,
        key: &impl KeyOf<K>,
    ) -> Result<Option<V>, ReadError> {
        let info = keyspace.info();
        let mut value = None;
        self.raw_get(info.family, &keyspace.key_bytes(key), &mut |bytes| value = Some(from_bytes(bytes)))?;
        value.transpose().map_err(|why| ReadError::Corrupt { keyspace: info.name, why })
    }

    /// Whether a key has a value.
    pub fn has<K: Key, V: Value>(&self, keyspace: &Keyspace<K, V>, key: &impl KeyOf<K>) -> Result<bool, ReadError> {
        self.snapshot.wave();
        self.raw_get(keyspace.info().family, &keyspace.key_bytes(key), &mut |_| ())
    }

    /// The values of many keys, in their order: one wave.
    pub fn multi_get<K: Key, V: Value, Q: KeyOf<K>>(
        &self,
        keyspace: &Keyspace<K, V>,
        keys: impl IntoIterator<Item = Q>,
    ) -> Result<Vec<Option<V>>, ReadError> {
        let mut keys = keys.into_iter().peekable();
        if keys.peek().is_some() {
            self.snapshot.wave();
        }
        keys.map(|key| self.get_in_wave(keyspace, &key)).collect()
    }

    /// The first `limit` rows of a span.
    pub fn scan<K: Key, V: Value>(&self, span: &Span<K, V>, limit: usize) -> Result<Page<K, V>, ReadError> {
        let pages = self.multi_scan(std::slice::from_ref(span), limit)?;
        Ok(pages.into_iter().next().unwrap_or_else(Page::empty))
    }

    /// The first `limit` rows of each of many spans: one wave.
    pub fn multi_scan<K: Key, V: Value>(
        &self,
        spans: &[Span<K, V>],
        limit: usize,
    ) -> Result<Vec<Page<K, V>>, ReadError> {
        let Some(info) = spans.first().map(|span| span.info) else { return Ok(Vec::new()) };
        self.snapshot.wave();
        let ranges: Vec<_> = spans
            .iter()
            .map(|Span { info, start, end, reversed, .. }| RawRange {
                family: info.family,
                start,
                end,
                reversed: *reversed,
            })
            .collect();
        let mut pages: Vec<_> = spans.iter().map(|_| Page::empty()).collect();
        let mut failure = None;
        let scanned = self.snapshot.scan_many(&ranges, &mut |which, key, value| {
            let Some(page) = pages.get_mut(which).filter(|_| failure.is_none()) else { return false };
            if page.rows.len() >= limit {
                page.more = true;
                return false;
            }
            match Keyspace::<K, V>::decode_key(key).and_then(|key| Ok((key, from_bytes(value)?))) {
                Ok(row) => page.rows.push(row),
                Err(why) => failure = Some(why),
            }
            failure.is_none()
        });
        self.noted(scanned)?;
        match failure {
            Some(why) => Err(ReadError::Corrupt { keyspace: info.name, why }),
            None => Ok(pages),
        }
    }

    /// Whether all of these assertions hold in this view: one wave. The commit asks again.
    pub fn holds(&self, claims: &Claims) -> Result<bool, ReadError> {
        if !claims.0.is_empty() {
            self.snapshot.wave();
        }
        for claim in &claims.0 {
            let mut holds = claim.holds(None);
            self.raw_get(claim.family, &claim.key, &mut |found| holds = claim.holds(Some(found)))?;
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn raw_get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, ReadError> {
        self.noted(self.snapshot.get(family, key, read))
    }

    /// Notes that the engine had no answer in memory: the reader may swallow the error, but must run again all the same.
    fn noted<T>(&self, read: Result<T, EngineError>) -> Result<T, ReadError> {
        if let (Err(EngineError::Incomplete), Some(missed)) = (&read, self.missed) {
            missed.set(true);
        }
        Ok(read?)
    }

    /// The first row of a span.
    pub fn first<K: Key, V: Value>(&self, span: &Span<K, V>) -> Result<Option<(K, V)>, ReadError> {
        Ok(self.scan(span, 1)?.rows.pop())
    }
}
