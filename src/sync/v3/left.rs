//! Rooms that the user is not in: left, banned from, invited to, knocking at.

use super::{
    collect::{Place, Question},
    reply::{Json, LeftReply, Pending, StateSection, SyncReply},
    room::wanted_account_data,
    state::{self, Interval},
    timeline::{self, Timeline},
};
use crate::{
    graph::{Root, StateKey},
    rooms::{
        events::{self, Seen},
        format::stripped,
        visibility::Eyes,
    },
    store::{Position, ReadError, View},
    sync::lazy_members::Memory,
};

/// The state that those get who are not in a room (client-server API, "Stripped state"), beside their own membership.
const STRIPPED: [&str; 9] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.name",
    "m.room.topic",
    "m.room.history_visibility",
    "im.nheko.summary.room_type",
];

/// Adds a room that the user has left, if they left it since, or the filter wants all of them.
pub(super) fn left(
    question: &Question,
    view: &View<'_>,
    place: Place<'_>,
    memory: &mut Memory,
    reply: &mut SyncReply,
) -> Result<(), ReadError> {
    let (room, row, user_id) = (place.room, place.row, &question.request.user_id);
    let wanted = match question.since {
        Some(since) => row.position > since,
        None => question.request.filter.room.include_leave,
    };
    if !wanted || row.position > question.through {
        return Ok(());
    }
    let mut eyes = Eyes::of(&question.reader, view, room, user_id)?.ignoring(place.ignored.clone());
    let known = match question.since {
        Some(since) => question.reader.root_at(view, room, since)?,
        None => Root::EMPTY,
    };
    let own = StateKey::new("m.room.member", user_id.as_str());
    let (timeline, state) = if row.was_joined {
        let after = question.since.unwrap_or(Position::ZERO);
        let timeline = timeline::read(question, view, (&place, None), &mut eyes, (after, row.position))?;
        let interval = Interval { known, end: row.left_root.unwrap_or(known) };
        let state = state::write(question, view, (room, None), interval, &timeline, memory)?;
        (timeline, state)
    } else {
        // Whoever was never in the room learns of nothing in it but their own standing.
        let event = match row.seq {
            Some(seq) => question.reader.event(view, room, seq)?,
            None => None,
        };
        // A client that asks for the state at the end reads it nowhere else.
        let state = match (&event, question.section()) {
            (Some(event), StateSection::After | StateSection::AfterUnstable) => {
                let event = std::slice::from_ref(event);
                events::write_state(&question.reader, view, &question.recipient(), event, None)?
            }
            _ => Vec::new(),
        };
        let seen = event.into_iter().map(|event| Seen { event, membership: row.membership }).collect();
        (Timeline { seen, ..Timeline::nothing_new(row.position) }, state)
    };
    let timeline = if row.was_joined {
        timeline::write(question, view, &mut eyes, &timeline)?
    } else {
        let events: Vec<_> = timeline.seen.into_iter().map(|seen| seen.event).collect();
        debug_assert!(events.iter().all(|event| event.is_state(&own.kind, &own.state_key)));
        let events = events::write_state(&question.reader, view, &question.recipient(), &events, None)?;
        super::reply::TimelineReply { events, limited: false, prev_batch: None }
    };
    let account_data = wanted_account_data(question, &place);
    reply.left(place.head.room_id.as_str(), &LeftReply { timeline, state, section: question.section(), account_data });
    Ok(())
}

/// Adds a room that the user is invited to or knocks at, if that is new. Invites by users who are ignored are not sent
/// (client-server API, "Ignoring Users").
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
    if let Some(state) = stripped_state(question, view, place)? {
        reply.pending(place.head.room_id.as_str(), pending, &state);
    }
    Ok(())
}

/// `None` if it was somebody ignored who set the user's membership.
fn stripped_state(question: &Question, view: &View<'_>, place: &Place<'_>) -> Result<Option<Vec<Json>>, ReadError> {
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
