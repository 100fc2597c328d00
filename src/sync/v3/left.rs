//! Rooms that the user is not in: left, banned from, invited to, knocking at.

use super::{
    collect::{Place, Question},
    reply::{Json, LeftReply, Pending, StateSection, SyncReply, TimelineReply},
    room::{wanted_account_data, was_joined},
    state::{self, Interval},
    timeline,
};
use crate::{
    graph::{Event, EventMeta, Membership, Root, Seq, StateKey, Status, Tie, outside::Outside},
    rooms::{
        events::{self, Seen},
        format::stripped,
        stripped::STRIPPED,
        visibility::{Eyes, Standing},
    },
    store::{Position, ReadError, View},
    sync::lazy_members::Memory,
};

/// Adds a room that the user has left, if they left it since, or the filter wants all of them. Whoever begins anew also learns
/// of the rooms that somebody put them out of: nothing else would ever tell them.
pub(super) fn left(
    question: &Question,
    view: &View<'_>,
    place: Place<'_>,
    memory: &mut Memory,
    reply: &mut SyncReply,
) -> Result<(), ReadError> {
    let row = place.row;
    let wanted = match question.since {
        Some(since) => row.position > since,
        None => question.request.filter.room.include_leave || was_put_out(question, view, &place)?,
    };
    if !wanted || row.position > question.through {
        return Ok(());
    }
    // A ban, or an invite that was declined, after the leave shows nothing of the room; nor does one that is forgotten.
    let was_in = row.was_joined
        && !row.forgotten
        && question.since.is_none_or(|since| row.left_at.is_none_or(|left| left > since));
    let (timeline, state) = match was_in {
        true => until_the_leave(question, view, &place, memory)?,
        false => own_standing(question, view, &place)?,
    };
    let account_data = wanted_account_data(question, &place);
    reply.left(place.head.room_id.as_str(), &LeftReply { timeline, state, section: question.section(), account_data });
    Ok(())
}

/// Whether somebody else made the user leave, or took an invite back, or bans them.
fn was_put_out(question: &Question, view: &View<'_>, place: &Place<'_>) -> Result<bool, ReadError> {
    if place.row.forgotten {
        return Ok(false);
    }
    let by_other = |event: Event| event.sender != question.request.user_id;
    Ok(place.row.membership == Membership::Ban || own_event(question, view, place)?.is_some_and(by_other))
}

/// What the user may see of the room in which they were, and how they stand to it now.
fn until_the_leave(
    question: &Question,
    view: &View<'_>,
    place: &Place<'_>,
    memory: &mut Memory,
) -> Result<(TimelineReply, Vec<Json>), ReadError> {
    let (room, row) = (place.room, place.row);
    let mut eyes = Eyes::of(&question.reader, view, room, &question.request.user_id)?.ignoring(place.ignored.clone());
    let known = match question.since {
        Some(since) => {
            let root = question.reader.root_at(view, room, since)?;
            was_joined(question, view, room, root)?.then_some((since, root))
        }
        None => None,
    };
    // To whom joined in between the room is new.
    let (after, known) = known.unwrap_or((Position::ZERO, Root::EMPTY));
    let through = row.left_at.unwrap_or(row.position);
    let mut timeline = timeline::read(question, view, (place, None), &mut eyes, (after, through))?;
    let interval = Interval { known, end: row.left_root.unwrap_or(known) };
    let state = state::write(question, view, (place, None), interval, &timeline, (&mut eyes, memory))?;
    if row.position > through
        && let Some(event) = own_event(question, view, place)?
        && timeline::wants_of(question, place, &event)
    {
        timeline.seen.push(Seen { event, membership: row.membership });
    }
    Ok((timeline::write(question, view, &mut eyes, &timeline)?, state))
}

