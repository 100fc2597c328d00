//! A draft: a room as it will be once all that was put into it is committed. Pure reading, nothing is written.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
};

use bytes::Bytes;
use ruma::{EventId, OwnedEventId};

use super::{
    Env,
    indexes::Indexes,
    redaction::{Redacted, Released},
    relations::{MissingDraft, RelationChange, ThreadDraft},
    room::{Room, StatePart, Tip},
    wide::Taken,
};
use crate::{
    base::clock::UnixMillis,
    event::{Pdu, Rules},
    graph::{
        SendError,
        event_row::{LocalEcho, StoredEvent},
        head::Head,
        log::StateChange,
        read::StoredNodes,
        rows::StateKey,
        state::{self, Difference},
        types::{Root, Seq, Slot, Status},
    },
    store::{ReadError, View},
};

/// How far an event's own depth may lie above those of its previous events before it is cut.
const DEPTH_LEAP: u64 = 1 << 20;
/// The largest depth of the first event of a room that is here: far from [`LARGEST_DEPTH`], so that more can follow.
const DEEPEST_BEGINNING: u64 = 1 << 40;
/// Events that are looked at for extremities that a new event has behind it.
const MOST_BEHIND: usize = 500;
/// Entries of the current state that a draft changes and remembers.
const MOST_REMEMBERED: usize = 1_000;
/// The largest integer of canonical JSON, and so the largest depth.
const LARGEST_DEPTH: u64 = (1 << 53) - 1;

/// An event that was put into a draft.
#[derive(Debug)]
pub(super) struct Drafted {
    pub(super) seq: Seq,
    pub(super) pdu: Pdu,
    pub(super) body: StoredEvent,
    pub(super) status: Status,
    pub(super) root_before: Root,
    pub(super) depth: u64,
    /// For a state event: its auth events.
    pub(super) auth: Option<Vec<Seq>>,
    pub(super) redacted_by: Option<Seq>,
    /// What it was before it was redacted in this draft.
    pub(super) original: Option<Bytes>,
    pub(super) local_echo: Option<LocalEcho>,
    pub(super) relay: bool,
    /// It has a place in the graph: all but outliers have, and those that were rejected as such.
    pub(super) in_graph: bool,
    /// What it redacts of what is known here, if it may.
    pub(super) redacts: Option<Seq>,
    /// It was fetched from further back: it has its place in the graph's order, and none in that of arrival.
    pub(super) is_old: bool,
    /// How it is delivered, if it is.
    pub(super) delivery: Option<Delivered>,
}

/// How an event is delivered.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) max_depth: u64,
    pub(super) root_after: Root,
    pub(super) change: Option<StateChange>,
}

/// What goes into a draft.
pub(super) struct Placing {
    pub(super) pdu: Pdu,
    /// The number that it has already, as an outlier.
    pub(super) seq: Option<Seq>,
    pub(super) status: Status,
    /// It has a place in the graph: what is before it is known.
    pub(super) in_graph: bool,
    pub(super) root_before: Root,
    /// Of its previous events, our ordering copies.
    pub(super) prev_depth: u64,
    pub(super) auth: Vec<Seq>,
    pub(super) local_echo: Option<LocalEcho>,
    pub(super) relay: bool,
    /// Previous events that are not here.
    pub(super) missing: Vec<OwnedEventId>,
    /// It was fetched from further back: the depth that it must stay below, that of the events which cite it.
    pub(super) old: Option<u64>,
}

