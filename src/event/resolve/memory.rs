//! What a resolution has learnt of the room so far.

use std::collections::{BTreeSet, HashMap};

use super::{Conflict, Entry, ResolveError, Room, Seq};
use crate::event::pdu::Pdu;

/// Asks the room in waves, and for nothing twice.
pub(super) struct Memory<'r, R> {
    room: &'r R,
    events: HashMap<Seq, Pdu>,
    agreed: HashMap<Entry, Option<Seq>>,
}

impl<'r, R: Room> Memory<'r, R> {
    pub(super) fn new(room: &'r R, conflicts: &[Conflict]) -> Self {
        // On what is in conflict nobody agrees.
        let agreed = conflicts.iter().map(|conflict| (conflict.entry.clone(), None)).collect();
        Self { room, events: HashMap::new(), agreed }
    }

    /// Loads these events, as far as they are not here.
    pub(super) fn load(&mut self, seqs: impl IntoIterator<Item = Seq>) -> Result<(), ResolveError<R::Error>> {
        let mut wanted: Vec<Seq> = seqs.into_iter().filter(|seq| !self.has(*seq)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.room.events(&wanted)?;
        if let Some(missing) = wanted.get(found.len()) {
            return Err(ResolveError::NoEvent(*missing));
        }
        for (seq, pdu) in wanted.into_iter().zip(found) {
            if pdu.state_key().is_none() {
                return Err(ResolveError::NoStateEvent(seq));
            }
            self.events.insert(seq, pdu);
        }
        Ok(())
    }

    /// Whether an event was loaded.
    pub(super) fn has(&self, seq: Seq) -> bool {
        self.events.contains_key(&seq)
    }

    /// An event that was loaded.
    pub(super) fn event(&self, seq: Seq) -> Result<&Pdu, ResolveError<R::Error>> {
        self.events.get(&seq).ok_or(ResolveError::NoEvent(seq))
    }

    /// Learns what the states agree upon at these entries, and loads it.
    pub(super) fn load_agreed(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<(), ResolveError<R::Error>> {
        let found = self.learn_agreed(entries)?;
        self.load(found)
    }

    /// Learns what the states agree upon at these entries. Gives what was not known yet.
    pub(super) fn learn_agreed(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Vec<Seq>, ResolveError<R::Error>> {
        let wanted: BTreeSet<Entry> = entries.into_iter().filter(|entry| !self.agreed.contains_key(entry)).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<Entry> = wanted.into_iter().collect();
        let found = self.room.agreed(&wanted)?;
        let new = found.iter().flatten().copied().collect();
        self.agreed.extend(wanted.into_iter().zip(found));
        Ok(new)
    }

    /// What all states agree upon at an entry that was asked about; `None` if it is in conflict, or in no state.
    pub(super) fn agreed(&self, entry: &Entry) -> Option<Seq> {
        self.agreed.get(entry).copied().flatten()
    }
}
