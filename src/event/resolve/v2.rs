//! Versions 2 and 2.1 of the algorithm (room versions 2 and 12, "Algorithm").

use std::collections::{BTreeSet, HashSet};

use ruma::room_version_rules::StateResolutionV2Rules;

use super::{
    AuthGraph, Conflict, Decision, Entry, ResolveError, Room, Seq,
    checks::{Checks, create_entry, levels_entry},
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
    let mut memory = Memory::new(room, conflicts);
    memory.load(full.iter().copied())?;
    let implied_create = implied_create(&mut memory, rules, conflicts)?;

    // Steps 1 and 2.
    let power = power_events(&memory, &graph, &full)?;
    let power = order::by_power(&mut memory, rules, &graph, implied_create, &power)?;
    let with_agreed = !tweaks.begin_iterative_auth_checks_with_empty_state_map;
    let mut checks = Checks::new(rules, &graph, with_agreed, implied_create);
    checks.apply(&mut memory, &power)?;

    // Steps 3 and 4.
    let picked: HashSet<Seq> = power.into_iter().collect();
    let rest: Vec<Seq> = full.into_iter().filter(|seq| !picked.contains(seq)).collect();
    let levels = levels_entry();
    if with_agreed {
        memory.load_agreed([levels.clone()])?;
    }
    let levels = checks.at(&memory, &levels);
    let rest = order::by_mainline(&mut memory, &graph, levels, &rest)?;
    checks.apply(&mut memory, &rest)?;

    decisions(&mut memory, checks, conflicts)
}

/// Step 5: where the states agree, nothing changes.
fn decisions<R: Room>(
    memory: &mut Memory<'_, R>,
    checks: Checks<'_>,
    conflicts: &[Conflict],
) -> Result<Vec<Decision>, ResolveError<R::Error>> {
    let decided = checks.into_decided();
    memory.load_agreed(decided.keys().cloned())?;
    let conflicted = conflicts.iter().map(|conflict| &conflict.entry);
    let entries: BTreeSet<&Entry> = conflicted.chain(decided.keys()).collect();
    let is_agreed = |entry: &&Entry| memory.agreed(entry).is_some();
    let decide = |entry: &Entry| Decision { entry: entry.clone(), seq: decided.get(entry).copied() };
    Ok(entries.into_iter().filter(|entry| !is_agreed(entry)).map(decide).collect())
}

/// The create event where the room's id names it and no event cites it.
fn implied_create<R: Room>(
    memory: &mut Memory<'_, R>,
    rules: &Rules,
    conflicts: &[Conflict],
) -> Result<Option<Seq>, ResolveError<R::Error>> {
    if !room_id_is_create_id(rules) {
        return Ok(None);
    }
    let entry = create_entry();
    memory.load_agreed([entry.clone()])?;
    let in_conflict = || {
        let conflict = conflicts.iter().find(|conflict| conflict.entry == entry)?;
        conflict.seqs.iter().flatten().next().copied()
    };
    Ok(memory.agreed(&entry).or_else(in_conflict))
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
