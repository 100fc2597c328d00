//! The one state that several make together: what resolution makes of a fork (room versions, "State resolution").
//!
//! Asked for are the entries at which the states differ, and what these are judged by. The result becomes a state like any
//! other, and is remembered by the names of the states that it was made of, so that nothing is resolved twice.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    draft::Draft,
    room::{Known, lost, parsed},
};
use crate::{
    event::{
        Pdu,
        resolve::{self, AuthGraph, Decision, Entry, ResolveError, Room as _},
    },
    graph::{
        keys::{RESOLVED, SLOT_NAME},
        rows::StateKey,
        state,
        types::{Root, Seq, Slot, Status},
    },
    store::{DecodeError, ReadError},
};

impl Draft<'_, '_> {
    /// The state that these make together: they are one, or it was resolved before, or it is resolved now.
    pub(super) fn joined(&mut self, roots: &BTreeSet<Root>) -> Result<Root, ReadError> {
        let mut each = roots.iter().copied();
        match (each.next(), each.next()) {
            (None, _) => return Ok(Root::EMPTY),
            (Some(root), None) => return Ok(root),
            _ => {}
        }
        let roots: Vec<Root> = roots.iter().copied().collect();
        let name = self.room.hasher.name_of_all(&roots);
        if let Some(root) = self.resolved.get(&name) {
            return Ok(*root);
        }
        if let Some(root) = self.view.get(&RESOLVED, &(self.room.no, name))? {
            return Ok(root);
        }
        let root = self.resolve(&roots)?;
        self.resolved.insert(name, root);
        Ok(root)
    }

    /// The current state: what the states after all extremities make together.
    pub(super) fn after_tips(&mut self) -> Result<Root, ReadError> {
        let roots = self.roots_after_tips(0)?;
        self.joined(&roots)
    }

    /// The states after the extremities, but for the first few.
    pub(super) fn roots_after_tips(&mut self, skip: usize) -> Result<BTreeSet<Root>, ReadError> {
        let mut roots = BTreeSet::new();
        for index in skip..self.tips.len() {
            let Some(tip) = self.tips.get(index) else { continue };
            let root = match (tip.root_after, tip.seq) {
                (Some(root), _) => root,
                (None, seq) => {
                    let meta = self.meta(seq)?;
                    self.root_after(seq, &meta)?
                }
            };
            if let Some(tip) = self.tips.get_mut(index) {
                tip.root_after = Some(root);
            }
            roots.insert(root);
        }
        Ok(roots)
    }

    fn resolve(&mut self, roots: &[Root]) -> Result<Root, ReadError> {
        let Some(base) = roots.first().copied() else { return Ok(Root::EMPTY) };
        let differing = state::conflicts(&self.nodes.over(&self.stored_nodes()), roots)?;
        let slots: Vec<Slot> = differing.iter().map(|conflict| conflict.slot).collect();
        let names = self.slot_names(&slots)?;
        let conflicts: Vec<resolve::Conflict> = names
            .into_iter()
            .zip(differing)
            .map(|(key, conflict)| resolve::Conflict {
                entry: (key.kind, key.state_key),
                seqs: conflict.seqs.into_iter().map(|seq| seq.map(|seq| seq.0)).collect(),
            })
            .collect();
        let mut fork = Fork { draft: self, base, differing: slots.into_iter().collect(), wanted: Vec::new() };
        let decisions = match resolve::resolve(&fork, self.rules(), &conflicts) {
            Err(ResolveError::NotInAuthGraph(_)) => {
                // Of a large room only a part is kept: now all that these states need.
                fork.wanted = fork.all_agreed()?;
                fork.wanted.extend(conflicts.iter().flat_map(|conflict| conflict.seqs.iter().flatten()));
                resolve::resolve(&fork, self.rules(), &conflicts)
            }
            resolved => resolved,
        };
        let decisions = decisions.map_err(unresolved)?;
        let mut changes = Vec::with_capacity(decisions.len());
        for Decision { entry: (kind, state_key), seq } in decisions {
            changes.push((self.slot_or_new(StateKey { kind, state_key })?, seq.map(Seq)));
        }
        let stored = self.env.reader.nodes(self.view, self.room.no);
        state::set(&stored, &mut self.nodes, &self.room.hasher, base, changes)
    }

