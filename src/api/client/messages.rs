//! `/rooms/{roomId}/messages`, `/context/{eventId}` and `/event/{eventId}`: history.
//!
//! What ignored users sent, but for state, is left out of pages (client-server API, "Ignoring Users"). Who asks for one such
//! event by its id gets it: that is how a client shows what it has hidden.

use std::collections::BTreeMap;

use ::http::Method;

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    flows::{history, room_error::RoomError},
    graph::{Direction, Event, Place, Reader, RoomNo, Root, Seq},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::Access,
        events::{self, Bundle, Seen},
        filter::RoomEventFilter,
        members,
        page_token::{AnyToken, PageToken},
        timeline::{self, PageQuery},
    },
    store::{ReadError, View},
    users::account_data,
};

/// Events of a page, or around an event, if the client does not say.
const DEFAULT_LIMIT: usize = 10;
/// State events that are read at once.
const CHUNK: usize = 1_000;

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let rooms = format!("/_matrix/client/{version}/rooms/{{room_id}}");
        routes.raw(Method::GET, &format!("{rooms}/messages"), RateClass::Heavy, get_messages);
        routes.raw(Method::GET, &format!("{rooms}/context/{{event_id}}"), RateClass::Heavy, get_context);
        routes.raw(Method::GET, &format!("{rooms}/event/{{event_id}}"), RateClass::Light, get_event);
    }
}

async fn get_messages(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let direction = room::direction(&request)?.ok_or_else(|| Refusal::missing_param("`dir` is missing"))?;
    let from = room::token("from", request.query_value("from").as_deref())?;
    let to = room::token("to", request.query_value("to").as_deref())?;
    let filter = room::filter(&request)?;
    let limit = limit(&request, &filter)?.max(1);
    let read = history::read(&app, move |reader, view, cut| {
        let access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let access = access.ignoring(account_data::ignored(view, &recipient.user_id)?);
        let newest = access.root();
        let Access { room, mut eyes, .. } = access;
        let wanted = filter.allows_room(room_id.as_str());
        let query = PageQuery { from, to, direction, limit, filter: &filter, cut };
        let page = timeline::page(reader, view, room, &mut eyes, &query)?;
        let hole = page.hole.map(|hole| (room, hole));
        let seen = if wanted { page.chunk } else { Vec::new() };
        let chunk = events::write(reader, view, &mut eyes, &recipient, (&seen, Some(&room_id), Bundle::All))?;
        let state = match seen.first() {
            Some(first) if filter.lazy_load_members => {
                let before = first.event.meta.root_before;
                let root = if before.is_empty() { newest } else { before };
                let members = members::of_senders(reader, view, (room, root), seen.iter().map(|seen| &seen.event))?;
                events::write_state(reader, view, &mut eyes, &recipient, &members, Some(&room_id))?
            }
            _ => Vec::new(),
        };
        let reply = json_writer::object(|reply| {
            reply.array("chunk", |array| room::all(array, &chunk));
            reply.value("start", &page.start.encode());
            if let Some(end) = page.end {
                reply.value("end", &end.encode());
            }
            if filter.lazy_load_members {
                reply.array("state", |array| room::all(array, &state));
            }
        });
        Ok((reply, hole))
    });
    Ok(Json::text(read.await?))
}

/// The smaller of the two limits that a client may give.
fn limit(request: &RawRequest, filter: &RoomEventFilter) -> Result<usize, Refusal> {
    let by_filter = filter.event.limit.map(room::cut);
    let by_query = room::limit(request, by_filter.unwrap_or(DEFAULT_LIMIT))?;
    Ok(by_filter.map_or(by_query, |by_filter| by_filter.min(by_query)))
}

async fn get_event(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, event_id) = (raw::room_id(&request)?, room::event_id(&request)?);
    let recipient = room::recipient(&app, &caller);
    let read = app.rooms.read(move |reader, view| {
        let access =
            Access::to_history(reader, view, &room_id, &recipient.user_id).map_err(|error| hidden(error.into()))?;
        let mut access = access.ignoring(account_data::ignored(view, &recipient.user_id)?);
        let seen = find(reader, view, &mut access, &event_id)?;
        let one = (std::slice::from_ref(&seen), Some(&*room_id), Bundle::All);
        let written = events::write(reader, view, &mut access.eyes, &recipient, one)?;
        Ok::<_, RoomError>(written.into_iter().next().unwrap_or_default())
    });
    Ok(Json::text(read.await?))
}

/// An event of the room that the user may see.
fn find(reader: &Reader, view: &View<'_>, access: &mut Access, event_id: &ruma::EventId) -> Result<Seen, RoomError> {
    let event = reader.event_in(view, access.room, event_id)?.ok_or(RoomError::UnknownEvent)?;
    let membership = access.eyes.look_at(reader, view, &event)?.ok_or(RoomError::UnknownEvent)?;
    Ok(Seen { event, membership })
}

/// Whether there is such a room is not said to those who may not see the event either.
fn hidden(error: RoomError) -> RoomError {
    match error {
        RoomError::NotInRoom => RoomError::UnknownEvent,
        other => other,
    }
}

