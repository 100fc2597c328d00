//! What can't change, kept in memory: nodes, bodies and slots, in one cache bounded by bytes.
//!
//! A body does change once, by redaction; so whoever takes one from here has read its meta before and says whether it was
//! redacted there.

use std::{mem::size_of, sync::Arc};

use quick_cache::{Weighter, sync::Cache as QuickCache};

use super::{
    event_row::StoredEvent,
    state::Node,
    types::{RoomNo, Root, Seq, Slot},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Node(RoomNo, Root),
    Event(RoomNo, Seq),
    /// By the hash of type and state key.
    Slot(RoomNo, [u8; 16]),
}

#[derive(Clone, Debug)]
enum Cached {
    Node(Arc<Node>),
    Event { body: StoredEvent, redacted: bool },
    Slot(Slot),
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Cached> for Bytes {
    fn weight(&self, _: &Key, value: &Cached) -> u64 {
        let heap = match value {
            Cached::Node(node) => match &**node {
                Node::Leaf(seqs) => seqs.capacity() * 4,
                Node::Branch { children, .. } => children.capacity() * 16,
            },
            Cached::Event { body, .. } => body.pdu.len() + body.kind.len() + 256,
            Cached::Slot(_) => 0,
        };
        // What the map itself takes for an entry comes on top.
        u64::try_from(heap + size_of::<Key>() + size_of::<Cached>() + 32).unwrap_or(u64::MAX)
    }
}

/// The cache. Shared by all who read.
#[derive(Debug)]
pub struct Cache(QuickCache<Key, Cached, Bytes>);

impl Cache {
    /// A cache of about this many bytes.
    pub fn with_capacity(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 1_024).unwrap_or(usize::MAX);
        Self(QuickCache::with_weighter(items, bytes, Bytes))
    }

    /// Bytes in it, about.
    pub fn weight(&self) -> u64 {
        self.0.weight()
    }

    pub(super) fn node(&self, room: RoomNo, name: Root) -> Option<Arc<Node>> {
        match self.0.get(&Key::Node(room, name))? {
            Cached::Node(node) => Some(node),
            _ => None,
        }
    }

    pub(super) fn keep_node(&self, room: RoomNo, name: Root, node: &Arc<Node>) {
        self.0.insert(Key::Node(room, name), Cached::Node(Arc::clone(node)));
    }

    /// The body of an event whose meta says whether it was redacted.
    pub(super) fn event(&self, room: RoomNo, seq: Seq, redacted: bool) -> Option<StoredEvent> {
        match self.0.get(&Key::Event(room, seq))? {
            Cached::Event { body, redacted: was } if was == redacted => Some(body),
            _ => None,
        }
    }

    pub(super) fn keep_event(&self, room: RoomNo, seq: Seq, redacted: bool, body: &StoredEvent) {
        self.0.insert(Key::Event(room, seq), Cached::Event { body: body.clone(), redacted });
    }

    pub(super) fn slot(&self, room: RoomNo, kind: &str, state_key: &str) -> Option<Slot> {
        match self.0.get(&Key::Slot(room, name(kind, state_key)))? {
            Cached::Slot(slot) => Some(slot),
            _ => None,
        }
    }

    pub(super) fn keep_slot(&self, room: RoomNo, kind: &str, state_key: &str, slot: Slot) {
        self.0.insert(Key::Slot(room, name(kind, state_key)), Cached::Slot(slot));
    }
}

fn name(kind: &str, state_key: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&u64::try_from(kind.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(kind.as_bytes()).update(state_key.as_bytes());
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}
