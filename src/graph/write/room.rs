//! What a room's lane remembers between commits: the head, its tips, and the part of the current state that judges events.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use ruma::OwnedEventId;

use crate::{
    event::{Pdu, Rules, build::Citation, resolve::AuthGraph, version},
    graph::{
        Reader, SendError,
        head::Head,
        state::Hasher,
        types::{RoomNo, Root, Seq},
    },
    store::{DecodeError, ReadError, View},
};

/// A state event by its number, parsed.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) seq: Seq,
    pub(super) pdu: Pdu,
}

/// A part of one state: type → key → event (`None`: there is none).
#[derive(Clone, Debug, Default)]
pub(super) struct StatePart {
    known: HashMap<String, HashMap<String, Option<Known>>>,
    /// Types of which more has changed than is remembered: what older parts know of them holds no longer.
    forgotten: HashSet<String>,
}

/// Entries of the current state that a lane keeps.
const MOST_ENTRIES: usize = 512;

impl StatePart {
    /// What is known of an entry.
    pub(super) fn get(&self, kind: &str, state_key: &str) -> Option<&Option<Known>> {
        self.known.get(kind)?.get(state_key)
    }

    pub(super) fn put(&mut self, kind: &str, state_key: &str, known: Option<Known>) {
        match self.known.get_mut(kind) {
            Some(keys) => keys.insert(state_key.to_owned(), known),
            None => self.known.entry(kind.to_owned()).or_default().insert(state_key.to_owned(), known),
        };
    }

    /// Knows nothing more of a type, nor does whoever absorbs it.
    pub(super) fn forget(&mut self, kind: &str) {
        self.known.remove(kind);
        self.forgotten.insert(kind.to_owned());
    }

    /// Takes over what another part knows, which is younger.
    pub(super) fn absorb(&mut self, other: Self) {
        for kind in other.forgotten {
            self.forget(&kind);
        }
        for (kind, keys) in other.known {
            self.known.entry(kind).or_default().extend(keys);
        }
        // Members are many and cheap to find again; the rest is what every event is judged by.
        if self.known.values().map(HashMap::len).sum::<usize>() > MOST_ENTRIES {
            self.known.remove("m.room.member");
            if self.known.values().map(HashMap::len).sum::<usize>() > MOST_ENTRIES {
                self.known.clear();
            }
        }
    }
}

/// A forward extremity, as the next event cites it.
#[derive(Clone, Debug)]
pub(super) struct Tip {
    pub(super) seq: Seq,
    pub(super) event_id: OwnedEventId,
    /// Its depth, our ordering copy.
    pub(super) depth: u64,
    /// Its reference hash, in versions 1 and 2.
    pub(super) sha256: Option<String>,
    /// The state after it, once that was asked for.
    pub(super) root_after: Option<Root>,
}

impl Tip {
    pub(super) fn new(seq: Seq, pdu: &Pdu, depth: u64, rules: &Rules) -> Result<Self, SendError> {
        let citation = cite(pdu, rules)?;
        Ok(Self { seq, event_id: citation.event_id, depth, sha256: citation.sha256, root_after: None })
    }

    pub(super) fn citation(&self) -> Citation {
        Citation { event_id: self.event_id.clone(), sha256: self.sha256.clone() }
    }
}

/// An event as others cite it.
pub(super) fn cite(pdu: &Pdu, rules: &Rules) -> Result<Citation, SendError> {
    let sha256 = if version::has_event_ids(rules) {
        Some(pdu.reference_hash(rules).map_err(crate::event::BuildError::from)?)
    } else {
        None
    };
    Ok(Citation { event_id: pdu.event_id().to_owned(), sha256 })
}

/// A room between two commits.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) no: RoomNo,
    pub(super) rules: &'static Rules,
    pub(super) hasher: Hasher,
    pub(super) head: Head,
    pub(super) tips: Vec<Tip>,
    /// Of the current state.
    pub(super) state: StatePart,
    /// The auth graph, as far as a resolution has asked for it: whoever is in it, all of their auth chain is.
    pub(super) auth: Arc<Mutex<Arc<AuthGraph>>>,
}

impl Room {
    /// A room of which nothing is stored.
    pub(super) fn empty(no: RoomNo, head: Head) -> Result<Self, SendError> {
        let rules =
            version::rules(&head.room_version).ok_or_else(|| SendError::UnknownVersion(head.room_version.clone()))?;
        let hasher = Hasher::of(no);
        Ok(Self { no, rules, hasher, head, tips: Vec::new(), state: StatePart::default(), auth: Arc::default() })
    }

    /// Reads a room: one wave for the head, two for its tips.
    pub(super) fn load(reader: &Reader, view: &View<'_>, no: RoomNo) -> Result<Self, SendError> {
        let head = reader.head(view, no)?.ok_or(SendError::UnknownRoom)?;
        let mut room = Self::empty(no, head)?;
        let extremities: Vec<_> = room.head.extremities.iter().map(|seq| (no, *seq)).collect();
        for event in reader.events(view, &extremities)? {
            let event = event.ok_or(lost("an extremity is not there"))?;
            let (seq, depth) = (event.seq, event.meta.depth);
            room.tips.push(Tip::new(seq, &parsed(event.body, room.rules)?, depth, room.rules)?);
        }
        Ok(room)
    }
}

/// A stored event as a PDU.
pub(super) fn parsed(body: crate::graph::StoredEvent, rules: &Rules) -> Result<Pdu, ReadError> {
    Pdu::from_stored(body.event_id, body.pdu, rules).map_err(|_| lost("a stored event does not parse"))
}

/// A row of an event is not what the others say.
pub(super) fn lost(why: &'static str) -> ReadError {
    ReadError::Corrupt { keyspace: "event", why: DecodeError(why) }
}
