//! The full conflicted set (room versions 2 and 12, "Definitions").

use super::{AuthGraph, Conflict, ResolveError, Room, Seq};

/// As many states as one sweep tells apart.
const STATES_A_SWEEP: usize = 64;

/// The conflicted state set, the auth difference and, from version 12 on, the conflicted state subgraph: the numbers of
/// their events, ascending.
pub(super) fn full_conflicted_set<R: Room>(
    room: &R,
    graph: &AuthGraph,
    conflicts: &[Conflict],
    with_subgraph: bool,
) -> Result<Vec<Seq>, ResolveError<R::Error>> {
    let conflicted = conflicted_rows(graph, conflicts)?;
    let mut rows = auth_difference(room, graph, conflicts)?;
    if with_subgraph {
        // Holds the conflicted state set, too.
        rows.extend(graph.between(&conflicted));
    } else {
        rows.extend(conflicted);
    }
    rows.sort_unstable();
    rows.dedup();
    Ok(rows.into_iter().filter_map(|row| graph.seq(row)).collect())
}

/// The rows of the conflicted state set, ascending.
fn conflicted_rows<E>(graph: &AuthGraph, conflicts: &[Conflict]) -> Result<Vec<usize>, ResolveError<E>> {
    let seqs = conflicts.iter().flat_map(|conflict| conflict.seqs.iter().flatten().copied()).collect();
    graph.rows(seqs).map_err(ResolveError::NotInAuthGraph)
}

/// The auth difference: what is in the auth chain of some states, and not of all.
fn auth_difference<R: Room>(
    room: &R,
    graph: &AuthGraph,
    conflicts: &[Conflict],
) -> Result<Vec<usize>, ResolveError<R::Error>> {
    // What the states agree upon is first left aside: it adds to the chains of all of them at once.
    let open = differing_chains(graph, conflicts)?;
    let Some(&lowest) = open.first() else { return Ok(open) };
    let agreed = graph.rows(room.all_agreed()?).map_err(ResolveError::NotInAuthGraph)?;
    let mut seeds: Vec<(usize, u64)> = agreed.into_iter().filter(|row| *row > lowest).map(|row| (row, 1)).collect();
    let common = graph.chains(&mut seeds, lowest);
    let is_common = |row: &usize| row.checked_sub(lowest).and_then(|at| common.get(at)).is_some_and(|bits| *bits != 0);
    Ok(open.into_iter().filter(|row| !is_common(row)).collect())
}

/// The rows that are in the auth chains of what is in conflict in some states, but not in all; ascending.
fn differing_chains<E>(graph: &AuthGraph, conflicts: &[Conflict]) -> Result<Vec<usize>, ResolveError<E>> {
    let states = conflicts.first().map_or(0, |conflict| conflict.seqs.len());
    // For each row: whether it is in any chain, and whether it is in all of them.
    let mut reached: Vec<(bool, bool)> = Vec::new();
    for first in (0..states).step_by(STATES_A_SWEEP) {
        let count = STATES_A_SWEEP.min(states - first);
        let all = u64::MAX >> (STATES_A_SWEEP - count);
        let mut seeds = Vec::new();
        for conflict in conflicts {
            let of_these = conflict.seqs.iter().skip(first).take(count).enumerate();
            for (state, seq) in of_these.filter_map(|(state, seq)| seq.map(|seq| (state, seq))) {
                seeds.push((row(graph, seq)?, 1 << state));
            }
        }
        let bits = graph.chains(&mut seeds, 0);
        let before = if first == 0 { (false, true) } else { (false, false) };
        if reached.len() < bits.len() {
            reached.resize(bits.len(), before);
        }
        for (at, (in_any, in_all)) in reached.iter_mut().enumerate() {
            let bits = bits.get(at).copied().unwrap_or_default();
            *in_any |= bits != 0;
            *in_all &= bits == all;
        }
    }
    let differs = |(row, (in_any, in_all)): (usize, (bool, bool))| (in_any && !in_all).then_some(row);
    Ok(reached.into_iter().enumerate().filter_map(differs).collect())
}

fn row<E>(graph: &AuthGraph, seq: Seq) -> Result<usize, ResolveError<E>> {
    graph.row(seq).ok_or(ResolveError::NotInAuthGraph(seq))
}
