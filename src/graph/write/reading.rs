//! What a draft reads: of itself first, then of the store.

use std::cell::RefCell;

use ruma::EventId;

use super::{
    draft::{Draft, Drafted},
    room::{Known, lost, parsed},
};
use crate::{
    event::{Pdu, auth},
    graph::{
        SendError,
        event_row::EventMeta,
        rows::{EventAt, StateKey},
        state,
        types::{Root, Seq, Slot, Tie},
    },
    store::ReadError,
};

impl Draft<'_, '_> {
    /// An event of the draft.
    pub(super) fn drafted(&self, seq: Seq) -> Option<&Drafted> {
        self.events.iter().rev().find(|event| event.seq == seq)
    }

    /// A stored or drafted event of this room, parsed.
    pub(super) fn known(&self, seq: Seq) -> Result<Known, ReadError> {
        if let Some(drafted) = self.drafted(seq) {
            return Ok(Known { seq, pdu: drafted.pdu.clone() });
        }
        if let Some(redacted) = self.redacted.get(&seq) {
            return Ok(Known { seq, pdu: parsed(redacted.body.clone(), self.rules())? });
        }
        let event = self.env.reader.event(self.view, self.room.no, seq)?.ok_or(lost("a state's event is not there"))?;
        Ok(Known { seq, pdu: parsed(event.body, self.rules())? })
    }

    /// What became of an event.
    pub(super) fn meta(&self, seq: Seq) -> Result<EventMeta, ReadError> {
        if let Some(drafted) = self.drafted(seq) {
            return Ok(EventMeta {
                status: drafted.status,
                root_before: drafted.root_before,
                depth: drafted.depth,
                tie: Tie::default(),
                redacted_by: drafted.redacted_by,
                local_echo: drafted.local_echo.clone(),
                relay: drafted.relay,
                partial: false,
            });
        }
        self.env.reader.meta(self.view, self.room.no, seq)?.ok_or(lost("an event has no meta"))
    }

    /// Whether what comes before an event is known, so that there is a state after it.
    pub(super) fn has_place(&self, seq: Seq, meta: &EventMeta) -> bool {
        self.drafted(seq).map_or(meta.tie != Tie::default(), |drafted| drafted.in_graph)
    }

    /// Where events of any room are; those of the draft included.
    pub(super) fn locate(&self, ids: &[impl AsRef<EventId>]) -> Result<Vec<Option<EventAt>>, ReadError> {
        let stored = self.env.reader.locate_many(self.view, ids)?;
        let drafted = |id: &EventId| {
            let event = self.events.get(*self.by_id.get(id)?)?;
            Some(EventAt { room: self.room.no, seq: event.seq })
        };
        Ok(ids.iter().zip(stored).map(|(id, stored)| drafted(id.as_ref()).or(stored)).collect())
    }

    /// The event that stands at a type and key in the current state of the draft.
    pub(super) fn current(&self, kind: &str, state_key: &str) -> Result<Option<Known>, ReadError> {
        if self.is_sweeping && kind == "m.room.member" {
            return self.looked_up(self.head.root, kind, state_key);
        }
        if let Some(known) = self.changed.get(kind, state_key).or_else(|| self.room.state.get(kind, state_key)) {
            return Ok(known.clone());
        }
        if let Some(known) = self.learned.borrow().get(kind, state_key) {
            return Ok(known.clone());
        }
        self.learn(&[StateKey::new(kind, state_key)])?;
        Ok(self.learned.borrow().get(kind, state_key).cloned().flatten())
    }

    /// Reads entries of the current state in one wave, before they are asked for one by one.
    pub(super) fn learn(&self, keys: &[StateKey]) -> Result<(), ReadError> {
        let mut learned = self.learned.borrow_mut();
        let lacking: Vec<StateKey> = keys
            .iter()
            .filter(|key| {
                let (kind, state_key) = (key.kind.as_str(), key.state_key.as_str());
                self.room.state.get(kind, state_key).is_none() && learned.get(kind, state_key).is_none()
            })
            .cloned()
            .collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let (reader, no) = (&self.env.reader, self.room.no);
        let seqs = reader.state_seqs(self.view, no, self.room.head.root, &lacking)?;
        let wanted: Vec<_> = seqs.iter().flatten().map(|seq| (no, *seq)).collect();
        let mut events = reader.events(self.view, &wanted)?.into_iter();
        for (key, seq) in lacking.iter().zip(seqs) {
            let known = match seq {
                None => None,
                Some(seq) => {
                    let event = events.next().flatten().ok_or(lost("a state's event is not there"))?;
                    Some(Known { seq, pdu: parsed(event.body, self.rules())? })
                }
            };
            learned.put(&key.kind, &key.state_key, known);
        }
        Ok(())
    }

    /// The event that stands at a type and key in any state of the room.
    pub(super) fn at(&self, root: Root, kind: &str, state_key: &str) -> Result<Option<Known>, ReadError> {
        if root == self.head.root {
            return self.current(kind, state_key);
        }
        self.looked_up(root, kind, state_key)
    }

    fn looked_up(&self, root: Root, kind: &str, state_key: &str) -> Result<Option<Known>, ReadError> {
        let Some(slot) = self.slot(&StateKey::new(kind, state_key))? else { return Ok(None) };
        let seq = state::get(&self.nodes.over(&self.stored_nodes()), root, slot)?;
        seq.map(|seq| self.known(seq)).transpose()
    }

    /// Checks the rules that need a state, in this one.
    pub(super) fn check_at(&self, pdu: &Pdu, root: Root) -> Result<(), SendError> {
        let failure = RefCell::new(None);
        let verdict = auth::check(pdu, self.rules(), |kind, state_key| match self.at(root, kind, state_key) {
            Ok(known) => known.map(|known| known.pdu),
            Err(error) => {
                *failure.borrow_mut() = Some(error);
                None
            }
        });
        match failure.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(verdict?),
        }
    }

    pub(super) fn slot(&self, key: &StateKey) -> Result<Option<Slot>, ReadError> {
        if let Some(slot) = self.new_slots.get(key) {
            return Ok(Some(*slot));
        }
        Ok(self.env.reader.slots(self.view, self.room.no, std::slice::from_ref(key))?.pop().flatten())
    }

    /// The state after an event that has a place in the graph.
    pub(super) fn root_after(&mut self, seq: Seq, meta: &EventMeta) -> Result<Root, ReadError> {
        if !meta.status.counts_in_state() {
            return Ok(meta.root_before);
        }
        let known = self.known(seq)?;
        let Some(state_key) = known.pdu.state_key() else { return Ok(meta.root_before) };
        self.with_entry(meta.root_before, known.pdu.kind(), state_key, seq)
    }
}
