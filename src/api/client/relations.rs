//! `/rooms/{roomId}/relations/{eventId}` and `/rooms/{roomId}/threads`.

use ::http::Method;

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    event::version,
    flows::room_error::RoomError,
    graph::{Direction, Event, Place, Tie},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::{Access, AccessError},
        events::{self, Bundle, Seen},
        page_token::{AnyToken, PageToken},
        relations::{self, Query},
    },
    store::Position,
    users::account_data,
};

/// Events of a page, if the client does not say.
const DEFAULT_LIMIT: usize = 5;
/// The most events of a page.
const MOST: usize = 100;
/// Events of a thread that are looked through for one of the caller's.
const MOST_IN_THREAD: usize = 1_000;

pub(super) fn routes(routes: &mut Routes) {
    for version in ["v1", "unstable"] {
        let rooms = format!("/_matrix/client/{version}/rooms/{{room_id}}");
        let relations = format!("{rooms}/relations/{{event_id}}");
        for path in
            [relations.clone(), format!("{relations}/{{rel_type}}"), format!("{relations}/{{rel_type}}/{{type}}")]
        {
            routes.raw(Method::GET, &path, RateClass::Heavy, get_relations);
        }
    }
    for path in ["v1/rooms/{room_id}/threads", "unstable/org.matrix.msc3856/rooms/{room_id}/threads"] {
        routes.raw(Method::GET, &format!("/_matrix/client/{path}"), RateClass::Heavy, get_threads);
    }
}

/// A token of a list that is in the order of arrival.
fn tie(token: AnyToken) -> Tie {
    match token {
        AnyToken::Page(page) => page.place.tie,
        // Between the last event that had arrived and the first one behind it: neither has the last index of a commit.
        AnyToken::Sync(position) => Tie(Tie::live(Position(position.0.saturating_add(1)), 0).0.saturating_sub(1)),
    }
}

fn token(tie: Tie) -> String {
    PageToken { bound: Position(u64::MAX), place: Place { depth: u64::MAX, tie } }.encode()
}

fn flag(request: &RawRequest, names: &[&str]) -> Result<bool, Refusal> {
    match names.iter().find_map(|name| request.query_value(name)).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::invalid_param("`recurse` must be `true` or `false`")),
    }
}

async fn get_relations(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, event_id) = (raw::room_id(&request)?, room::event_id(&request)?);
    let recipient = room::recipient(&app, &caller);
    let optional = |name: &str| request.args.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let (rel_type, kind) = (optional("rel_type"), optional("type"));
    let from = room::token("from", request.query_value("from").as_deref())?.map(tie);
    let to = room::token("to", request.query_value("to").as_deref())?.map(tie);
    let direction = room::direction(&request)?.unwrap_or(Direction::Backward);
    let recurse = flag(&request, &["recurse", "org.matrix.msc3981.recurse"])?;
    let limit = room::limit(&request, DEFAULT_LIMIT)?.clamp(1, MOST);
    let read = app.rooms.read(move |reader, view| {
        let access = Access::to_history(reader, view, &room_id, &recipient.user_id).map_err(hidden)?;
        let mut access = access.ignoring(account_data::ignored(view, &recipient.user_id)?);
        let target = reader.event_in(view, access.room, &event_id)?.ok_or(RoomError::UnknownEvent)?;
        access.eyes.look_at(reader, view, &target)?.ok_or(RoomError::UnknownEvent)?;
        let query = Query { rel_type: rel_type.as_deref(), kind: kind.as_deref(), recurse, from, to, direction, limit };
        let found = relations::list(reader, view, &mut access.eyes, (access.room, target.seq), &query)?;
        let what = (&*found.chunk, Some(&*room_id), Bundle::All);
        let chunk = events::write(reader, view, &mut access.eyes, &recipient, what)?;
        Ok::<_, RoomError>(json_writer::object(|reply| {
            reply.array("chunk", |array| room::all(array, &chunk));
            if let Some(next) = found.next {
                reply.value("next_batch", &token(next));
            }
            if let Some(from) = from {
                reply.value("prev_batch", &token(from));
            }
            if recurse {
                reply.value("recursion_depth", &relations::RECURSION_DEPTH);
            }
        }))
    });
    Ok(Json::text(read.await?))
}

fn hidden(error: AccessError) -> RoomError {
    match error {
        AccessError::NotInRoom | AccessError::NotThen => RoomError::UnknownEvent,
        AccessError::Read(error) => error.into(),
    }
}

/// An event without its content, as if it were redacted.
fn redacted(access: &Access, event: Event) -> Option<Event> {
    let body = event.body.redacted(version::rules(&access.head.room_version)?).ok()?;
    Some(Event { body, ..event })
}

async fn get_threads(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let only_own = match request.query_value("include").as_deref() {
        None | Some("all") => false,
        Some("participated") => true,
        Some(_) => return Err(Refusal::invalid_param("`include` must be `all` or `participated`")),
    };
    let from = room::token("from", request.query_value("from").as_deref())?.map(tie);
    let limit = room::limit(&request, DEFAULT_LIMIT)?.clamp(1, MOST);
    let read = app.rooms.read(move |reader, view| {
        let access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let mut access = access.ignoring(account_data::ignored(view, &recipient.user_id)?);
        let rows = reader.threads(view, access.room, from, limit)?;
        let seqs: Vec<_> = rows.rows.iter().map(|(_, root)| (access.room, *root)).collect();
        let mut seen: Vec<Seen> = Vec::new();
        for event in reader.events(view, &seqs)?.into_iter().flatten() {
            let Some(membership) = access.eyes.look_at(reader, view, &event)? else { continue };
            let takes_part = |event: &Event| {
                let back = Direction::Backward;
                let rows =
                    reader.relations(view, access.room, event.seq, Some("m.thread"), None, back, MOST_IN_THREAD)?;
                let seqs: Vec<_> = rows.rows.into_iter().map(|(_, seq)| seq).collect();
                relations::any_by(reader, view, access.room, &seqs, &recipient.user_id)
            };
            if !only_own || event.sender == recipient.user_id || takes_part(&event)? {
                // Of a root by somebody who is ignored only its place is shown.
                let event = if access.eyes.hears(&event) { Some(event) } else { redacted(&access, event) };
                seen.extend(event.map(|event| Seen { event, membership }));
            }
        }
        let what = (&*seen, Some(&*room_id), Bundle::All);
        let chunk = events::write(reader, view, &mut access.eyes, &recipient, what)?;
        let next = rows.rows.last().filter(|_| rows.more).map(|(tie, _)| *tie);
        Ok::<_, AccessError>(json_writer::object(|reply| {
            reply.array("chunk", |array| room::all(array, &chunk));
            if let Some(next) = next {
                reply.value("next_batch", &token(next));
            }
        }))
    });
    Ok(Json::text(read.await?))
}
