//! A room that the user has joined, in a response.

use super::{
    collect::{Answer, Place, Question, write_entry},
    reply::{JoinedReply, Json},
    state::{self, Interval},
    timeline::{self, Timeline},
};
use crate::{
    base::json_writer::Object,
    graph::{RoomNo, Root, StateKey},
    rooms::{content, filter::Subject, receipts, summary, visibility::Eyes},
    store::{Position, ReadError, View},
    sync::{
        lazy_members::Memory,
        unread::{Count, Counted},
    },
};

/// Adds the room to the answer, if there is anything new in it.
pub(super) fn joined(
    question: &Question,
    view: &View<'_>,
    place: Place<'_>,
    memory: &mut Memory,
    answer: &mut Answer,
) -> Result<(), ReadError> {
    let (room, reader, user_id) = (place.room, &question.reader, &question.request.user_id);
    let known = known_root(question, view, &place)?;
    // To whom the room is new the answer is as to whom everything is.
    let since = question.since.filter(|_| known.is_some());
    let after = since.unwrap_or(Position::ZERO);
    let mut eyes = Eyes::of(reader, view, room, user_id)?;
    let timeline = if after < place.head.last_position || since.is_none() {
        timeline::read(question, view, &place, &mut eyes, (after, question.through))?
    } else {
        nothing_new(question.through)
    };
    let end = reader.root_at(view, room, question.through)?;
    let known = known.filter(|_| !question.request.full_state).unwrap_or(Root::EMPTY);
    let state = state::write(question, view, room, Interval { known, end }, &timeline, memory)?;
    let counted = unread(question, view, &place, (since, &timeline))?;
    let section = question.section();
    let mut reply = JoinedReply {
        timeline: timeline::write(question, view, &mut eyes, &timeline)?,
        summary: summary(question, view, room, known == end)?,
        unread: None,
        unread_threads: None,
        ephemeral: ephemeral(question, view, room, since)?,
        account_data: wanted_account_data(question, &place),
        state,
        section,
    };
    if let Some(counted) = counted {
        let by_thread = question.request.filter.room.timeline.unread_thread_notifications;
        (reply.unread, reply.unread_threads) = counted.write(by_thread);
        answer.unread.push(counted);
    }
    if reply.is_empty() && since.is_some() && !question.request.full_state {
        return Ok(());
    }
    answer.reply.joined(place.head.room_id.as_str(), &reply);
    Ok(())
}

/// The state that the client knows: that at `since`, if the user was joined then.
fn known_root(question: &Question, view: &View<'_>, place: &Place<'_>) -> Result<Option<Root>, ReadError> {
    let Some(since) = question.since else { return Ok(None) };
    let root = question.reader.root_at(view, place.room, since)?;
    if place.row.position <= since {
        return Ok(Some(root));
    }
    let own = StateKey::new("m.room.member", question.request.user_id.as_str());
    let member = question.reader.state_events(view, place.room, root, &[own])?.pop().flatten();
    let was = member.and_then(|member| content::text(member.content(), "membership"));
    Ok((was.as_deref() == Some("join")).then_some(root))
}

fn nothing_new(through: Position) -> Timeline {
    let prev = crate::rooms::page_token::PageToken::end(through);
    Timeline { seen: Vec::new(), limited: false, prev }
}

/// The unread counts, if they may have changed: by new events, or by a receipt of the user's.
fn unread(
    question: &Question,
    view: &View<'_>,
    place: &Place<'_>,
    (since, timeline): (Option<Position>, &Timeline),
) -> Result<Option<Counted>, ReadError> {
    let user_id = &question.request.user_id;
    let count = Count {
        reader: &question.reader,
        user_id,
        room: place.room,
        head: place.head,
        joined: place.row.position,
        through: question.through,
    };
    if let Some(since) = since
        && timeline.seen.is_empty()
        && !count.has_read_since(view, since)?
    {
        return Ok(None);
    }
    count.run(view, || question.subscriber.matcher(view.horizon(), || super::matcher(view, user_id))).map(Some)
}

/// The summary, whenever the state has changed: it follows from members and names.
fn summary(question: &Question, view: &View<'_>, room: RoomNo, unchanged: bool) -> Result<Option<Json>, ReadError> {
    if unchanged {
        return Ok(None);
    }
    let summary = summary::summary(&question.reader, view, room, &question.request.user_id)?;
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    if !summary.heroes.is_empty() {
        object.value("m.heroes", &summary.heroes);
    }
    object.value("m.joined_member_count", &summary.joined);
    object.value("m.invited_member_count", &summary.invited);
    object.end();
    Ok(Some(out))
}

/// Receipts and typing.
fn ephemeral(
    question: &Question,
    view: &View<'_>,
    room: RoomNo,
    since: Option<Position>,
) -> Result<Vec<Json>, ReadError> {
    let filter = &question.request.filter.room.ephemeral;
    let wants = |kind: &str| filter.allows(Subject { kind, sender: "", has_url: false });
    let mut events = Vec::new();
    if wants("m.receipt") {
        let user_id = &question.request.user_id;
        let found = match since {
            Some(since) => receipts::since(view, room, user_id, (since, question.through))?,
            None => receipts::all(view, room, user_id)?,
        };
        events.extend(receipts::to_events(&found));
    }
    if wants("m.typing") {
        let counted = if since.is_some() { question.counted } else { 0 };
        let typing = question.typing.changed_since(room, counted);
        // Whoever knows of nobody typing needs not be told that nobody is.
        if let Some(users) = typing.filter(|users| !users.is_empty() || counted > 0) {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.object("content", |content| content.value("user_ids", &users));
            object.value("type", "m.typing");
            object.end();
            events.push(out);
        }
    }
    Ok(events)
}

/// The account data of the room that the filter wants.
pub(super) fn wanted_account_data(question: &Question, place: &Place<'_>) -> Vec<Json> {
    let filter = &question.request.filter.room.account_data;
    if !filter.allows_room(place.head.room_id.as_str()) {
        return Vec::new();
    }
    let wanted = place
        .account_data
        .iter()
        .filter(|entry| filter.allows(Subject { kind: &entry.kind, sender: "", has_url: false }));
    wanted.map(write_entry).collect()
}
