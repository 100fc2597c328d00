//! Relations among events: `m.relates_to` (client-server API, "Forming relationships between events").

use ruma::{EventId, OwnedEventId};
use serde::Deserialize;

use super::draft::Draft;
use crate::{
    graph::{
        Reader, RoomNo,
        keys::{MISSING, bounded, relation_hash},
        types::{Seq, Tie},
    },
    store::{ReadError, View},
};

/// The type of relation that makes a thread.
const THREAD: &str = "m.thread";

/// What an event says it relates to.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) rel_type: String,
    pub(super) event_id: OwnedEventId,
}

impl Relation {
    /// Reads it from an event's content; what is odd is no relation.
    pub(super) fn of(content: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: Relation,
        }
        // Most events have none, and are not parsed for it.
        let needle = b"m.relates_to";
        content.windows(needle.len()).any(|window| window == needle).then_some(())?;
        serde_json::from_slice::<Content>(content).ok().map(|content| content.relates_to)
    }

    fn is_thread(&self) -> bool {
        self.rel_type == THREAD
    }
}

/// A change to the rows of relations.
#[derive(Debug)]
pub(super) enum RelationChange {
    /// An event of this draft (its seq) relates to a target.
    Added { target: Seq, hash: [u8; 8], seq: Seq },
    /// A relation ends.
    Removed { target: Seq, hash: [u8; 8], tie: Tie },
    /// A stored event turned out to relate to a target that came later.
    Found { target: Seq, hash: [u8; 8], tie: Tie, seq: Seq },
}

/// How a draft changes what is known of a thread.
#[derive(Debug, Default)]
pub(super) struct ThreadDraft {
    /// The row that is stored.
    pub(super) stored: Option<Tie>,
    /// Its last event, if that is in this draft.
    pub(super) last: Option<Seq>,
    /// Its last event otherwise; `None` if it has none.
    pub(super) last_stored: Option<Tie>,
}

/// Citations of events that are not here.
#[derive(Debug)]
pub(super) struct MissingDraft {
    pub(super) event_id: OwnedEventId,
    pub(super) citing: Seq,
}

impl Draft<'_, '_> {
    /// Takes the relation of the last event that was placed into the indexes.
    pub(super) fn relate(&mut self, seq: Seq) -> Result<(), ReadError> {
        let Some(event) = self.drafted(seq) else { return Ok(()) };
        let Some(relation) = Relation::of(event.body.content()) else { return Ok(()) };
        match self.locate(&[&relation.event_id])?.pop().flatten() {
            Some(at) if at.room == self.room.no && at.seq != seq => {
                let hash = relation_hash(&relation.rel_type);
                self.relation_changes.push(RelationChange::Added { target: at.seq, hash, seq });
                if relation.is_thread() {
                    let is_old = self.drafted(seq).is_some_and(|event| event.is_old);
                    let thread = self.thread(at.seq)?;
                    // One of further back is the last only of a thread of which nothing else is here; of several such, the
                    // one that came first ranks highest.
                    if !is_old {
                        thread.last = Some(seq);
                    } else if thread.stored.is_none() {
                        thread.last = thread.last.or(Some(seq));
                    }
                }
            }
            Some(_) => {}
            None => self.missing.push(MissingDraft { event_id: relation.event_id, citing: seq }),
        }
        Ok(())
    }

    /// An event loses its content, and with it its relation.
    pub(super) fn unrelate(&mut self, seq: Seq, content: &[u8], tie: Option<Tie>) -> Result<(), ReadError> {
        let Some(relation) = Relation::of(content) else { return Ok(()) };
        let Some(at) = self.locate(&[&relation.event_id])?.pop().flatten() else { return Ok(()) };
        let hash = relation_hash(&relation.rel_type);
        match tie {
            Some(tie) => self.relation_changes.push(RelationChange::Removed { target: at.seq, hash, tie }),
            None => self
                .relation_changes
                .retain(|change| !matches!(change, RelationChange::Added { seq: added, .. } if *added == seq)),
        }
        if relation.is_thread() && at.room == self.room.no {
            self.rewind_thread(at.seq)?;
        }
        Ok(())
    }

