//! The state of a room in a response: what a client must know beside the timeline.
//!
//! Client-server API, "Syncing" (the note on `state`), MSC4222 for `state_after`, "Lazy-loading room members".

use std::collections::HashSet;

use super::{
    collect::{Place, Question},
    reply::{Json, StateSection},
    shape::shape,
    timeline::Timeline,
};
use crate::{
    graph::{Event, RoomNo, Root, Seq, StateKey},
    rooms::{events, filter::Subject, members, visibility::Eyes},
    store::{ReadError, View},
    sync::{lazy_members::Memory, recent::Recent},
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
    (place, recent): (&Place<'_>, Option<&Recent>),
    interval: Interval,
    timeline: &Timeline,
    (eyes, memory): (&mut Eyes, &mut Memory),
) -> Result<Vec<Json>, ReadError> {
    let room = place.room;
    if !question.request.filter.room.state.allows_room(place.head.room_id.as_str()) {
        return Ok(Vec::new());
    }
    let start = timeline.seen.first().map_or(interval.end, |first| first.event.meta.root_before);
    let root = if question.section() == StateSection::Before { start } else { interval.end };
    let mut events = if interval.known.is_empty() {
        whole(question, view, (room, recent), root)?
    } else {
        changed(question, view, room, (interval.known, root))?
    };
    if question.section() == StateSection::Before {
        add_unsent(question, view, room, ((start, interval.end), timeline), &mut events)?;
    }
    if question.request.filter.room.state.lazy_load_members {
        let all = interval.known.is_empty() || question.request.filter.room.state.include_redundant_members;
        add_senders(question, view, (room, root), (timeline, &mut events), (memory, all))?;
    }
    let filter = &question.request.filter.room.state;
    events.retain(|event| {
        let has_url = filter.contains_url.is_some() && crate::rooms::content::text(event.content(), "url").is_some();
        filter.allows(Subject { kind: &event.kind, sender: event.sender.as_str(), has_url })
    });
    let written = events::write_state(&question.reader, view, eyes, &question.recipient(), &events, None)?;
    Ok(shape(&question.request.filter, written, events.iter().map(|event| &event.body)))
}

/// The state for those who know nothing of the room.
///
/// Of its members lazy-loading leaves only oneself (those who speak are added later): then the others, who may be very
/// many, are not even looked at.
fn whole(
    question: &Question,
    view: &View<'_>,
    (room, recent): (RoomNo, Option<&Recent>),
    root: Root,
) -> Result<Vec<Event>, ReadError> {
    let reader = &question.reader;
    let is_lazy = question.request.filter.room.state.lazy_load_members;
    let kept = match recent {
        Some(recent) if is_lazy => recent.state_but_members(view, reader, root)?.map(<[Event]>::to_vec),
        Some(recent) => recent.small_state(view, reader, root)?,
        None => None,
    };
    if !is_lazy {
        return kept.map_or_else(|| changed(question, view, room, (Root::EMPTY, root)), Ok);
    }
    let mut events = match kept {
        Some(events) => events,
        None => {
            let seqs = reader.state_but_type(view, room, root, MEMBER)?;
            let numbers: Vec<_> = seqs.into_iter().map(|(_, seq)| (room, seq)).collect();
            reader.events(view, &numbers)?.into_iter().flatten().collect()
        }
    };
    let own = StateKey::new(MEMBER, question.request.user_id.as_str());
    events.extend(reader.state_events(view, room, root, &[own])?.into_iter().flatten());
    Ok(events)
}

/// What is in the second state and not in the first: everybody who changed is among it, lazy-loading or not.
fn changed(
    question: &Question,
    view: &View<'_>,
    room: RoomNo,
    (known, state): (Root, Root),
) -> Result<Vec<Event>, ReadError> {
    let changes = question.reader.changes(view, room, known, state)?.into_iter();
    let numbers: Vec<_> = changes.filter_map(|changed| Some((room, changed.new?))).collect();
    Ok(question.reader.events(view, &numbers)?.into_iter().flatten().collect())
}

/// Adds what changed within the timeline without being in it: by resolution, or because the filter left it out.
fn add_unsent(
    question: &Question,
    view: &View<'_>,
    room: RoomNo,
    ((start, end), timeline): ((Root, Root), &Timeline),
    events: &mut Vec<Event>,
) -> Result<(), ReadError> {
    let sent: HashSet<Seq> = timeline.seen.iter().map(|seen| seen.event.seq).collect();
    let mut unsent = changed(question, view, room, (start, end))?;
    unsent.retain(|event| !sent.contains(&event.seq));
    let replaces = |event: &Event| unsent.iter().any(|new| new.kind == event.kind && new.state_key == event.state_key);
    events.retain(|event| !replaces(event));
    events.append(&mut unsent);
    Ok(())
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
