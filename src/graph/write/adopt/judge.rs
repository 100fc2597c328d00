//! Judging what another server says of a room, in memory: in which order the events can be stored, which of them their auth
//! events allow, and what state they make.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use ruma::{EventId, OwnedEventId};

use crate::{
    event::{
        Pdu, Rules,
        auth::{self, AuthError},
        version,
    },
    graph::{
        AdoptError, Adoption, StateKey,
        types::{Seq, Status},
    },
};

/// An event, in its place: behind all events that it cites as authorising it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) pdu: Pdu,
    pub(super) status: Status,
    /// The numbers of its auth events, counted from 1.
    pub(super) auth: Vec<Seq>,
}

/// A room, judged.
#[derive(Debug)]
pub(super) struct Room {
    /// An event's number is its index and 1.
    pub(super) events: Vec<Judged>,
    /// The state before the join.
    pub(super) state: BTreeMap<StateKey, Seq>,
    /// The numbers of the auth events of the join.
    pub(super) join_auth: Vec<Seq>,
}

/// Judges all of it. `taken` are ids of events that other rooms have already (only versions 1 and 2 let ids be chosen).
///
/// Of the events those are left out that are of another room, that are no state events, or whose auth events are left out:
/// who is asked may know what we can't check, and the room is none the worse for us not knowing it.
pub(super) fn judge(adoption: &Adoption, rules: &Rules, taken: &HashSet<OwnedEventId>) -> Result<Room, AdoptError> {
    let join = adoption.join.pdu();
    let create = the_create(adoption)?;
    let said: Option<String> = create.content_field("room_version");
    let said = said.unwrap_or_else(|| "1".to_owned());
    if said != adoption.room_version.as_str() {
        return Err(AdoptError::WrongVersion(said));
    }
    let mut court = Court { rules, create: create.event_id().to_owned(), events: Vec::new(), by_id: HashMap::new() };
    for pdu in in_order(adoption, &create, taken) {
        court.hear(pdu);
    }
    let state = court.state(&adoption.state)?;
    let allowed = court.check(join).and_then(|()| {
        let find = |kind: &str, state_key: &str| court.pdu(*state.get(&StateKey::new(kind, state_key))?);
        auth::check(join, rules, find)
    });
    allowed.map_err(AdoptError::NotAllowed)?;
    let join_auth = court.cited(join);
    Ok(Room { events: court.events, state, join_auth })
}

/// The create event of the state: there must be exactly one, and it must be the room's.
fn the_create(adoption: &Adoption) -> Result<Pdu, AdoptError> {
    let in_state: HashSet<&EventId> = adoption.state.iter().map(|id| &**id).collect();
    let room_id = adoption.join.pdu().room_id();
    let is_create =
        |pdu: &&Pdu| pdu.is_state("m.room.create", "") && pdu.room_id() == room_id && in_state.contains(pdu.event_id());
    let creates = adoption.events.iter().map(|event| event.pdu()).filter(is_create);
    let mut creates: BTreeMap<&EventId, &Pdu> = creates.map(|pdu| (pdu.event_id(), pdu)).collect();
    match (creates.pop_first(), creates.is_empty()) {
        (Some((_, only)), true) => Ok(only.clone()),
        _ => Err(AdoptError::NoCreate),
    }
}

