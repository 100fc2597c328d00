//! Version 1 of the algorithm (room version 1, "State resolution").
//!
//! The text is short of two things, in which this follows what all servers do. *Conflicts between `m.room.member` events*
//! are resolved one by one, for each user. And if the rules allow none of some other conflicting events, the first one
//! stays: that of the lowest depth and the highest hash.

use std::{cmp::Reverse, collections::HashMap};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{
    Conflict, Decision, Entry, ResolveError, Room, Seq,
    checks::{is_allowed, needed},
    memory::Memory,
};
use crate::event::{pdu::Pdu, version::Rules};

pub(super) fn resolve<R: Room>(
    room: &R,
    rules: &Rules,
    conflicts: &[Conflict],
) -> Result<Vec<Decision>, ResolveError<R::Error>> {
    let mut memory = Memory::new(room, conflicts);
    let seqs = || conflicts.iter().flat_map(|conflict| conflict.seqs.iter().flatten().copied());
    memory.load(seqs())?;
    let mut entries = Vec::new();
    for seq in seqs() {
        entries.extend(needed(memory.event(seq)?, rules).unwrap_or_default());
    }
    memory.load_agreed(entries)?;

    let mut resolution = Resolution { memory: &memory, rules, result: HashMap::new() };
    let mut contested = Vec::new();
    for conflict in conflicts {
        match &*ordered(&memory, conflict)? {
            [] => {}
            // That some states lack it is no conflict in this version.
            [(only, _)] => _ = resolution.result.insert(conflict.entry.clone(), *only),
            events => contested.push((conflict.entry.clone(), events.to_vec())),
        }
    }
    for pass in Pass::ALL {
        resolution.run(pass, &contested);
    }
    let result = resolution.result;
    let decide = |conflict: &Conflict| {
        let seq = result.get(&conflict.entry).copied();
        Decision { entry: conflict.entry.clone(), seq }
    };
    let mut decisions: Vec<Decision> = conflicts.iter().map(decide).collect();
    decisions.sort_unstable();
    Ok(decisions)
}

/// What is resolved together, before what comes later can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    PowerLevels,
    JoinRules,
    Members,
    Others,
}

impl Pass {
    const ALL: [Self; 4] = [Self::PowerLevels, Self::JoinRules, Self::Members, Self::Others];

    fn of((kind, state_key): &Entry) -> Self {
        match (&**kind, &**state_key) {
            ("m.room.power_levels", "") => Self::PowerLevels,
            ("m.room.join_rules", _) => Self::JoinRules,
            ("m.room.member", _) => Self::Members,
            _ => Self::Others,
        }
    }
}

/// Conflicting events: from the lowest depth on, and of one depth from the highest hash on.
type Contested = Vec<(Seq, Pdu)>;

fn ordered<R: Room>(memory: &Memory<'_, R>, conflict: &Conflict) -> Result<Contested, ResolveError<R::Error>> {
    let mut seqs: Vec<Seq> = conflict.seqs.iter().flatten().copied().collect();
    seqs.sort_unstable();
    seqs.dedup();
    let mut events = Vec::with_capacity(seqs.len());
    for seq in seqs {
        events.push((seq, memory.event(seq)?.clone()));
    }
    let rank = |(_, pdu): &(Seq, Pdu)| {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, pdu.event_id().as_bytes());
        (pdu.depth(), Reverse(hash.as_ref().to_vec()))
    };
    events.sort_by_cached_key(rank);
    Ok(events)
}

struct Resolution<'a, R> {
    memory: &'a Memory<'a, R>,
    rules: &'a Rules,
    /// The conflicts that are decided. With what the states agree upon it is *R* of the specification.
    result: HashMap<Entry, Seq>,
}

impl<R: Room> Resolution<'_, R> {
    fn run(&mut self, pass: Pass, contested: &[(Entry, Contested)]) {
        let in_pass = contested.iter().filter(|(entry, _)| Pass::of(entry) == pass);
        let choose = |(entry, events): &(Entry, Contested)| {
            let choice =
                if pass == Pass::Others { self.latest_allowed(events) } else { self.last_in_row(entry, events) };
            choice.map(|seq| (entry.clone(), seq))
        };
        let chosen: Vec<(Entry, Seq)> = in_pass.filter_map(choose).collect();
        self.result.extend(chosen);
    }

    /// Of events that matter to the rules: the first, and from it on each that the one before allows.
    fn last_in_row(&self, entry: &Entry, events: &[(Seq, Pdu)]) -> Option<Seq> {
        let mut events = events.iter();
        let mut chosen = events.next()?;
        for event in events {
            let find = |wanted: &Entry| if wanted == entry { Some(chosen.1.clone()) } else { self.find(wanted) };
            if !is_allowed(&event.1, self.rules, find) {
                break;
            }
            chosen = event;
        }
        Some(chosen.0)
    }

    /// Of other events: the one of the highest depth and the lowest hash that is allowed.
    fn latest_allowed(&self, events: &[(Seq, Pdu)]) -> Option<Seq> {
        let allowed = events.iter().rev().find(|(_, pdu)| is_allowed(pdu, self.rules, |wanted| self.find(wanted)));
        allowed.or_else(|| events.first()).map(|(seq, _)| *seq)
    }

    fn find(&self, entry: &Entry) -> Option<Pdu> {
        let seq = self.result.get(entry).copied().or_else(|| self.memory.agreed(entry))?;
        self.memory.event(seq).ok().cloned()
    }
}
