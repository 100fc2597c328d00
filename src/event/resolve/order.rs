//! The two orders of version 2: reverse topological power ordering and mainline ordering.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use ruma::OwnedEventId;

use super::{
    AuthGraph, ResolveError, Room, Seq,
    checks::{create_entry, levels_entry},
    memory::Memory,
};
use crate::event::{
    pdu::Pdu,
    power::{Level, PowerLevels},
    version::Rules,
};

/// The smallest comes first: the greatest power, then the earliest, then the smallest id.
type PowerRank = (Reverse<Level>, i64, OwnedEventId);

/// Reverse topological power ordering: each event after those of its auth events that are among these, and among those that
/// could come next always the one of the smallest rank. They and their auth events were loaded.
pub(super) fn by_power<R: Room>(
    memory: &Memory<'_, R>,
    rules: &Rules,
    graph: &AuthGraph,
    implied_create: Option<Seq>,
    events: &[Seq],
) -> Result<Vec<Seq>, ResolveError<R::Error>> {
    let mut waits_for: HashMap<Seq, usize> = events.iter().map(|seq| (*seq, 0)).collect();
    let mut cited_by: HashMap<Seq, Vec<Seq>> = HashMap::new();
    for &seq in events {
        for cited in auth_events(graph, seq)?.filter(|cited| *cited != seq) {
            if waits_for.contains_key(&cited) {
                cited_by.entry(cited).or_default().push(seq);
                waits_for.entry(seq).and_modify(|count| *count += 1);
            }
        }
    }
    let rank = |seq: Seq| -> Result<Reverse<(PowerRank, Seq)>, ResolveError<R::Error>> {
        let pdu = memory.event(seq)?;
        let level = senders_level(memory, rules, auth_events(graph, seq)?.chain(implied_create), pdu)?;
        Ok(Reverse(((Reverse(level), pdu.claimed_server_ts(), pdu.event_id().to_owned()), seq)))
    };
    let free = events.iter().filter(|seq| waits_for.get(seq) == Some(&0));
    let mut next = free.map(|seq| rank(*seq)).collect::<Result<BinaryHeap<_>, _>>()?;
    let mut ordered = Vec::with_capacity(events.len());
    while let Some(Reverse((_, seq))) = next.pop() {
        ordered.push(seq);
        for citing in cited_by.remove(&seq).unwrap_or_default() {
            let Some(count) = waits_for.get_mut(&citing) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                next.push(rank(citing)?);
            }
        }
    }
    Ok(ordered)
}

/// The power level of an event's sender by its auth events.
fn senders_level<R: Room>(
    memory: &Memory<'_, R>,
    rules: &Rules,
    cited: impl Iterator<Item = Seq>,
    pdu: &Pdu,
) -> Result<Level, ResolveError<R::Error>> {
    let cited: Vec<&Pdu> = cited.map(|seq| memory.event(seq)).collect::<Result<_, _>>()?;
    let find = |(kind, key): (String, String)| cited.iter().find(|event| event.is_state(&kind, &key)).copied();
    // Only a create event cites none. It comes before all that cite it anyway.
    let Some(create) = find(create_entry()) else { return Ok(Level::Finite(0)) };
    Ok(PowerLevels::new(create, find(levels_entry()), rules).of(pdu.sender()))
}

/// Mainline ordering, based on these power levels. The events and their auth events were loaded.
pub(super) fn by_mainline<R: Room>(
    memory: &mut Memory<'_, R>,
    graph: &AuthGraph,
    levels: Option<Seq>,
    events: &[Seq],
) -> Result<Vec<Seq>, ResolveError<R::Error>> {
    let mut mainline = Mainline { graph, tail: levels, length: 0, positions: HashMap::new() };
    mainline.place_tail();
    let mut ranked = Vec::with_capacity(events.len());
    for &seq in events {
        let position = match levels_cited_by(memory, graph, seq)? {
            Some(cited) => mainline.position(memory, cited)?,
            None => UNRELATED,
        };
        let pdu = memory.event(seq)?;
        ranked.push((Reverse(position), pdu.claimed_server_ts(), pdu.event_id().to_owned(), seq));
    }
    ranked.sort_unstable();
    Ok(ranked.into_iter().map(|(_, _, _, seq)| seq).collect())
}

/// The position of what is based on no event of the mainline: ∞.
const UNRELATED: usize = usize::MAX;

/// The mainline, as far back as it was asked for.
///
/// A power level event cites a lower number than its own, so the mainline descends, and whether a number is in it is known
/// once it has come down to that number.
struct Mainline<'g> {
    graph: &'g AuthGraph,
    /// The last one that is placed; `None` once it is placed to its end.
    tail: Option<Seq>,
    /// How many are placed.
    length: usize,
    /// The positions of the mainline's events, and of all other power level events that were asked for.
    positions: HashMap<Seq, usize>,
}

impl Mainline<'_> {
    /// The position of an event that cites these power levels.
    fn position<R: Room>(&mut self, memory: &mut Memory<'_, R>, levels: Seq) -> Result<usize, ResolveError<R::Error>> {
        let mut passed = Vec::new();
        let mut at = Some(levels);
        let position = loop {
            let Some(levels) = at else { break UNRELATED };
            self.descend_to(memory, levels)?;
            if let Some(position) = self.positions.get(&levels) {
                break *position;
            }
            passed.push(levels);
            at = load_levels_cited_by(memory, self.graph, levels)?;
        };
        self.positions.extend(passed.into_iter().map(|seq| (seq, position)));
        Ok(position)
    }

    /// Places the mainline down to this number.
    fn descend_to<R: Room>(&mut self, memory: &mut Memory<'_, R>, lowest: Seq) -> Result<(), ResolveError<R::Error>> {
        while let Some(tail) = self.tail.filter(|tail| *tail > lowest) {
            self.tail = load_levels_cited_by(memory, self.graph, tail)?;
            self.place_tail();
        }
        Ok(())
    }

    fn place_tail(&mut self) {
        if let Some(tail) = self.tail {
            self.positions.insert(tail, self.length);
            self.length = self.length.saturating_add(1);
        }
    }
}

/// Events that one wave brings when power levels are followed back: their auth chain holds those before them, and little
/// else.
const EVENTS_A_STEP_BACK: usize = 256;

fn load_levels_cited_by<R: Room>(
    memory: &mut Memory<'_, R>,
    graph: &AuthGraph,
    seq: Seq,
) -> Result<Option<Seq>, ResolveError<R::Error>> {
    if !auth_events(graph, seq)?.all(|cited| memory.has(cited)) {
        memory.load(auth_events(graph, seq)?.chain(graph.latest_of_chain(seq, EVENTS_A_STEP_BACK)))?;
    }
    levels_cited_by(memory, graph, seq)
}

/// The power levels among the auth events of an event.
fn levels_cited_by<R: Room>(
    memory: &Memory<'_, R>,
    graph: &AuthGraph,
    seq: Seq,
) -> Result<Option<Seq>, ResolveError<R::Error>> {
    for cited in auth_events(graph, seq)? {
        if memory.event(cited)?.is_state("m.room.power_levels", "") {
            return Ok(Some(cited));
        }
    }
    Ok(None)
}

fn auth_events<E>(graph: &AuthGraph, seq: Seq) -> Result<impl Iterator<Item = Seq>, ResolveError<E>> {
    graph.auth_events(seq).ok_or(ResolveError::NotInAuthGraph(seq))
}
