//! One room: its events, orders, states and counters.

use std::collections::{BTreeSet, HashSet};

use super::{count, each};
use crate::{
    graph::{
        Head, Reader,
        event_row::EventMeta,
        keys::{
            AUTH, BY_TIME, EVENT, EVENT_ID, EVENT_META, GAP, MISSING, NODE, RELATION, RESOLVED, ROOM_LOG, ROOM_ROOT,
            SLOT, SLOT_NAME, THREAD, TIMELINE, bounded,
        },
        read::StoredNodes,
        rows::StateKey,
        state,
        types::{RoomNo, Root, Seq, Status, Tie},
    },
    store::{Position, ReadError, View},
};

pub(super) fn check(
    view: &View<'_>,
    reader: &Reader,
    room: RoomNo,
    head: &Head,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let mut roots = vec![head.root];
    each(view, RESOLVED.span(&(room,)), |_, root| {
        roots.push(root);
        Ok(())
    })?;
    check_events(view, room, head, &mut roots, problem)?;
    check_roots(view, room, head, &mut roots, problem)?;
    check_states(view, reader, room, roots, problem)?;
    check_slots(view, room, head, problem)?;
    match check_current(view, reader, room, head, problem) {
        // A broken state was told of already.
        Err(ReadError::Corrupt { keyspace: "node", .. }) => {}
        other => other?,
    }
    check_missing(view, room, problem)?;
    check_relations(view, room, problem)
}

/// Every event has its body, its id and its places in both orders, and nothing else has.
fn check_events(
    view: &View<'_>,
    room: RoomNo,
    head: &Head,
    roots: &mut Vec<Root>,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let (mut shown, mut logged, mut last) = (0, 0, Position::ZERO);
    let mut tips: HashSet<Seq> = head.extremities.iter().copied().collect();
    each(view, EVENT_META.span(&(room,)), |(_, seq), meta| {
        check_event(view, room, head, seq, &meta, problem)?;
        roots.push(meta.root_before);
        if tips.remove(&seq) && !matches!(meta.status, Status::Accepted | Status::Held) {
            problem(format!("extremity {} is {:?}", seq.0, meta.status));
        }
        last = last.max(meta.position());
        if meta.status == Status::Accepted {
            shown += 1;
            logged += usize::from(!meta.tie.is_backfilled());
        }
        Ok(())
    })?;
    if !tips.is_empty() {
        problem(format!("the extremities {tips:?} are not there"));
    }
    if last > head.last_position {
        problem(format!("an event came at {}, after the head's last position", last.0));
    }
    for (name, rows, wanted) in [
        ("timeline", count(view, &TIMELINE, room)?, shown),
        ("by_time", count(view, &BY_TIME, room)?, shown),
        ("room_log", count(view, &ROOM_LOG, room)?, logged),
    ] {
        if rows != wanted {
            problem(format!("{name} has {rows} rows for {wanted} events"));
        }
    }
    Ok(())
}

fn check_event(
    view: &View<'_>,
    room: RoomNo,
    head: &Head,
    seq: Seq,
    meta: &EventMeta,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    if seq >= head.next_seq {
        problem(format!("event {} is beyond the counter", seq.0));
    }
    let Some(body) = view.get(&EVENT, &(room, seq))? else {
        problem(format!("event {} has no body", seq.0));
        return Ok(());
    };
    match view.get(&EVENT_ID, &(&*bounded(body.event_id.as_str()),))? {
        Some(at) if at.room == room && at.seq == seq => {}
        _ => problem(format!("event {} is not found by its id", seq.0)),
    }
    if let Some(auth) = view.get(&AUTH, &(room, seq))? {
        if auth.0.iter().any(|cited| *cited >= seq) {
            problem(format!("event {} is stored before its auth events", seq.0));
        }
        let cited = view.multi_get(&EVENT_META, auth.0.iter().map(|cited| (room, *cited)))?;
        if cited.iter().any(Option::is_none) {
            problem(format!("an auth event of event {} is not there", seq.0));
        }
    } else if body.state_key.is_some() {
        problem(format!("state event {} has no auth events", seq.0));
    }
    if meta.depth > head.max_depth && matches!(meta.status, Status::Accepted | Status::Held) {
        problem(format!("event {} is deeper than the room", seq.0));
    }
    if meta.status != Status::Accepted {
        return Ok(());
    }
    if view.get(&TIMELINE, &(room, meta.depth, meta.tie))? != Some(seq) {
        problem(format!("event {} is not in its place in the timeline", seq.0));
    }
    let arrival = (room, meta.position(), u32::from(meta.tie.index()));
    let logged = view.get(&ROOM_LOG, &arrival)?.map(|row| row.seq);
    if !meta.tie.is_backfilled() && logged != Some(seq) {
        problem(format!("event {} is not in its place in the order of arrival", seq.0));
    }
    Ok(())
}