pub(super) struct Draft<'a, 'v> {
    pub(super) env: &'a Env,
    pub(super) view: &'a View<'v>,
    pub(super) room: &'a Room,
    pub(super) now: UnixMillis,
    pub(super) head: Head,
    pub(super) tips: Vec<Tip>,
    pub(super) events: Vec<Drafted>,
    pub(super) by_id: HashMap<OwnedEventId, usize>,
    pub(super) nodes: state::Draft,
    pub(super) new_slots: BTreeMap<StateKey, Slot>,
    /// Forks that were resolved, by the hash of their states.
    pub(super) resolved: BTreeMap<[u8; 16], Root>,
    pub(super) redacted: BTreeMap<Seq, Redacted>,
    pub(super) indexes: Indexes,
    pub(super) relation_changes: Vec<RelationChange>,
    pub(super) threads: BTreeMap<Seq, ThreadDraft>,
    /// Events that are cited and not here.
    pub(super) missing: Vec<MissingDraft>,
    /// Those that were, and are here now.
    pub(super) found: Vec<MissingDraft>,
    /// Holes in history, by depth and number of the event behind them: what is missing of it.
    pub(super) gaps: BTreeMap<(u64, Seq), Vec<String>>,
    /// Redactions that waited for their target.
    pub(super) released: Vec<Released>,
    /// Of the current state, as the draft changes it.
    pub(super) changed: StatePart,
    /// Of the current state, as it was read.
    pub(super) learned: RefCell<StatePart>,
    /// So much of the current state has changed that its members are looked up and not remembered.
    pub(super) is_sweeping: bool,
    /// What was taken out of it to be written ahead, as far as its own rows must know.
    pub(super) taken: Option<Taken>,
}

impl<'a, 'v> Draft<'a, 'v> {
    pub(super) fn new(env: &'a Env, view: &'a View<'v>, room: &'a Room) -> Self {
        Self {
            env,
            view,
            room,
            now: env.clock.now(),
            head: room.head.clone(),
            tips: room.tips.clone(),
            events: Vec::new(),
            by_id: HashMap::new(),
            nodes: state::Draft::default(),
            new_slots: BTreeMap::new(),
            resolved: BTreeMap::new(),
            redacted: BTreeMap::new(),
            indexes: Indexes::default(),
            relation_changes: Vec::new(),
            threads: BTreeMap::new(),
            missing: Vec::new(),
            found: Vec::new(),
            gaps: BTreeMap::new(),
            released: Vec::new(),
            changed: StatePart::default(),
            learned: RefCell::default(),
            is_sweeping: false,
            taken: None,
        }
    }

