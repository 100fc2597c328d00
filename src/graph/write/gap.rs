//! Holes in history: events some of whose previous events are not here, so that another server said what the state was.

use ruma::{EventId, OwnedEventId};

use super::{draft::Draft, relations::MissingDraft};
use crate::{
    graph::{
        keys::GAP,
        types::{Root, Seq, Status},
    },
    store::ReadError,
};

impl Draft<'_, '_> {
    /// Notes that these previous events of an event are missing.
    pub(super) fn open_gap(&mut self, depth: u64, seq: Seq, missing: Vec<OwnedEventId>) {
        if missing.is_empty() {
            return;
        }
        self.gaps.insert((depth, seq), missing.iter().map(ToString::to_string).collect());
        self.missing.extend(missing.into_iter().map(|event_id| MissingDraft { event_id, citing: seq }));
    }

    /// The least depth of the events that have an event before them; [`u64::MAX`] if there are none.
    pub(super) fn depth_of_citing(&self, event_id: &EventId) -> Result<u64, ReadError> {
        let drafted = self.missing.iter().filter(|missing| missing.event_id == event_id).map(|missing| missing.citing);
        let mut waiting: Vec<Seq> = drafted.collect();
        waiting.extend(self.waiting(event_id)?);
        let mut least = u64::MAX;
        for (known, _) in self.known_many(&waiting)? {
            if known.pdu.prev_events().iter().any(|prev| prev == event_id) {
                least = least.min(self.meta(known.seq)?.depth);
            }
        }
        Ok(least)
    }

    /// The state after an event that is not here, or has no place: where an event of the graph cites it alone, that is the state
    /// before that one. So what branched off just before our own join is judged by the state that we joined with.
    pub(super) fn root_after_absent(&self, event_id: &EventId) -> Result<Option<Root>, ReadError> {
        let drafted = self.missing.iter().filter(|missing| missing.event_id == event_id).map(|missing| missing.citing);
        let mut waiting: Vec<Seq> = drafted.collect();
        waiting.extend(self.waiting(event_id)?);
        waiting.sort_unstable();
        for (known, status) in self.known_many(&waiting)? {
            if known.pdu.prev_events() == [event_id] && status.counts_in_state() {
                return Ok(Some(self.meta(known.seq)?.root_before));
            }
        }
        Ok(None)
    }

    /// An event that gets its place fills the gaps that it left. Says whether an event of the graph has it before it.
    pub(super) fn arrive(&mut self, event_id: &EventId) -> Result<bool, ReadError> {
        let drafted = self.missing.iter().filter(|missing| missing.event_id == event_id).map(|missing| missing.citing);
        let mut waiting: Vec<Seq> = drafted.collect();
        waiting.extend(self.waiting(event_id)?);
        let mut is_cited = false;
        for (known, status) in self.known_many(&waiting)? {
            if !known.pdu.prev_events().iter().any(|prev| prev == event_id) {
                continue;
            }
            let seq = known.seq;
            is_cited |= matches!(status, Status::Accepted | Status::Held);
            let at = (self.meta(seq)?.depth, seq);
            let missing = match self.gaps.remove(&at) {
                Some(missing) => missing,
                None => self.view.get(&GAP, &(self.room.no, at.0, seq))?.map(|gap| gap.missing).unwrap_or_default(),
            };
            self.gaps.insert(at, missing.into_iter().filter(|id| id != event_id.as_str()).collect());
            self.missing.retain(|missing| missing.citing != seq || missing.event_id != event_id);
            self.found.push(MissingDraft { event_id: event_id.to_owned(), citing: seq });
        }
        Ok(is_cited)
    }
}
