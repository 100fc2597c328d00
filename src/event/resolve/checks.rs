//! Whether an event passes the auth rules before the state as far as it is resolved.

use std::collections::HashMap;

use super::{AuthGraph, Entry, ResolveError, Room, Seq, memory::Memory};
use crate::event::{auth, pdu::Pdu, version::Rules};

/// The entry of the create event.
pub(super) fn create_entry() -> Entry {
    ("m.room.create".to_owned(), String::new())
}

/// The entry of the power levels.
pub(super) fn levels_entry() -> Entry {
    ("m.room.power_levels".to_owned(), String::new())
}

/// The entry of a state event.
pub(super) fn entry_of(pdu: &Pdu) -> Entry {
    (pdu.kind().to_owned(), pdu.state_key().unwrap_or_default().to_owned())
}

/// The entries by which an event is judged; `None` if it is so malformed that no state allows it.
pub(super) fn needed(pdu: &Pdu, rules: &Rules) -> Option<Vec<Entry>> {
    let selection = auth::selection(pdu.kind(), pdu.sender(), pdu.state_key(), pdu.content(), rules);
    let mut needed = selection.ok()?;
    // From version 12 on no event cites it, but all are judged by it.
    if pdu.kind() != "m.room.create" && !needed.contains(&create_entry()) {
        needed.push(create_entry());
    }
    Some(needed)
}

/// Whether the rules allow an event, where `find` says what stands at the entries that are [`needed`].
pub(super) fn is_allowed(pdu: &Pdu, rules: &Rules, find: impl Fn(&Entry) -> Option<Pdu>) -> bool {
    let Some(needed) = needed(pdu, rules) else { return false };
    let state: Vec<Pdu> = needed.iter().filter_map(find).collect();
    let look_up = |kind: &str, state_key: &str| state.iter().find(|event| event.is_state(kind, state_key)).cloned();
    auth::check(pdu, rules, look_up).is_ok()
}

/// The iterative auth checks of version 2: a state that grows by every event that it allows.
pub(super) struct Checks<'a> {
    rules: &'a Rules,
    graph: &'a AuthGraph,
    /// The unconflicted state map is part of the state, as before version 2.1.
    with_agreed: bool,
    /// The create event, where the room's id implies it instead of the auth events.
    implied_create: Option<Seq>,
    decided: HashMap<Entry, Seq>,
}

impl<'a> Checks<'a> {
    /// A state that is the unconflicted state map, or nothing.
    pub(super) fn new(rules: &'a Rules, graph: &'a AuthGraph, with_agreed: bool, implied_create: Option<Seq>) -> Self {
        Self { rules, graph, with_agreed, implied_create, decided: HashMap::new() }
    }

    /// Takes one event after the other into the state, those that it allows. All that they are judged by was loaded.
    pub(super) fn apply<R: Room>(
        &mut self,
        memory: &Memory<'_, R>,
        events: &[Seq],
    ) -> Result<(), ResolveError<R::Error>> {
        for &seq in events {
            let pdu = memory.event(seq)?;
            let cited = self.usable_auth_events(memory, seq)?;
            let find = |entry: &Entry| {
                let seq = self.decided.get(entry).copied().or_else(|| self.agreed(memory, entry));
                match seq {
                    Some(seq) => memory.event(seq).ok().cloned(),
                    None => cited.iter().find(|event| event.is_state(&entry.0, &entry.1)).cloned(),
                }
            };
            if is_allowed(pdu, self.rules, find) {
                self.decided.insert(entry_of(pdu), seq);
            }
        }
        Ok(())
    }

    /// What stands at an entry that was loaded.
    pub(super) fn at<R: Room>(&self, memory: &Memory<'_, R>, entry: &Entry) -> Option<Seq> {
        self.decided.get(entry).copied().or_else(|| self.agreed(memory, entry))
    }

    /// What the events that were allowed have decided.
    pub(super) fn into_decided(self) -> HashMap<Entry, Seq> {
        self.decided
    }

    fn agreed<R: Room>(&self, memory: &Memory<'_, R>, entry: &Entry) -> Option<Seq> {
        memory.agreed(entry).filter(|_| self.with_agreed)
    }

    /// The auth events of an event that may stand in for what the state does not have, the implied one among them.
    fn usable_auth_events<R: Room>(
        &self,
        memory: &Memory<'_, R>,
        seq: Seq,
    ) -> Result<Vec<Pdu>, ResolveError<R::Error>> {
        let cited = self.graph.auth_events(seq).ok_or(ResolveError::NotInAuthGraph(seq))?;
        let mut usable = Vec::with_capacity(5);
        for seq in cited.chain(self.implied_create) {
            let event = memory.event(seq)?;
            if !event.is_rejected() {
                usable.push(event.clone());
            }
        }
        Ok(usable)
    }
}