    pub(super) fn rules(&self) -> &'static Rules {
        self.room.rules
    }

    /// What was read and changed of the current state.
    pub(super) fn into_state(self) -> (Head, Vec<Tip>, StatePart) {
        let mut state = self.learned.into_inner();
        state.absorb(self.changed);
        if self.is_sweeping {
            state.forget("m.room.member");
        }
        (self.head, self.tips, state)
    }

    pub(super) fn stored_nodes(&self) -> StoredNodes<'_, 'v> {
        self.env.reader.nodes(self.view, self.room.no)
    }

    /// A state with one entry set.
    pub(super) fn with_entry(&mut self, root: Root, kind: &str, state_key: &str, seq: Seq) -> Result<Root, ReadError> {
        let slot = self.slot_or_new(StateKey::new(kind, state_key))?;
        let stored = self.env.reader.nodes(self.view, self.room.no);
        state::set(&stored, &mut self.nodes, &self.room.hasher, root, [(slot, Some(seq))])
    }

    /// The slot of a type and key; it gets one if it never was in a state.
    pub(super) fn slot_or_new(&mut self, key: StateKey) -> Result<Slot, ReadError> {
        if let Some(slot) = self.slot(&key)? {
            return Ok(slot);
        }
        let slot = self.head.next_slot;
        self.head.next_slot = Slot(slot.0 + 1);
        self.new_slots.insert(key, slot);
        Ok(slot)
    }

    /// [`Draft::slot_or_new`] for many, in their order: one wave.
    pub(super) fn slots_or_new(&mut self, keys: Vec<StateKey>) -> Result<Vec<Slot>, ReadError> {
        let stored = self.env.reader.slots(self.view, self.room.no, &keys)?;
        keys.into_iter().zip(stored).map(|(key, stored)| stored.map_or_else(|| self.slot_or_new(key), Ok)).collect()
    }

    /// Puts an event into the draft: its number, its depth, the state after it. Says the number and that state.
    pub(super) fn place(&mut self, placing: Placing) -> Result<(Seq, Root), ReadError> {
        let Placing { pdu, seq, status, in_graph, root_before, prev_depth, auth, local_echo, relay, missing, old } =
            placing;
        let seq = match seq {
            Some(seq) => seq,
            None => {
                let seq = self.head.next_seq;
                self.head.next_seq = Seq(seq.0 + 1);
                seq
            }
        };
        let depth = self.depth(pdu.depth(), prev_depth, (missing.is_empty(), old));
        let root_after = match pdu.state_key() {
            Some(state_key) if status.counts_in_state() => self.with_entry(root_before, pdu.kind(), state_key, seq)?,
            _ => root_before,
        };
        self.open_gap(depth, seq, missing);
        self.by_id.insert(pdu.event_id().to_owned(), self.events.len());
        self.events.push(Drafted {
            seq,
            body: StoredEvent::of(&pdu),
            status,
            root_before,
            depth,
            auth: pdu.state_key().is_some().then_some(auth),
            redacted_by: None,
            original: None,
            local_echo,
            relay,
            in_graph,
            redacts: None,
            is_old: old.is_some(),
            delivery: None,
            pdu,
        });
        Ok((seq, root_after))
    }

    /// The depth by which an event is ordered: what it says, but behind its previous events, not far beyond what is known, and
    /// before those that cite it.
    fn depth(&self, claimed: u64, prev_depth: u64, (is_whole, old): (bool, Option<u64>)) -> u64 {
        let lowest = prev_depth.saturating_add(1);
        let highest = match self.head.max_depth {
            _ if is_whole => prev_depth.saturating_add(DEPTH_LEAP),
            // The room begins here, in the middle of its history.
            0 => DEEPEST_BEGINNING,
            max_depth => prev_depth.max(max_depth).saturating_add(DEPTH_LEAP),
        };
        let highest = old.map_or(highest, |below| highest.min(below.saturating_sub(1)));
        claimed.clamp(lowest, highest.max(lowest)).min(LARGEST_DEPTH)
    }

    /// Makes an accepted event (the last that was placed) a forward extremity in the place of those that are before it. If
    /// `root_after` is `None` it is none itself: it came after events that cite it.
    pub(super) fn extend(&mut self, seq: Seq, root_after: Option<Root>) -> Result<(), SendError> {
        let Some(drafted) = self.events.last() else { return Ok(()) };
        let (pdu, depth) = (drafted.pdu.clone(), drafted.depth);
        let behind = self.behind(&pdu)?;
        self.tips.retain(|tip| !behind.contains(&*tip.event_id));
        if root_after.is_some() {
            self.tips.push(Tip { root_after, ..Tip::new(seq, &pdu, depth, self.rules())? });
        }
        self.head.extremities = self.tips.iter().map(|tip| tip.seq).collect();
        self.head.extremities.sort_unstable();
        self.head.max_depth = self.head.max_depth.max(depth);
        Ok(())
    }

    /// What comes before an event as far as extremities may be among it: its previous events, and those that are before
    /// such of them as never became extremities in their place.
    fn behind(&self, pdu: &Pdu) -> Result<HashSet<OwnedEventId>, ReadError> {
        let mut behind: HashSet<OwnedEventId> = pdu.prev_events().iter().cloned().collect();
        let mut open = pdu.prev_events().to_vec();
        let has_others = |behind: &HashSet<OwnedEventId>| {
            self.tips.iter().any(|tip| !behind.contains::<EventId>(&tip.event_id)) && behind.len() < MOST_BEHIND
        };
        while !open.is_empty() && has_others(&behind) {
            let found: Vec<Seq> = self.locate(&open)?.into_iter().flatten().map(|at| at.seq).collect();
            open.clear();
            for (known, status) in self.known_many(&found)? {
                if matches!(status, Status::SoftFailed | Status::Rejected) {
                    let prev = known.pdu.prev_events().iter().cloned();
                    open.extend(prev.filter(|id| behind.insert(id.clone())));
                }
            }
        }
        Ok(behind)
    }

    /// Makes `root` the current state, with all that follows from it, and says what it changes and to which events.
    pub(super) fn advance(&mut self, root: Root) -> Result<Vec<(StateChange, Option<Seq>)>, ReadError> {
        let differences = state::differences(&self.nodes.over(&self.stored_nodes()), self.head.root, root)?;
        let slots: Vec<Slot> = differences.iter().map(|difference| difference.slot).collect();
        if slots.len() > MOST_REMEMBERED {
            return self.sweep_on(root, &differences);
        }
        let keys = self.slot_names(&slots)?;
        self.learn(&keys)?;
        let seqs: Vec<Seq> = differences.iter().filter_map(|difference| difference.new).collect();
        let mut known = self.known_many(&seqs)?.into_iter();
        let mut changes = Vec::with_capacity(differences.len());
        for (difference, key) in differences.into_iter().zip(keys) {
            let new = difference.new.and_then(|_| known.next()).map(|(known, _)| known);
            if key.kind == "m.room.member" {
                let old = self.current(&key.kind, &key.state_key)?;
                self.member_changed(&key.state_key, old.as_ref(), new.as_ref(), root)?;
            }
            self.changed.put(&key.kind, &key.state_key, new);
            let change = StateChange { slot: difference.slot, key, replaces: difference.old };
            changes.push((change, difference.new));
        }
        self.head.root = root;
        Ok(changes)
    }

    /// [`Draft::advance`] where very much changes: a part after the other, and members are not remembered. Says only which
    /// changes are to events of this draft.
    fn sweep_on(
        &mut self,
        root: Root,
        differences: &[Difference],
    ) -> Result<Vec<(StateChange, Option<Seq>)>, ReadError> {
        self.is_sweeping = true;
        self.changed.forget("m.room.member");
        let mut changes = Vec::new();
        for part in differences.chunks(MOST_REMEMBERED) {
            let slots: Vec<Slot> = part.iter().map(|difference| difference.slot).collect();
            let (old, new): (Vec<_>, Vec<_>) = part.iter().map(|difference| (difference.old, difference.new)).unzip();
            let seqs = |seqs: &[Option<Seq>]| seqs.iter().flatten().copied().collect::<Vec<Seq>>();
            let mut was = self.known_many(&seqs(&old))?.into_iter().map(|(known, _)| known);
            let mut becomes = self.known_many(&seqs(&new))?.into_iter().map(|(known, _)| known);
            for (difference, key) in part.iter().zip(self.slot_names(&slots)?) {
                let old = difference.old.and_then(|_| was.next());
                let new = difference.new.and_then(|_| becomes.next());
                if key.kind == "m.room.member" {
                    self.member_changed(&key.state_key, old.as_ref(), new.as_ref(), root)?;
                } else {
                    self.changed.put(&key.kind, &key.state_key, new);
                }
                if difference.new.is_some_and(|seq| self.drafted(seq).is_some()) {
                    let change = StateChange { slot: difference.slot, key, replaces: difference.old };
                    changes.push((change, difference.new));
                }
            }
        }
        self.head.root = root;
        Ok(changes)
    }

    /// Delivers the last event that was placed, and does what an accepted event does beside: relations, redaction.
    pub(super) fn deliver(&mut self, seq: Seq, changes: Vec<(StateChange, Option<Seq>)>) -> Result<(), ReadError> {
        let root_after = self.head.root;
        let max_depth = self.head.max_depth;
        // In a fork others may have changed by it, too, and of a state event it may be that another one holds.
        let change = changes.into_iter().find(|(_, new)| *new == Some(seq)).map(|(change, _)| change);
        if let Some(event) = self.events.last_mut() {
            event.delivery = Some(Delivered { max_depth, root_after, change });
        }
        self.relate(seq)
    }
}
