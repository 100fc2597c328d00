//! Versions 2 and 2.1 of the algorithm (room versions 2 and 12, "Algorithm").

use std::collections::{BTreeSet, HashSet};

use ruma::room_version_rules::StateResolutionV2Rules;

use super::{
    AuthGraph, Conflict, Decision, Entry, ResolveError, Room, Seq,
    checks::{Checks, create_entry, levels_entry, needed},
    conflicted::full_conflicted_set,
    memory::Memory,
    order,
};
use crate::event::{
    pdu::Pdu,
    version::{Rules, room_id_is_create_id},
};

pub(super) fn resolve<R: Room>(
    room: &R,
    rules: &Rules,
    tweaks: StateResolutionV2Rules,
    conflicts: &[Conflict],
) -> Result<Vec<Decision>, ResolveError<R::Error>> {
    let graph = room.auth_graph()?;
    let full = full_conflicted_set(room, &graph, conflicts, tweaks.consider_conflicted_state_subgraph)?;
    let with_agreed = !tweaks.begin_iterative_auth_checks_with_empty_state_map;
    let mut memory = Memory::new(room, conflicts);
    let implied_create = gather(&mut memory, rules, &graph, conflicts, &full, with_agreed)?;

    // Steps 1 and 2.
    let power = power_events(&memory, &graph, &full)?;
    let power = order::by_power(&memory, rules, &graph, implied_create, &power)?;
    let mut checks = Checks::new(rules, &graph, with_agreed, implied_create);
    checks.apply(&memory, &power)?;

    // Steps 3 and 4.
    let picked: HashSet<Seq> = power.into_iter().collect();
    let rest: Vec<Seq> = full.into_iter().filter(|seq| !picked.contains(seq)).collect();
    let levels = checks.at(&memory, &levels_entry());
    let rest = order::by_mainline(&mut memory, &graph, levels, &rest)?;
    checks.apply(&memory, &rest)?;

    decisions(&mut memory, checks, conflicts)
}

/// Step 5: where the states agree, nothing changes.
fn decisions<R: Room>(
    memory: &mut Memory<'_, R>,
    checks: Checks<'_>,
    conflicts: &[Conflict],
) -> Result<Vec<Decision>, ResolveError<R::Error>> {
    let decided = checks.into_decided();
    memory.learn_agreed(decided.keys().cloned())?;
    let conflicted = conflicts.iter().map(|conflict| &conflict.entry);
    let entries: BTreeSet<&Entry> = conflicted.chain(decided.keys()).collect();
    let is_agreed = |entry: &&Entry| memory.agreed(entry).is_some();
    let decide = |entry: &Entry| Decision { entry: entry.clone(), seq: decided.get(entry).copied() };
    Ok(entries.into_iter().filter(|entry| !is_agreed(entry)).map(decide).collect())
}

/// Loads what these events are ordered and judged by: themselves, their auth events, and what the states agree upon. Gives
/// the create event where the room's id names it and no event cites it.
fn gather<R: Room>(
    memory: &mut Memory<'_, R>,
    rules: &Rules,
    graph: &AuthGraph,
    conflicts: &[Conflict],
    events: &[Seq],
    with_agreed: bool,
) -> Result<Option<Seq>, ResolveError<R::Error>> {
    let mut wanted = events.to_vec();
    for &seq in events {
        wanted.extend(graph.auth_events(seq).ok_or(ResolveError::NotInAuthGraph(seq))?);
    }
    memory.load(wanted)?;
    let create = create_entry();
    let mut entries = vec![create.clone()];
    if with_agreed {
        entries.push(levels_entry());
        for &seq in events {
            entries.extend(needed(memory.event(seq)?, rules).unwrap_or_default());
        }
    }
    memory.load_agreed(entries)?;
    if !room_id_is_create_id(rules) {
        return Ok(None);
    }
    let in_conflict = || {
        let conflict = conflicts.iter().find(|conflict| conflict.entry == create)?;
        conflict.seqs.iter().flatten().next().copied()
    };
    let implied = memory.agreed(&create).or_else(in_conflict);
    memory.load(implied)?;
    Ok(implied)
}

/// The power events of the full conflicted set, and those of its events that are in their auth chains.
///
/// The chains are followed only through events of the set, and only citations among these count in the order. The text
/// could be read so that chains also lead through others; no server does that, and it would go apart from all of them.
fn power_events<R: Room>(
    memory: &Memory<'_, R>,
    graph: &AuthGraph,
    full: &[Seq],
) -> Result<Vec<Seq>, ResolveError<R::Error>> {
    let mut picked: HashSet<Seq> = HashSet::new();
    // From the highest number on: whatever cites an event was looked at before it.
    for &seq in full.iter().rev() {
        if !picked.contains(&seq) && !is_power_event(memory.event(seq)?) {
            continue;
        }
        picked.insert(seq);
        picked.extend(graph.auth_events(seq).ok_or(ResolveError::NotInAuthGraph(seq))?);
    }
    Ok(full.iter().copied().filter(|seq| picked.contains(seq)).collect())
}

/// Whether an event might take something away from somebody.
///
/// The text leaves the state key of power levels and join rules open; for all servers only the empty one counts, as it does
/// for the auth rules.
fn is_power_event(pdu: &Pdu) -> bool {
    match pdu.kind() {
        "m.room.power_levels" | "m.room.join_rules" => pdu.state_key() == Some(""),
        "m.room.member" => {
            let membership: Option<String> = pdu.content_field("membership");
            matches!(membership.as_deref(), Some("leave" | "ban")) && pdu.state_key() != Some(pdu.sender().as_str())
        }
        _ => false,
    }
}