/// The events that can be judged, each behind its auth events. What is in a cycle never comes up.
fn in_order(adoption: &Adoption, create: &Pdu, taken: &HashSet<OwnedEventId>) -> Vec<Pdu> {
    let room_id = adoption.join.pdu().room_id();
    let mut waiting: HashMap<&EventId, (usize, &Pdu)> = HashMap::with_capacity(adoption.events.len());
    for pdu in adoption.events.iter().map(|event| event.pdu()) {
        let is_fit = pdu.room_id() == room_id && pdu.state_key().is_some() && !taken.contains(pdu.event_id());
        // The join itself is no part of what is before it.
        if is_fit && pdu.event_id() != adoption.join.pdu().event_id() {
            let cited: HashSet<&OwnedEventId> = pdu.auth_events().iter().collect();
            waiting.insert(pdu.event_id(), (cited.len(), pdu));
        }
    }
    let mut cited_by: HashMap<&EventId, Vec<&EventId>> = HashMap::new();
    for (id, (_, pdu)) in &waiting {
        for cited in pdu.auth_events().iter().collect::<HashSet<_>>() {
            cited_by.entry(cited).or_default().push(id);
        }
    }
    // The create event first, which from version 12 on nobody cites; the others in the order in which they came, so that
    // the same answer makes the same room.
    let first = std::iter::once(create.event_id()).chain(adoption.events.iter().map(|event| event.pdu().event_id()));
    let (mut seen, mut ready) = (HashSet::new(), VecDeque::new());
    for id in first {
        if waiting.get(id).is_some_and(|(open, _)| *open == 0) && seen.insert(id) {
            ready.push_back(id);
        }
    }
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some(id) = ready.pop_front() {
        if let Some((_, pdu)) = waiting.get(id) {
            ordered.push((*pdu).clone());
        }
        for citing in cited_by.remove(id).unwrap_or_default() {
            if let Some((open, _)) = waiting.get_mut(citing) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    ready.push_back(citing);
                }
            }
        }
    }
    ordered
}

/// What was judged so far.
struct Court<'a> {
    rules: &'a Rules,
    create: OwnedEventId,
    events: Vec<Judged>,
    by_id: HashMap<OwnedEventId, Seq>,
}

impl Court<'_> {
    fn judged(&self, seq: Seq) -> Option<&Judged> {
        self.events.get(usize::try_from(seq.0).ok()?.checked_sub(1)?)
    }

    /// An event, marked if it was rejected.
    fn pdu(&self, seq: Seq) -> Option<Pdu> {
        let judged = self.judged(seq)?;
        let pdu = judged.pdu.clone();
        Some(if judged.status == Status::Rejected { pdu.rejected() } else { pdu })
    }

    fn cited(&self, pdu: &Pdu) -> Vec<Seq> {
        let mut cited: Vec<Seq> = pdu.auth_events().iter().filter_map(|id| self.by_id.get(id).copied()).collect();
        cited.dedup();
        cited
    }

    fn hear(&mut self, pdu: Pdu) {
        let checked = self.check(&pdu);
        let Ok(seq) = u32::try_from(self.events.len().saturating_add(1)) else { return };
        self.by_id.insert(pdu.event_id().to_owned(), Seq(seq));
        let auth = self.cited(&pdu);
        let status = if checked.is_ok() { Status::Outlier } else { Status::Rejected };
        self.events.push(Judged { pdu, status, auth });
    }

    /// The auth rules by what the event says authorises it.
    fn check(&self, pdu: &Pdu) -> Result<(), AuthError> {
        if pdu.is_state("m.room.create", "") && pdu.event_id() != self.create {
            return Err(AuthError("the room has another create event".to_owned()));
        }
        let mut authorising: Vec<Pdu> = self.cited(pdu).into_iter().filter_map(|seq| self.pdu(seq)).collect();
        if version::room_id_is_create_id(self.rules)
            && let Some(create) = self.by_id.get(&self.create).and_then(|seq| self.pdu(*seq))
        {
            authorising.push(create);
        }
        let find = |id: &EventId| authorising.iter().find(|pdu| pdu.event_id() == id).cloned();
        auth::check_citations(pdu, self.rules, find)?;
        let state = |kind: &str, state_key: &str| authorising.iter().find(|pdu| pdu.is_state(kind, state_key)).cloned();
        auth::check(pdu, self.rules, state)
    }

    /// The state of these events. Those that are not here, or were rejected, are not in it.
    fn state(&self, ids: &[OwnedEventId]) -> Result<BTreeMap<StateKey, Seq>, AdoptError> {
        let mut state = BTreeMap::new();
        for seq in ids.iter().filter_map(|id| self.by_id.get(id)) {
            let Some(judged) = self.judged(*seq).filter(|judged| judged.status != Status::Rejected) else { continue };
            let Some(state_key) = judged.pdu.state_key() else { continue };
            let before = state.insert(StateKey::new(judged.pdu.kind(), state_key), *seq);
            if before.is_some_and(|before| before != *seq) {
                return Err(AdoptError::NoState);
            }
        }
        if state.contains_key(&StateKey::new("m.room.create", "")) { Ok(state) } else { Err(AdoptError::NoCreate) }
    }
}
