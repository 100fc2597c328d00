//! The state of a room in a response: what a client must know beside the timeline.
//!
//! Client-server API, "Syncing" (the note on `state`), MSC4222 for `state_after`, "Lazy-loading room members".

use std::collections::{BTreeMap, HashSet};

use super::{
    collect::Question,
    reply::{Json, StateSection},
    shape::shape,
    timeline::Timeline,
};
use crate::{
    graph::{Event, RoomNo, Root, Seq, StateKey},
    rooms::{events, filter::Subject, members},
    store::{ReadError, View},
    sync::lazy_members::Memory,
};

const MEMBER: &str = "m.room.member";

/// The states that an answer lies between.
#[derive(Clone, Copy)]
pub(super) struct Interval {
    /// What the client knows; empty if it knows nothing.
    pub(super) known: Root,
    /// What holds at the end.
    pub(super) end: Root,
}

/// Reads and writes it.
pub(super) fn write(
    question: &Question,
    view: &View<'_>,
    room: RoomNo,
    interval: Interval,
    timeline: &Timeline,
    memory: &mut Memory,
) -> Result<Vec<Json>, ReadError> {
    let start = timeline.seen.first().map_or(interval.end, |first| first.event.meta.root_before);
    let lazy = question.request.filter.room.state.lazy_load_members;
    let wanted = match question.section() {
        StateSection::After | StateSection::AfterUnstable => after(question, view, room, interval)?,
        StateSection::Before => before(question, view, room, (interval, start), timeline)?,
    };
    let numbers: Vec<_> = wanted.into_values().map(|seq| (room, seq)).collect();
    let mut events: Vec<Event> = question.reader.events(view, &numbers)?.into_iter().flatten().collect();
    if lazy {
        let root = if question.section() == StateSection::Before { start } else { interval.end };
        let all = interval.known.is_empty() || question.request.filter.room.state.include_redundant_members;
        add_senders(question, view, (room, root), (timeline, &mut events), (memory, all))?;
    }
    let filter = &question.request.filter.room.state;
    events.retain(|event| {
        let has_url = filter.contains_url.is_some() && crate::rooms::content::text(event.content(), "url").is_some();
        filter.allows(Subject { kind: &event.kind, sender: event.sender.as_str(), has_url })
    });
    let written = events::write_state(&question.reader, view, &question.recipient(), &events, None)?;
    Ok(shape(&question.request.filter, written, events.iter().map(|event| &event.body)))
}

type Wanted = BTreeMap<StateKey, Seq>;

/// All that changed up to the end.
fn after(question: &Question, view: &View<'_>, room: RoomNo, interval: Interval) -> Result<Wanted, ReadError> {
    changed(question, view, room, (interval.known, interval.end))
}

/// What changed up to the start of the timeline, and what changed within it without being in it: by resolution, or because
/// the filter left it out.
fn before(
    question: &Question,
    view: &View<'_>,
    room: RoomNo,
    (interval, start): (Interval, Root),
    timeline: &Timeline,
) -> Result<Wanted, ReadError> {
    let mut wanted = changed(question, view, room, (interval.known, start))?;
    let sent: HashSet<Seq> = timeline.seen.iter().map(|seen| seen.event.seq).collect();
    for changed in question.reader.changes(view, room, start, interval.end)? {
        if let Some(seq) = changed.new.filter(|seq| !sent.contains(seq)) {
            wanted.insert(changed.key, seq);
        }
    }
    Ok(wanted)
}

/// What is in the second state and not in the first.
///
/// Of the members of a room of which a client knows nothing, lazy-loading leaves only oneself (those who speak are added
/// later): then the others, who may be very many, are not even looked at. Whoever knows the room gets everybody who
/// changed.
fn changed(
    question: &Question,
    view: &View<'_>,
    room: RoomNo,
    (known, state): (Root, Root),
) -> Result<Wanted, ReadError> {
    if known.is_empty() && question.request.filter.room.state.lazy_load_members {
        let mut wanted: Wanted = question.reader.state_but_type(view, room, state, MEMBER)?.into_iter().collect();
        let own = StateKey::new(MEMBER, question.request.user_id.as_str());
        let member = question.reader.state_seqs(view, room, state, std::slice::from_ref(&own))?.pop().flatten();
        wanted.extend(member.map(|seq| (own, seq)));
        return Ok(wanted);
    }
    let changes = question.reader.changes(view, room, known, state)?;
    Ok(changes.into_iter().filter_map(|changed| Some((changed.key, changed.new?))).collect())
}

/// Adds the members who sent the events of the timeline: all, or those that the client does not have.
fn add_senders(
    question: &Question,
    view: &View<'_>,
    (room, root): (RoomNo, Root),
    (timeline, events): (&Timeline, &mut Vec<Event>),
    (memory, all): (&mut Memory, bool),
) -> Result<(), ReadError> {
    let hash = |event: &Event| memory_hash(room, event.state_key.as_deref().unwrap_or_default());
    let is_member = |event: &&Event| event.kind == MEMBER;
    for event in events.iter().chain(timeline.seen.iter().map(|seen| &seen.event)).filter(is_member) {
        memory.sent(hash(event));
    }
    let have: HashSet<Seq> = events.iter().map(|event| event.seq).collect();
    let spoken = timeline.seen.iter().map(|seen| &seen.event);
    for member in members::of_senders(&question.reader, view, (room, root), spoken)? {
        let known = memory.sent_before(hash(&member));
        if !have.contains(&member.seq) && (all || !known) {
            events.push(member);
        }
    }
    Ok(())
}

fn memory_hash(room: RoomNo, user_id: &str) -> u64 {
    crate::sync::lazy_members::hash(room, user_id)
}