/// Whoever was not in the room learns of nothing in it but their own standing.
fn own_standing(
    question: &Question,
    view: &View<'_>,
    place: &Place<'_>,
) -> Result<(TimelineReply, Vec<Json>), ReadError> {
    let event = own_event(question, view, place)?;
    let mut eyes = Eyes::standing_as(place.room, &question.request.user_id, Standing::by(place.row));
    let written =
        events::write_state(&question.reader, view, &mut eyes, &question.recipient(), event.as_slice(), None)?;
    // A client that asks for the state at the end reads it nowhere else.
    let state = match question.section() {
        StateSection::After | StateSection::AfterUnstable => written.clone(),
        StateSection::Before => Vec::new(),
    };
    Ok((TimelineReply { events: written, limited: false, prev_batch: None }, state))
}

/// The event that brought the user's standing.
fn own_event(question: &Question, view: &View<'_>, place: &Place<'_>) -> Result<Option<Event>, ReadError> {
    let Some(seq) = place.row.seq else {
        return Ok(place.outside.and_then(|outside| outside_event(place, outside)));
    };
    question.reader.event(view, place.room, seq)
}

/// An event that came without the room, as if it were one of it.
fn outside_event(place: &Place<'_>, outside: &Outside) -> Option<Event> {
    let meta = EventMeta {
        status: Status::Accepted,
        root_before: Root::EMPTY,
        depth: 0,
        tie: Tie::default(),
        redacted_by: None,
        local_echo: None,
        relay: false,
        partial: false,
    };
    Some(Event { room: place.room, seq: Seq(0), body: outside.event()?, meta })
}

/// Adds a room that the user is invited to or knocks at, if that is new. Invites by users who are ignored are not sent, nor
/// any to who takes none (client-server API, "Ignoring Users" and "Invite Permission").
pub(super) fn pending(
    question: &Question,
    view: &View<'_>,
    place: &Place<'_>,
    pending: Pending,
    reply: &mut SyncReply,
) -> Result<(), ReadError> {
    let row = place.row;
    if question.since.is_some_and(|since| row.position <= since) || row.position > question.through {
        return Ok(());
    }
    if place.blocks_invites && matches!(pending, Pending::Invite) {
        return Ok(());
    }
    if let Some(state) = stripped_state(question, view, place)? {
        reply.pending(place.head.room_id.as_str(), pending, &state);
    }
    Ok(())
}

/// `None` if it was somebody ignored who set the user's membership.
fn stripped_state(question: &Question, view: &View<'_>, place: &Place<'_>) -> Result<Option<Vec<Json>>, ReadError> {
    if let Some(outside) = place.outside {
        return Ok(stripped_outside(place, outside));
    }
    let root = question.reader.root_at(view, place.room, place.row.position)?;
    let own = StateKey::new("m.room.member", question.request.user_id.as_str());
    let keys: Vec<_> = STRIPPED.iter().map(|kind| StateKey::new(*kind, "")).chain([own.clone()]).collect();
    let mut events: Vec<_> =
        question.reader.state_events(view, place.room, root, &keys)?.into_iter().flatten().collect();
    // Who invites is somebody, too.
    let inviter =
        events.iter().find(|event| event.is_state(&own.kind, &own.state_key)).map(|event| event.sender.clone());
    if inviter.as_ref().is_some_and(|inviter| place.ignored.contains(inviter.as_str())) {
        return Ok(None);
    }
    if let Some(inviter) = inviter.filter(|inviter| *inviter != question.request.user_id) {
        let key = StateKey::new("m.room.member", inviter.as_str());
        events.extend(question.reader.state_events(view, place.room, root, &[key])?.into_iter().flatten());
    }
    Ok(Some(events.iter().map(|event| stripped(event)).collect()))
}

/// What is told of a room that this server is not in: what came with the invite, or in answer to the knock.
fn stripped_outside(place: &Place<'_>, outside: &Outside) -> Option<Vec<Json>> {
    let event = outside.event()?;
    if place.ignored.contains(event.sender.as_str()) {
        return None;
    }
    let told = outside.stripped.iter().map(|event| event.get().as_bytes().to_vec());
    Some(told.chain([stripped(&event)]).collect())
}