    /// The types and keys of these slots, in their order: one wave.
    pub(super) fn slot_names(&self, slots: &[Slot]) -> Result<Vec<StateKey>, ReadError> {
        let stored = self.view.multi_get(&SLOT_NAME, slots.iter().map(|slot| (self.room.no, *slot)))?;
        let new: HashMap<Slot, &StateKey> = if stored.iter().all(Option::is_some) {
            HashMap::new()
        } else {
            self.new_slots.iter().map(|(key, slot)| (*slot, key)).collect()
        };
        let drafted = |slot: &Slot| new.get(slot).map(|key| (*key).clone());
        let why = DecodeError("a slot of a state has no name");
        let named = |(slot, stored): (&Slot, Option<StateKey>)| {
            stored.or_else(|| drafted(slot)).ok_or(ReadError::Corrupt { keyspace: "slot_name", why })
        };
        slots.iter().zip(stored).map(named).collect()
    }

    /// Stored or drafted events of this room, parsed, and what became of them, in their order.
    pub(super) fn known_many(&self, seqs: &[Seq]) -> Result<Vec<(Known, Status)>, ReadError> {
        let lacking: Vec<_> =
            seqs.iter().filter(|seq| self.drafted(**seq).is_none()).map(|seq| (self.room.no, *seq)).collect();
        let mut stored = self.env.reader.events(self.view, &lacking)?.into_iter();
        let mut found = Vec::with_capacity(seqs.len());
        for &seq in seqs {
            if let Some(drafted) = self.drafted(seq) {
                found.push((Known { seq, pdu: drafted.pdu.clone() }, drafted.status));
                continue;
            }
            let event = stored.next().flatten().ok_or(lost("an event that is cited is not there"))?;
            found.push((Known { seq, pdu: parsed(event.body, self.rules())? }, event.meta.status));
        }
        Ok(found)
    }
}

fn unresolved(error: ResolveError<ReadError>) -> ReadError {
    let why = match error {
        ResolveError::Room(error) => return error,
        ResolveError::NoEvent(_) => "an event of a state is not there",
        ResolveError::NotInAuthGraph(_) => "an event of a state is not in the auth graph",
        ResolveError::NoStateEvent(_) => "an event that is no state event is in a state",
        ResolveError::Uneven => "states do not fit together",
    };
    ReadError::Corrupt { keyspace: "auth", why: DecodeError(why) }
}

/// States that differ, as resolution asks about them.
struct Fork<'d, 'a, 'v> {
    draft: &'d Draft<'a, 'v>,
    /// One of them.
    base: Root,
    /// Where they differ.
    differing: HashSet<Slot>,
    /// Events that must be in the auth graph, once it is known that one of them is not.
    wanted: Vec<u32>,
}

impl resolve::Room for Fork<'_, '_, '_> {
    type Error = ReadError;

    fn events(&self, seqs: &[u32]) -> Result<Vec<Pdu>, ReadError> {
        let seqs: Vec<Seq> = seqs.iter().copied().map(Seq).collect();
        let known = self.draft.known_many(&seqs)?.into_iter();
        let marked = |(known, status): (Known, Status)| {
            if status == Status::Rejected { known.pdu.rejected() } else { known.pdu }
        };
        Ok(known.map(marked).collect())
    }

    fn agreed(&self, entries: &[Entry]) -> Result<Vec<Option<u32>>, ReadError> {
        let draft = self.draft;
        let keys: Vec<StateKey> =
            entries.iter().map(|(kind, key)| StateKey::new(kind.as_str(), key.as_str())).collect();
        let stored = draft.env.reader.slots(draft.view, draft.room.no, &keys)?;
        let slots: Vec<Option<Slot>> =
            keys.iter().zip(stored).map(|(key, slot)| slot.or_else(|| draft.new_slots.get(key).copied())).collect();
        let known: Vec<Slot> = slots.iter().flatten().copied().collect();
        let mut seqs = state::get_many(&draft.nodes.over(&draft.stored_nodes()), self.base, &known)?.into_iter();
        Ok(slots.into_iter().map(|slot| slot.and_then(|_| seqs.next().flatten()).map(|seq| seq.0)).collect())
    }

    fn all_agreed(&self) -> Result<Vec<u32>, ReadError> {
        let draft = self.draft;
        let entries = state::entries(&draft.nodes.over(&draft.stored_nodes()), self.base)?;
        Ok(entries.into_iter().filter(|(slot, _)| !self.differing.contains(slot)).map(|(_, seq)| seq.0).collect())
    }

    fn auth_graph(&self) -> Result<Arc<AuthGraph>, ReadError> {
        self.draft.auth_graph(&self.wanted)
    }
}