async fn get_context(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, event_id) = (raw::room_id(&request)?, room::event_id(&request)?);
    let recipient = room::recipient(&app, &caller);
    let filter = room::filter(&request)?;
    let limit = limit(&request, &filter)?;
    let read = history::read(&app, move |reader, view, _| {
        let access =
            Access::to_history(reader, view, &room_id, &recipient.user_id).map_err(|error| hidden(error.into()))?;
        let mut access = access.ignoring(account_data::ignored(view, &recipient.user_id)?);
        let seen = find(reader, view, &mut access, &event_id)?;
        let around = around(reader, view, &mut access, &seen.event, (limit, &filter))?;
        let mut write = |seen: &[Seen]| {
            events::write(reader, view, &mut access.eyes, &recipient, (seen, Some(&room_id), Bundle::All))
        };
        let (before, after) = (write(&around.before)?, write(&around.after)?);
        let event = write(std::slice::from_ref(&seen))?.into_iter().next().unwrap_or_default();
        let all = || around.before.iter().chain([&seen]).chain(&around.after).map(|seen| &seen.event);
        let last = around.after.last().unwrap_or(&seen);
        let state = state_at(reader, view, access.room, &last.event, (&filter, &mut all()))?;
        let state = events::write_state(reader, view, &mut access.eyes, &recipient, &state, Some(&room_id))?;
        let reply = json_writer::object(|reply| {
            reply.value("start", &around.start.encode());
            reply.value("end", &around.end.encode());
            reply.array("events_before", |array| room::all(array, &before));
            reply.raw("event", &event);
            reply.array("events_after", |array| room::all(array, &after));
            reply.array("state", |array| room::all(array, &state));
        });
        Ok((reply, around.hole.map(|hole| (access.room, hole))))
    });
    Ok(Json::text(read.await?))
}

/// What lies around an event.
struct Around {
    /// Youngest first.
    before: Vec<Seen>,
    /// Oldest first.
    after: Vec<Seen>,
    start: PageToken,
    end: PageToken,
    /// The deepest hole in it.
    hole: Option<(u64, Seq)>,
}

fn around(
    reader: &Reader,
    view: &View<'_>,
    access: &mut Access,
    event: &Event,
    (limit, filter): (usize, &RoomEventFilter),
) -> Result<Around, ReadError> {
    let (place, bound) = (Place { depth: event.meta.depth, tie: event.meta.tie }, view.horizon());
    let (start, end) = (PageToken::before(place, bound), PageToken::behind(place, bound));
    let mut hole = None;
    let mut page = |from: PageToken, direction, limit| -> Result<_, ReadError> {
        if limit == 0 {
            return Ok((Vec::new(), from));
        }
        let query = PageQuery { from: Some(AnyToken::Page(from)), to: None, direction, limit, filter, cut: None };
        let page = timeline::page(reader, view, access.room, &mut access.eyes, &query)?;
        hole = hole.max(page.hole);
        // Where the page came to, or the end of history that way.
        let last = page.chunk.last().map(|seen| Place { depth: seen.event.meta.depth, tie: seen.event.meta.tie });
        let reached = page.end.or_else(|| match direction {
            Direction::Backward => last.map(|last| PageToken::before(last, bound)),
            Direction::Forward => last.map(|last| PageToken::behind(last, bound)),
        });
        Ok((page.chunk, reached.unwrap_or(from)))
    };
    // The event itself counts as one of the limit; of an even rest both sides get the same.
    let half = limit / 2;
    let (before, start) = page(start, Direction::Backward, half)?;
    let (after, end) = page(end, Direction::Forward, limit.saturating_sub(half))?;
    Ok(Around { before, after, start, end, hole })
}

/// The state after an event; with lazy-loading, of members only those that sent what is returned.
fn state_at(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    last: &Event,
    (filter, shown): (&RoomEventFilter, &mut dyn Iterator<Item = &Event>),
) -> Result<Vec<Event>, ReadError> {
    let root: Root = last.meta.root_before;
    let mut state = BTreeMap::new();
    let seqs: Vec<_> = if filter.lazy_load_members {
        let entries = reader.state_but_type(view, room, root, "m.room.member")?;
        entries.into_iter().map(|(_, seq)| (room, seq)).collect()
    } else {
        reader.state(view, room, root)?.into_iter().map(|(_, seq)| (room, seq)).collect()
    };
    for chunk in seqs.chunks(CHUNK) {
        for event in reader.events(view, chunk)?.into_iter().flatten() {
            state.insert((event.kind.clone(), event.state_key.clone()), event);
        }
    }
    if filter.lazy_load_members {
        for event in members::of_senders(reader, view, (room, root), shown)? {
            state.insert((event.kind.clone(), event.state_key.clone()), event);
        }
    }
    if last.state_key.is_some() {
        state.insert((last.kind.clone(), last.state_key.clone()), last.clone());
    }
    Ok(state.into_values().filter(|event| timeline::wants(filter, event)).collect())
}
