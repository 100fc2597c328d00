//! A batch: what one commit changes, and what must still hold when it does.

use std::{any::Any, fmt, sync::Arc};

use super::{
    codec::{Key, KeyOf, PrefixOf},
    keyspace::{Family, Keyspace, KeyspaceInfo, Span},
    position::Position,
    value::{Value, from_bytes, to_bytes},
};

/// Computes a row once its commit has a position.
type AtPosition = Box<dyn FnOnce(Position) -> (Vec<u8>, Vec<u8>) + Send>;

pub(super) enum Change {
    Put { info: KeyspaceInfo, key: Vec<u8>, value: Vec<u8> },
    PutAt { info: KeyspaceInfo, row: AtPosition },
    Delete { info: KeyspaceInfo, key: Vec<u8> },
    Clear { info: KeyspaceInfo, start: Vec<u8>, end: Vec<u8> },
}

#[derive(Clone)]
pub(super) struct Assertion {
    pub(super) family: Family,
    pub(super) key: Vec<u8>,
    /// `None`: the key must be absent.
    expected: Option<Vec<u8>>,
    /// What an older release wrote, as this one would.
    renew: fn(&[u8]) -> Option<Vec<u8>>,
}

impl Assertion {
    /// Whether it holds where this is stored. A value of an older version is what it reads as.
    pub(super) fn holds(&self, found: Option<&[u8]>) -> bool {
        match (&self.expected, found) {
            (Some(expected), Some(found)) => {
                **expected == *found
                    || (expected.first() != found.first() && (self.renew)(found).as_ref() == Some(expected))
            }
            (expected, found) => expected.is_none() && found.is_none(),
        }
    }
}

fn renew<V: Value>(stored: &[u8]) -> Option<Vec<u8>> {
    from_bytes::<V>(stored).ok().map(|value| to_bytes(&value))
}

/// Assertions of a batch, to be asked ahead of its commit, so that one guest's broken assertion spoils only that guest.
#[derive(Clone, Default)]
pub struct Claims(pub(super) Vec<Assertion>);

impl Claims {
    /// Nothing is asserted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both assert something of the same row: of two such guests only one can go with a commit.
    pub fn overlap(&self, other: &Self) -> bool {
        self.0.iter().any(|mine| other.0.iter().any(|other| mine.family == other.family && mine.key == other.key))
    }
}

/// What a durable commit tells those who wait; see [`super::Store::on_published`].
pub type Touch = Arc<dyn Any + Send + Sync>;

/// Changes and assertions that one commit carries: all or nothing.
#[derive(Default)]
pub struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) assertions: Vec<Assertion>,
    pub(super) touches: Vec<Box<dyn FnOnce(Position) -> Touch + Send>>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing would be written and nothing is asserted.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.assertions.is_empty() && self.touches.is_empty()
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Sets a key.
    pub fn put<K: Key, V: Value>(&mut self, keyspace: &Keyspace<K, V>, key: &impl KeyOf<K>, value: &V) {
        let change = Change::Put { info: keyspace.info(), key: keyspace.key_bytes(key), value: to_bytes(value) };
        self.changes.push(change);
    }

    /// Sets a row that depends on the position of its commit. A batch with one of these gets a position.
    pub fn put_at<K: Key + 'static, V: Value + 'static, Q: KeyOf<K>>(
        &mut self,
        keyspace: &Keyspace<K, V>,
        row: impl FnOnce(Position) -> (Q, V) + Send + 'static,
    ) {
        let info = keyspace.info();
        let row = move |position| {
            let (key, value) = row(position);
            let mut bytes = vec![info.prefix];
            key.encode(&mut bytes);
            (bytes, to_bytes(&value))
        };
        self.changes.push(Change::PutAt { info, row: Box::new(row) });
    }

    /// Removes a key, if it is there.
    pub fn delete<K: Key, V: Value>(&mut self, keyspace: &Keyspace<K, V>, key: &impl KeyOf<K>) {
        self.changes.push(Change::Delete { info: keyspace.info(), key: keyspace.key_bytes(key) });
    }

    /// Removes all rows of a span, 1,000 at the most (more is a job).
    pub fn clear<K: Key, V: Value>(&mut self, span: Span<K, V>) {
        self.changes.push(Change::Clear { info: span.info, start: span.start, end: span.end });
    }

    /// The commit fails with a conflict unless the key is absent.
    pub fn assert_absent<K: Key, V: Value>(&mut self, keyspace: &Keyspace<K, V>, key: &impl PrefixOf<K>) {
        let (family, key) = (keyspace.info().family, keyspace.key_bytes(key));
        self.assertions.push(Assertion { family, key, expected: None, renew: renew::<V> });
    }

    /// The commit fails with a conflict unless the key holds exactly this.
    pub fn assert_is<K: Key, V: Value>(&mut self, keyspace: &Keyspace<K, V>, key: &impl KeyOf<K>, value: &V) {
        let (family, key) = (keyspace.info().family, keyspace.key_bytes(key));
        self.assertions.push(Assertion { family, key, expected: Some(to_bytes(value)), renew: renew::<V> });
    }

    /// The commit fails with a conflict unless the key still is what was read.
    pub fn assert_still<K: Key, V: Value>(
        &mut self,
        keyspace: &Keyspace<K, V>,
        key: &impl KeyOf<K>,
        value: Option<&V>,
    ) {
        match value {
            Some(value) => self.assert_is(keyspace, key, value),
            None => self.assert_absent(keyspace, key),
        }
    }

    /// Tells the listeners of the store, once the commit is durable. A batch with one of these gets a position.
    pub fn touch<T: Any + Send + Sync>(&mut self, touch: impl FnOnce(Position) -> T + Send + 'static) {
        self.touches.push(Box::new(move |position| Arc::new(touch(position))));
    }

    /// How many assertions it holds.
    pub fn asserted(&self) -> usize {
        self.assertions.len()
    }

    /// The assertions behind the first `count`; see [`super::View::holds`].
    pub fn claims_after(&self, count: usize) -> Claims {
        Claims(self.assertions.iter().skip(count).cloned().collect())
    }

    /// Whether its commit is allotted a position.
    pub(super) fn wants_position(&self) -> bool {
        !self.touches.is_empty() || self.changes.iter().any(|change| matches!(change, Change::PutAt { .. }))
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} changes, {} assertions)", self.changes.len(), self.assertions.len())
    }
}
