//! Walks back through the graph: for `/backfill` and `/get_missing_events`.
//!
//! Both go along previous events of this room, and look at a bounded number of events. Rejected events are gone through, as
//! what others accepted may cite them, but never given away.

use std::collections::{BinaryHeap, HashSet};

use bytes::Bytes;
use ruma::{EventId, OwnedEventId};

use super::{ServerAccess, ServerAccessError, has_place, is_served};
use crate::{
    graph::{Event, Reader, Seq},
    store::{ReadError, View},
};

/// The most events of a `/backfill`.
pub const MOST_BACKFILLED: usize = 100;
/// The most events of a `/get_missing_events`.
pub const MOST_MISSING: usize = 20;
/// Events that a walk looks at, at most.
const MOST_LOOKED_AT: usize = 500;

/// The events of these ids that have a place in the room's graph, in their order.
fn placed(
    access: &ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    ids: &[OwnedEventId],
) -> Result<Vec<Event>, ReadError> {
    let found = reader.locate_many(view, ids)?.into_iter().flatten();
    let found: Vec<_> = found.filter(|at| at.room == access.room).map(|at| (at.room, at.seq)).collect();
    Ok(reader.events(view, &found)?.into_iter().flatten().filter(has_place).collect())
}

/// Of these events, those from which on the server may read back; it is refused if it is out of the room and there are none.
fn beginnings(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    ids: &[OwnedEventId],
) -> Result<Vec<Event>, ServerAccessError> {
    let mut open = Vec::new();
    for event in placed(access, reader, view, ids)? {
        if access.begins_at(reader, view, &event)? {
            open.push(event);
        }
    }
    if open.is_empty() && !access.is_in { Err(ServerAccessError::NotInRoom) } else { Ok(open) }
}

fn previous(access: &ServerAccess, event: &Event) -> Vec<OwnedEventId> {
    access.pdu(event).map(|pdu| pdu.prev_events().to_vec()).unwrap_or_default()
}

/// These events and those before them, the youngest in graph order first: up to `limit`, and never more than
/// [`MOST_BACKFILLED`].
pub fn backfill(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    from: &[OwnedEventId],
    limit: usize,
) -> Result<Vec<Bytes>, ServerAccessError> {
    let limit = limit.min(MOST_BACKFILLED);
    let mut seen: HashSet<Seq> = HashSet::new();
    let mut known: Vec<Event> = Vec::new();
    // By depth, then by the order among events of that depth; the index is that in `known`.
    let mut waiting = BinaryHeap::new();
    let (mut pdus, mut looked_at) = (Vec::new(), 0_usize);
    let from = from.get(..from.len().min(MOST_BACKFILLED)).unwrap_or_default();
    let mut next = beginnings(access, reader, view, from)?;
    while pdus.len() < limit && looked_at < MOST_LOOKED_AT {
        for event in next {
            if seen.insert(event.seq) {
                waiting.push((event.meta.depth, event.meta.tie, known.len()));
                known.push(event);
            }
        }
        let Some(event) = waiting.pop().and_then(|(_, _, index)| known.get(index)) else { break };
        looked_at += 1;
        if is_served(event) {
            pdus.extend(access.shown(reader, view, event)?);
        }
        next = placed(access, reader, view, &previous(access, event))?;
    }
    Ok(pdus)
}

/// What a `/get_missing_events` asks for.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Where to begin; these are not given.
    pub latest: Vec<OwnedEventId>,
    /// What the other server has: neither these are given nor what lies behind them.
    pub earliest: Vec<OwnedEventId>,
    /// How many events; never more than [`MOST_MISSING`].
    pub limit: usize,
    /// The least depth, by what events say of themselves.
    pub min_depth: u64,
}

/// The events before some, breadth first, up to others; the oldest first.
pub fn missing_events(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    wanted: &Missing,
) -> Result<Vec<Bytes>, ServerAccessError> {
    let limit = wanted.limit.min(MOST_MISSING);
    let mut seen: HashSet<OwnedEventId> = wanted.earliest.iter().chain(&wanted.latest).cloned().collect();
    let earliest: HashSet<&EventId> = wanted.earliest.iter().map(|id| &**id).collect();
    let latest: Vec<_> = wanted.latest.iter().filter(|id| !earliest.contains(&***id)).cloned().collect();
    let mut front = beginnings(access, reader, view, &latest)?;
    let (mut pdus, mut looked_at) = (Vec::new(), 0_usize);
    while pdus.len() < limit && !front.is_empty() {
        let mut next = Vec::new();
        for id in front.iter().flat_map(|event| previous(access, event)) {
            if looked_at < MOST_LOOKED_AT && seen.insert(id.clone()) {
                looked_at += 1;
                next.push(id);
            }
        }
        front = placed(access, reader, view, &next)?;
        front.retain(|event| access.pdu(event).is_some_and(|pdu| pdu.depth() >= wanted.min_depth));
        for event in front.iter().filter(|event| is_served(event)).take(limit.saturating_sub(pdus.len())) {
            pdus.extend(access.shown(reader, view, event)?);
        }
    }
    pdus.reverse();
    Ok(pdus)
}