    /// Events that wait for this one because they relate to it.
    pub(super) fn waiting(&self, event_id: &EventId) -> Result<Vec<Seq>, ReadError> {
        /// More are not looked at: nobody honest waits in such numbers.
        const MOST: usize = 1_000;
        let span = MISSING.span(&(self.room.no, &*bounded(event_id.as_str())));
        Ok(self.view.scan(&span, MOST)?.rows.into_iter().map(|((_, _, citing), ())| citing).collect())
    }

    /// Events of this draft that wait for this one; they wait no more.
    pub(super) fn waiting_in_draft(&mut self, event_id: &EventId) -> Vec<Seq> {
        self.missing.extract_if(.., |missing| missing.event_id == event_id).map(|missing| missing.citing).collect()
    }

    /// A stored event turns out to relate to one that arrives only now.
    pub(super) fn relate_late(
        &mut self,
        citing: Seq,
        (target, target_id): (Seq, &EventId),
        content: &[u8],
        tie: Tie,
    ) -> Result<(), ReadError> {
        let Some(relation) = Relation::of(content).filter(|relation| relation.event_id == target_id) else {
            return Ok(());
        };
        let hash = relation_hash(&relation.rel_type);
        self.relation_changes.push(RelationChange::Found { target, hash, tie, seq: citing });
        if relation.is_thread() {
            let thread = self.thread(target)?;
            thread.last_stored = thread.last_stored.max(Some(tie));
        }
        Ok(())
    }

    fn thread(&mut self, root: Seq) -> Result<&mut ThreadDraft, ReadError> {
        if !self.threads.contains_key(&root) {
            let stored = last_of_thread(&self.env.reader, self.view, self.room.no, root, &[])?;
            self.threads.insert(root, ThreadDraft { stored, last: None, last_stored: stored });
        }
        Ok(self.threads.entry(root).or_default())
    }

    /// The last event of a thread is what is left of it.
    fn rewind_thread(&mut self, root: Seq) -> Result<(), ReadError> {
        let hash = relation_hash(THREAD);
        let (mut last, mut gone) = (None, Vec::new());
        for change in &self.relation_changes {
            match change {
                RelationChange::Added { target, hash: of, seq } if *target == root && *of == hash => last = Some(*seq),
                RelationChange::Removed { target, hash: of, tie } if *target == root && *of == hash => gone.push(*tie),
                _ => {}
            }
        }
        let last_stored = last_of_thread(&self.env.reader, self.view, self.room.no, root, &gone)?;
        let thread = self.thread(root)?;
        (thread.last, thread.last_stored) = (last, last_stored);
        Ok(())
    }
}

/// The last stored event of a thread, but for those that go.
fn last_of_thread(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    root: Seq,
    gone: &[Tie],
) -> Result<Option<Tie>, ReadError> {
    let pages = reader.relations_to(view, &[(room, root)], THREAD, gone.len() + 1)?;
    let mut rows = pages.into_iter().flat_map(|page| page.rows);
    Ok(rows.find(|(tie, _)| !gone.contains(tie)).map(|(tie, _)| tie))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_relations_are_none() {
        let read = |json: &str| Relation::of(json.as_bytes()).map(|relation| relation.rel_type);
        let good = r#"{"m.relates_to":{"event_id":"$a","rel_type":"m.thread","is_falling_back":true}}"#;
        assert_eq!(read(good).as_deref(), Some("m.thread"));
        for odd in [
            "{}",
            r#"{"body":"m.relates_to"}"#,
            r#"{"m.relates_to":7}"#,
            r#"{"m.relates_to":{"m.in_reply_to":{"event_id":"$a"}}}"#,
            r#"{"m.relates_to":{"event_id":"a","rel_type":"m.thread"}}"#,
            r#"{"m.relates_to":{"event_id":["$a"],"rel_type":"m.thread"}}"#,
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
