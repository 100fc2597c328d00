//! States of a room: current, at a position, and what lies between two.

use std::sync::Arc;

use super::{Event, Reader};
use crate::{
    graph::{
        keys::{HEAD, NODE, ROOM_ROOT, SLOT, SLOT_NAME, bounded},
        rows::StateKey,
        state::{self, Node, Nodes},
        types::{RoomNo, Root, Seq, Slot},
    },
    store::{DecodeError, Position, ReadError, View},
};

/// The stored nodes of a room, through the cache.
pub(in crate::graph) struct StoredNodes<'a, 'v> {
    pub(in crate::graph) reader: &'a Reader,
    pub(in crate::graph) view: &'a View<'v>,
    pub(in crate::graph) room: RoomNo,
}

impl Nodes for StoredNodes<'_, '_> {
    type Error = ReadError;

    fn load(&self, names: &[Root]) -> Result<Vec<Arc<Node>>, ReadError> {
        let (room, cache) = (self.room, self.reader.cache());
        let cached: Vec<_> = names.iter().map(|name| cache.node(room, *name)).collect();
        let lacking: Vec<Root> =
            names.iter().zip(&cached).filter(|(_, node)| node.is_none()).map(|(name, _)| *name).collect();
        let stored = if lacking.is_empty() {
            Vec::new()
        } else {
            self.view.multi_get(&NODE, lacking.iter().map(|name| (room, *name)))?
        };
        let mut stored = lacking.iter().zip(stored);
        let mut nodes = Vec::with_capacity(names.len());
        for node in cached {
            if let Some(node) = node {
                nodes.push(node);
            } else if let Some((name, Some(node))) = stored.next() {
                let node = Arc::new(node);
                cache.keep_node(room, *name, &node);
                nodes.push(node);
            } else {
                return Err(ReadError::Corrupt {
                    keyspace: "node",
                    why: DecodeError("a node of a state is not there"),
                });
            }
        }
        Ok(nodes)
    }
}

/// A `(type, state_key)` that is different in two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Type and key.
    pub key: StateKey,
    /// The event in the first state.
    pub old: Option<Seq>,
    /// The event in the second.
    pub new: Option<Seq>,
}

impl Reader {
    /// The nodes of a room.
    pub(in crate::graph) fn nodes<'a, 'v>(&'a self, view: &'a View<'v>, room: RoomNo) -> StoredNodes<'a, 'v> {
        StoredNodes { reader: self, view, room }
    }

    /// The current state of a room; empty for an unknown one.
    pub fn root(&self, view: &View<'_>, room: RoomNo) -> Result<Root, ReadError> {
        Ok(view.get(&HEAD, &(room,))?.map_or(Root::EMPTY, |head| head.root))
    }

    /// What was the current state once everything up to `position` was in; empty before the room was known.
    pub fn root_at(&self, view: &View<'_>, room: RoomNo, position: Position) -> Result<Root, ReadError> {
        Ok(self.roots_at(view, &[(room, position)])?.pop().unwrap_or_default())
    }

    /// [`Reader::root_at`] for many rooms, in their order: one wave.
    pub fn roots_at(&self, view: &View<'_>, wanted: &[(RoomNo, Position)]) -> Result<Vec<Root>, ReadError> {
        let spans: Vec<_> = wanted
            .iter()
            .map(|(room, position)| ROOM_ROOT.span(&(*room,)).through(&(*room, *position)).reversed())
            .collect();
        let pages = view.multi_scan(&spans, 1)?;
        Ok(pages.into_iter().map(|page| page.rows.first().map_or(Root::EMPTY, |(_, root)| *root)).collect())
    }

    /// The last change of the current state of each of these rooms, in their order: at which commit, and to which state.
    /// One wave.
    pub fn last_roots(&self, view: &View<'_>, rooms: &[RoomNo]) -> Result<Vec<Option<(Position, Root)>>, ReadError> {
        let spans: Vec<_> = rooms.iter().map(|room| ROOM_ROOT.span(&(*room,)).reversed()).collect();
        let pages = view.multi_scan(&spans, 1)?.into_iter();
        Ok(pages.map(|page| page.rows.first().map(|((_, position), root)| (*position, *root))).collect())
    }

    /// Every change of the current state in `(after, through]`, oldest first: at which commit, and to which state.
    pub fn roots_between(
        &self,
        view: &View<'_>,
        room: RoomNo,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Root)>, ReadError> {
        let span = ROOM_ROOT.span(&(room,)).after(&(room, after)).through(&(room, through));
        Ok(view.scan(&span, limit)?.rows.into_iter().map(|((_, position), root)| (position, root)).collect())
    }

