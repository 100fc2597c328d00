//! A room that the user has joined, in a response.

use super::{
    collect::{Answer, Place, Question, write_entry},
    joined::Read,
    reply::{JoinedReply, Json},
    state::{self, Interval},
    timeline::{self, Timeline},
};
use crate::{
    base::json_writer::Object,
    graph::{RoomNo, Root, StateKey},
    push::Steps,
    rooms::{
        content,
        filter::Subject,
        receipts::{self, Receipt},
        visibility::{Eyes, Standing},
    },
    store::{Position, ReadError, View},
    sync::{
        lazy_members::Memory,
        recent::Recent,
        unread::{Count, Counted},
    },
};

/// Adds the room to the answer, if there is anything new in it.
pub(super) fn joined(
    question: &Question,
    view: &View<'_>,
    (place, read): (Place<'_>, Read),
    memory: &mut Memory,
    answer: &mut Answer,
) -> Result<(), ReadError> {
    let (room, reader, recent) = (place.room, &question.reader, &*read.recent);
    // To whom the room is new the answer is as to whom everything is.
    let since = question.since.filter(|_| read.known.is_some());
    let after = since.unwrap_or(Position::ZERO);
    let eyes = Eyes::standing_as(room, &question.request.user_id, Standing::by(place.row));
    let mut eyes = eyes.ignoring(place.ignored.clone());
    let timeline = if after < place.head.last_position || since.is_none() {
        timeline::read(question, view, (&place, Some(recent)), &mut eyes, (after, question.through))?
    } else {
        Timeline::nothing_new(question.through)
    };
    let end = match recent.root_at(question.through) {
        Some(root) => root,
        None => reader.root_at(view, room, question.through)?,
    };
    let known = read.known.filter(|_| !question.request.full_state).unwrap_or(Root::EMPTY);
    let state =
        state::write(question, view, (&place, Some(recent)), Interval { known, end }, &timeline, (&mut eyes, memory))?;
    let counted = unread(question, view, (&place, &read, &mut eyes), (since, &timeline), &mut answer.steps)?;
    let section = question.section();
    let mut reply = JoinedReply {
        timeline: timeline::write(question, view, &mut eyes, &timeline)?,
        summary: if known == end { None } else { Some(summary(question, view, (&place, recent))?) },
        unread: None,
        unread_threads: None,
        ephemeral: ephemeral(question, &place, (since, &read.receipts)),
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

/// Whether the user was joined in a state.
pub(super) fn was_joined(question: &Question, view: &View<'_>, room: RoomNo, root: Root) -> Result<bool, ReadError> {
    let own = StateKey::new("m.room.member", question.request.user_id.as_str());
    let member = question.reader.state_events(view, room, root, &[own])?.pop().flatten();
    let was = member.and_then(|member| content::text(member.content(), "membership"));
    Ok(was.as_deref() == Some("join"))
}

/// The unread counts, if they may have changed: by new events, or by a receipt of the user's.
fn unread(
    question: &Question,
    view: &View<'_>,
    (place, read, eyes): (&Place<'_>, &Read, &mut Eyes),
    (since, timeline): (Option<Position>, &Timeline),
    steps: &mut Steps,
) -> Result<Option<Counted>, ReadError> {
    let Some((receipts, memo)) = &read.unread else { return Ok(None) };
    let user_id = &question.request.user_id;
    if let Some(since) = since
        && timeline.seen.is_empty()
        && !receipts.iter().any(|receipt| receipt.position > since)
    {
        return Ok(None);
    }
    let count = Count {
        reader: &question.reader,
        user_id,
        room: place.room,
        head: place.head,
        recent: &read.recent,
        receipts,
        memo: memo.as_deref(),
        joined: place.row.joined_at.unwrap_or(place.row.position),
        ignored: place.ignored,
        through: question.through,
    };
    let matcher = || question.subscriber.prepared.matcher(view.horizon(), || super::matcher(view, user_id));
    count.run(view, (eyes, steps), matcher).map(Some)
}

/// The summary, which follows from members and names.
fn summary(question: &Question, view: &View<'_>, (place, recent): (&Place<'_>, &Recent)) -> Result<Json, ReadError> {
    let candidates = recent.candidates(view, &question.reader)?;
    let summary = candidates.summary(place.head, &question.request.user_id);
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    if !summary.heroes.is_empty() {
        object.value("m.heroes", &summary.heroes);
    }
    object.value("m.joined_member_count", &summary.joined);
    object.value("m.invited_member_count", &summary.invited);
    object.end();
    Ok(out)
}

/// Receipts and typing.
fn ephemeral(question: &Question, place: &Place<'_>, (since, receipts): (Option<Position>, &[Receipt])) -> Vec<Json> {
    let filter = &question.request.filter.room.ephemeral;
    let is_of_interest = filter.allows_room(place.head.room_id.as_str());
    let wants = |kind: &str| is_of_interest && filter.allows(Subject { kind, sender: "", has_url: false });
    let mut events = Vec::new();
    if wants("m.receipt") {
        events.extend(receipts::to_events(receipts));
    }
    if wants("m.typing") {
        let told = question.counted.filter(|_| since.is_some());
        let typing = question.typing.changed_since(place.room, told.unwrap_or(0));
        // What begins anew says nothing where nobody types; what goes on says that somebody stopped.
        if let Some(users) = typing.filter(|users| !users.is_empty() || told.is_some()) {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.object("content", |content| content.value("user_ids", &users));
            object.value("type", "m.typing");
            object.end();
            events.push(out);
        }
    }
    events
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
