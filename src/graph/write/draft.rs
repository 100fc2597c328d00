//! A draft: a room as it will be once all that was put into it is committed. Pure reading, nothing is written.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use bytes::Bytes;
use ruma::OwnedEventId;

use super::{
    Env,
    indexes::Indexes,
    redaction::{Redacted, Released},
    relations::{MissingDraft, RelationChange, ThreadDraft},
    room::{Room, StatePart, Tip},
};
use crate::{
    base::clock::UnixMillis,
    event::{Pdu, Rules},
    graph::{
        SendError,
        event_row::{LocalEcho, StoredEvent},
        head::Head,
        keys::SLOT_NAME,
        log::StateChange,
        read::StoredNodes,
        rows::StateKey,
        state,
        types::{Root, Seq, Slot, Status},
    },
    store::{DecodeError, ReadError, View},
};

/// How far an event's own depth may lie above those of its previous events before it is cut.
const DEPTH_LEAP: u64 = 1 << 20;
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
    /// It stands in the graph (all but outliers).
    pub(super) in_graph: bool,
    /// What it redacts of what is known here, if it may.
    pub(super) redacts: Option<Seq>,
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
    pub(super) root_before: Root,
    /// Of its previous events, our ordering copies.
    pub(super) prev_depth: u64,
    pub(super) auth: Vec<Seq>,
    pub(super) local_echo: Option<LocalEcho>,
    pub(super) relay: bool,
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
    pub(super) redacted: BTreeMap<Seq, Redacted>,
    pub(super) indexes: Indexes,
    pub(super) relation_changes: Vec<RelationChange>,
    pub(super) threads: BTreeMap<Seq, ThreadDraft>,
    /// Events that are cited and not here.
    pub(super) missing: Vec<MissingDraft>,
    /// Those that were, and are here now.
    pub(super) found: Vec<MissingDraft>,
    /// Redactions that waited for their target.
    pub(super) released: Vec<Released>,
    /// Of the current state, as the draft changes it.
    pub(super) changed: StatePart,
    /// Of the current state, as it was read.
    pub(super) learned: RefCell<StatePart>,
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
            redacted: BTreeMap::new(),
            indexes: Indexes::default(),
            relation_changes: Vec::new(),
            threads: BTreeMap::new(),
            missing: Vec::new(),
            found: Vec::new(),
            released: Vec::new(),
            changed: StatePart::default(),
            learned: RefCell::default(),
        }
    }

    pub(super) fn rules(&self) -> &'static Rules {
        self.room.rules
    }

    /// What was read and changed of the current state.
    pub(super) fn into_state(self) -> (Head, Vec<Tip>, StatePart) {
        let mut state = self.learned.into_inner();
        state.absorb(self.changed);
        (self.head, self.tips, state)
    }

    pub(super) fn stored_nodes(&self) -> StoredNodes<'_, 'v> {
        StoredNodes { reader: &self.env.reader, view: self.view, room: self.room.no }
    }

    /// A state with one entry set.
    pub(super) fn with_entry(&mut self, root: Root, kind: &str, state_key: &str, seq: Seq) -> Result<Root, ReadError> {
        let key = StateKey::new(kind, state_key);
        let slot = match self.slot(&key)? {
            Some(slot) => slot,
            None => {
                let slot = self.head.next_slot;
                self.head.next_slot = Slot(slot.0 + 1);
                self.new_slots.insert(key, slot);
                slot
            }
        };
        let stored = StoredNodes { reader: &self.env.reader, view: self.view, room: self.room.no };
        state::set(&stored, &mut self.nodes, &self.room.hasher, root, [(slot, Some(seq))])
    }

    /// Puts an event into the draft: its number, its depth, the state after it. Says the number and that state.
    pub(super) fn place(&mut self, placing: Placing) -> Result<(Seq, Root), ReadError> {
        let Placing { pdu, seq, status, root_before, prev_depth, auth, local_echo, relay } = placing;
        let seq = match seq {
            Some(seq) => seq,
            None => {
                let seq = self.head.next_seq;
                self.head.next_seq = Seq(seq.0 + 1);
                seq
            }
        };
        let (lowest, highest) = (prev_depth.saturating_add(1), prev_depth.saturating_add(DEPTH_LEAP));
        let depth = pdu.depth().clamp(lowest, highest).min(LARGEST_DEPTH);
        let root_after = match pdu.state_key() {
            Some(state_key) if status.counts_in_state() => self.with_entry(root_before, pdu.kind(), state_key, seq)?,
            _ => root_before,
        };
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
            in_graph: status != Status::Outlier,
            redacts: None,
            delivery: None,
            pdu,
        });
        Ok((seq, root_after))
    }

    /// Makes an accepted event (the last that was placed) a forward extremity in the place of its previous events.
    pub(super) fn extend(&mut self, seq: Seq) -> Result<(), SendError> {
        let Some(drafted) = self.events.last() else { return Ok(()) };
        let tip = Tip::new(seq, &drafted.pdu, drafted.depth, self.rules())?;
        let cited = drafted.pdu.prev_events();
        self.tips.retain(|tip| !cited.contains(&tip.event_id));
        self.tips.push(tip);
        self.head.extremities = self.tips.iter().map(|tip| tip.seq).collect();
        self.head.extremities.sort_unstable();
        self.head.max_depth = self.head.max_depth.max(drafted.depth);
        Ok(())
    }

    /// Makes `root` the current state, with all that follows from it, and says what it changes.
    pub(super) fn advance(&mut self, root: Root) -> Result<Vec<StateChange>, ReadError> {
        let differences = state::differences(&self.nodes.over(&self.stored_nodes()), self.head.root, root)?;
        let mut changes = Vec::with_capacity(differences.len());
        for difference in differences {
            let key = self.slot_name(difference.slot)?;
            let new = difference.new.map(|seq| self.known(seq)).transpose()?;
            if key.kind == "m.room.member" {
                let old = self.current(&key.kind, &key.state_key)?;
                self.member_changed(&key.state_key, old.as_ref(), new.as_ref(), root)?;
            }
            self.changed.put(&key.kind, &key.state_key, new);
            changes.push(StateChange { slot: difference.slot, key, replaces: difference.old });
        }
        self.head.root = root;
        Ok(changes)
    }

    fn slot_name(&self, slot: Slot) -> Result<StateKey, ReadError> {
        if let Some((key, _)) = self.new_slots.iter().find(|(_, new)| **new == slot) {
            return Ok(key.clone());
        }
        let why = DecodeError("a slot of a state has no name");
        self.view.get(&SLOT_NAME, &(self.room.no, slot))?.ok_or(ReadError::Corrupt { keyspace: "slot_name", why })
    }

    /// Delivers the last event that was placed, and does what an accepted event does beside: relations, redaction.
    pub(super) fn deliver(&mut self, seq: Seq, changes: Vec<StateChange>) -> Result<(), ReadError> {
        let root_after = self.head.root;
        let max_depth = self.head.max_depth;
        let change = self.events.last().and_then(|event| {
            let state_key = event.pdu.state_key()?;
            changes.into_iter().find(|change| change.key.kind == event.pdu.kind() && change.key.state_key == state_key)
        });
        if let Some(event) = self.events.last_mut() {
            event.delivery = Some(Delivered { max_depth, root_after, change });
        }
        self.relate(seq)
    }
}