    /// The slots of these types and keys, in their order; `None` for what never was in a state. One wave.
    pub fn slots(&self, view: &View<'_>, room: RoomNo, keys: &[StateKey]) -> Result<Vec<Option<Slot>>, ReadError> {
        let mut found: Vec<_> = keys.iter().map(|key| self.cache.slot(room, &key.kind, &key.state_key)).collect();
        let lacking: Vec<usize> =
            found.iter().enumerate().filter(|(_, slot)| slot.is_none()).map(|(index, _)| index).collect();
        if lacking.is_empty() {
            return Ok(found);
        }
        let wanted = lacking.iter().filter_map(|index| keys.get(*index));
        let stored = view.multi_get(
            &SLOT,
            wanted.map(|key| (room, bounded(&key.kind).into_owned(), bounded(&key.state_key).into_owned())),
        )?;
        for (index, slot) in lacking.into_iter().zip(stored) {
            if let (Some(slot), Some(key), Some(place)) = (slot, keys.get(index), found.get_mut(index)) {
                self.cache.keep_slot(room, &key.kind, &key.state_key, slot);
                *place = Some(slot);
            }
        }
        Ok(found)
    }

    /// The events that stand at these types and keys in a state, in their order: one wave for the slots, one a level.
    pub fn state_seqs(
        &self,
        view: &View<'_>,
        room: RoomNo,
        root: Root,
        keys: &[StateKey],
    ) -> Result<Vec<Option<Seq>>, ReadError> {
        let slots = self.slots(view, room, keys)?;
        let known: Vec<Slot> = slots.iter().flatten().copied().collect();
        let mut seqs = state::get_many(&self.nodes(view, room), root, &known)?.into_iter();
        Ok(slots.into_iter().map(|slot| slot.and_then(|_| seqs.next().flatten())).collect())
    }

    /// The event of this type and key in a state.
    pub fn state_event(
        &self,
        view: &View<'_>,
        room: RoomNo,
        root: Root,
        kind: &str,
        state_key: &str,
    ) -> Result<Option<Event>, ReadError> {
        Ok(self.state_events(view, room, root, &[StateKey::new(kind, state_key)])?.pop().flatten())
    }

    /// The events of these types and keys in a state, in their order.
    pub fn state_events(
        &self,
        view: &View<'_>,
        room: RoomNo,
        root: Root,
        keys: &[StateKey],
    ) -> Result<Vec<Option<Event>>, ReadError> {
        let seqs = self.state_seqs(view, room, root, keys)?;
        let known: Vec<_> = seqs.iter().flatten().map(|seq| (room, *seq)).collect();
        let mut events = self.events(view, &known)?.into_iter();
        Ok(seqs.into_iter().map(|seq| seq.and_then(|_| events.next().flatten())).collect())
    }

    /// All entries of a state, in the order of their slots.
    pub fn state(&self, view: &View<'_>, room: RoomNo, root: Root) -> Result<Vec<(Slot, Seq)>, ReadError> {
        state::entries(&self.nodes(view, room), root)
    }

    /// All entries of one type in a state, in the order of their keys: for types that have few.
    pub fn state_of_type(&self, view: &View<'_>, room: RoomNo, root: Root, kind: &str) -> Result<Vec<Seq>, ReadError> {
        const PAGE: usize = 1_000;
        let mut slots = Vec::new();
        let whole = SLOT.span(&(room, &*bounded(kind)));
        let mut span = whole.clone();
        loop {
            let page = view.scan(&span, PAGE)?;
            let last = page.rows.last().map(|(key, _)| key.clone());
            slots.extend(page.rows.into_iter().map(|(_, slot)| slot));
            match last {
                Some(last) if page.more => span = whole.clone().after(&last),
                _ => break,
            }
        }
        Ok(state::get_many(&self.nodes(view, room), root, &slots)?.into_iter().flatten().collect())
    }

    /// All entries of a state but those of one type, in the order of their keys: for the type of which there are many.
    pub fn state_but_type(
        &self,
        view: &View<'_>,
        room: RoomNo,
        root: Root,
        kind: &str,
    ) -> Result<Vec<(StateKey, Seq)>, ReadError> {
        let (all, kind) = (SLOT.span(&(room,)), &*bounded(kind));
        let spans = [all.clone().before(&(room, kind)), all.after(&(room, kind))];
        let pages = view.multi_scan(&spans, usize::MAX)?;
        let (keys, slots): (Vec<_>, Vec<_>) = pages
            .into_iter()
            .flat_map(|page| page.rows)
            .map(|((_, kind, state_key), slot)| (StateKey::new(kind, state_key), slot))
            .unzip();
        let found = state::get_many(&self.nodes(view, room), root, &slots)?;
        Ok(keys.into_iter().zip(found).filter_map(|(key, seq)| Some((key, seq?))).collect())
    }

    /// Where two states differ: one wave a level, one for the names.
    pub fn changes(&self, view: &View<'_>, room: RoomNo, old: Root, new: Root) -> Result<Vec<Changed>, ReadError> {
        let differences = state::differences(&self.nodes(view, room), old, new)?;
        let names = view.multi_get(&SLOT_NAME, differences.iter().map(|difference| (room, difference.slot)))?;
        differences
            .into_iter()
            .zip(names)
            .map(|(difference, key)| {
                let why = DecodeError("a slot of a state has no name");
                let key = key.ok_or(ReadError::Corrupt { keyspace: "slot_name", why })?;
                Ok(Changed { key, old: difference.old, new: difference.new })
            })
            .collect()
    }
}