/// The states over time end in the current one.
fn check_roots(
    view: &View<'_>,
    room: RoomNo,
    head: &Head,
    roots: &mut Vec<Root>,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let mut last = Root::EMPTY;
    each(view, ROOM_ROOT.span(&(room,)), |_, root| {
        roots.push(root);
        last = root;
        Ok(())
    })?;
    if last != head.root {
        problem("the last of its states is not the current one".to_owned());
    }
    Ok(())
}

/// Every state that something names is whole.
fn check_states(
    view: &View<'_>,
    reader: &Reader,
    room: RoomNo,
    roots: Vec<Root>,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let mut marked = HashSet::new();
    for root in roots {
        match state::mark(&StoredNodes { reader, view, room }, [root], &mut marked) {
            Ok(()) => {}
            Err(ReadError::Corrupt { keyspace: "node", why }) => problem(format!("a state is broken: {why}")),
            Err(error) => return Err(error),
        }
    }
    let hasher = state::Hasher::of(room);
    each(view, NODE.span(&(room,)), |(_, name), node| {
        if hasher.name(&node) != name {
            problem("a node of a state has not its name".to_owned());
        }
        Ok(())
    })
}

/// The current state is what the states after the extremities make together.
fn check_current(
    view: &View<'_>,
    reader: &Reader,
    room: RoomNo,
    head: &Head,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let hasher = state::Hasher::of(room);
    let mut roots = BTreeSet::new();
    for &seq in &head.extremities {
        let Some(event) = reader.event(view, room, seq)? else { return Ok(()) };
        let before = event.meta.root_before;
        let root = match &event.state_key {
            None => before,
            Some(state_key) => {
                let key = StateKey::new(event.kind.as_str(), state_key.as_str());
                let Some(slot) = reader.slots(view, room, &[key])?.pop().flatten() else { return Ok(()) };
                let nodes = StoredNodes { reader, view, room };
                state::set(&nodes, &mut state::Draft::default(), &hasher, before, [(slot, Some(seq))])?
            }
        };
        roots.insert(root);
    }
    let roots: Vec<Root> = roots.into_iter().collect();
    let current = match &*roots {
        [] => return Ok(()),
        [root] => Some(*root),
        roots => view.get(&RESOLVED, &(room, hasher.name_of_all(roots)))?,
    };
    if current != Some(head.root) {
        problem("the current state is not what the states after its extremities make together".to_owned());
    }
    Ok(())
}

/// Only events that are there wait for others, and those behind a gap do.
fn check_missing(view: &View<'_>, room: RoomNo, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    each(view, MISSING.span(&(room,)), |(_, event_id, citing), ()| {
        if !view.has(&EVENT_META, &(room, citing))? {
            problem(format!("event {} waits for {event_id} and is not there", citing.0));
        }
        Ok(())
    })?;
    each(view, GAP.span(&(room,)), |(_, depth, seq), gap| {
        let is_there = view.get(&EVENT_META, &(room, seq))?.is_some_and(|meta| meta.depth == depth);
        let keys = gap.missing.iter().map(|id| (room, bounded(id).into_owned(), seq));
        if !is_there || gap.missing.is_empty() || view.multi_get(&MISSING, keys)?.iter().any(Option::is_none) {
            problem(format!("the gap before event {} is not in order", seq.0));
        }
        Ok(())
    })
}

fn check_slots(view: &View<'_>, room: RoomNo, head: &Head, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    let mut named = 0;
    each(view, SLOT_NAME.span(&(room,)), |(_, slot), key| {
        named += 1;
        let found = view.get(&SLOT, &(room, &*bounded(&key.kind), &*bounded(&key.state_key)))?;
        if found != Some(slot) || slot >= head.next_slot {
            problem(format!("slot {} is not that of its name", slot.0));
        }
        Ok(())
    })?;
    if count(view, &SLOT, room)? != named {
        problem("there are slots without a name".to_owned());
    }
    Ok(())
}

/// Relations are among events that are there, and a thread stands where its last event does.
fn check_relations(view: &View<'_>, room: RoomNo, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    let thread_type = crate::graph::keys::relation_hash("m.thread");
    let mut threads: std::collections::BTreeMap<Seq, Tie> = std::collections::BTreeMap::new();
    each(view, RELATION.span(&(room,)), |(_, target, hash, tie), seq| {
        let of = view.get(&EVENT_META, &(room, seq))?;
        if of.is_none_or(|meta| meta.tie != tie) || !view.has(&EVENT_META, &(room, target))? {
            problem(format!("the relation of event {} to {} is not in order", seq.0, target.0));
        }
        if hash == thread_type {
            let last = threads.entry(target).or_insert(tie);
            *last = tie.max(*last);
        }
        Ok(())
    })?;
    each(view, THREAD.span(&(room,)), |(_, tie, root), ()| {
        if threads.remove(&root) != Some(tie) {
            problem(format!("the thread of {} is not where its last event is", root.0));
        }
        Ok(())
    })?;
    for root in threads.keys() {
        problem(format!("the thread of {} is not listed", root.0));
    }
    Ok(())
}
