//! `GET /rooms/{roomId}/initialSync`: what a client shows of a room that it only looks into (client-server API, "Room
//! Previews").

use ::http::Method;

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    graph::{Direction, Membership, Place},
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::{Access, AccessError},
        aliases,
        events::{self, Bundle},
        filter::RoomEventFilter,
        page_token::PageToken,
        timeline::{self, PageQuery},
        visibility::Standing,
    },
    users::account_data,
};

/// Messages, if the client does not say.
const DEFAULT_LIMIT: usize = 20;
/// Events that are read at once.
const CHUNK: usize = 1_000;

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/initialSync");
        routes.raw(Method::GET, &path, RateClass::Heavy, room_initial_sync);
    }
}

async fn room_initial_sync(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let limit = room::limit(&request, DEFAULT_LIMIT)?.max(1);
    let read = app.rooms.read(move |reader, view| {
        let access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let mut access = access.ignoring(account_data::ignored(view, &recipient.user_id)?);
        let filter = RoomEventFilter::default();
        let query =
            PageQuery { from: None, to: None, direction: Direction::Backward, limit, filter: &filter, cut: None };
        let mut page = timeline::page(reader, view, access.room, &mut access.eyes, &query)?;
        page.chunk.reverse();
        let first = page.chunk.first().map(|seen| Place { depth: seen.event.meta.depth, tie: seen.event.meta.tie });
        let start = page.end.or_else(|| first.map(|first| PageToken::before(first, page.start.bound)));
        let what = (&*page.chunk, Some(&*room_id), Bundle::All);
        let chunk = events::write(reader, view, &mut access.eyes, &recipient, what)?;
        let mut state = Vec::new();
        for entries in reader.state(view, access.room, access.root())?.chunks(CHUNK) {
            let wanted: Vec<_> = entries.iter().map(|(_, seq)| (access.room, *seq)).collect();
            let found: Vec<_> = reader.events(view, &wanted)?.into_iter().flatten().collect();
            state.extend(events::write_state(reader, view, &mut access.eyes, &recipient, &found, Some(&room_id))?);
        }
        let membership = match access.eyes.standing() {
            Standing::Joined => Some(Membership::Join),
            Standing::Left { .. } => Some(Membership::Leave),
            Standing::Outside | Standing::Forgotten => {
                reader.member(view, access.room, &recipient.user_id)?.map(|member| member.membership)
            }
        };
        let visibility = if aliases::is_published(view, access.room)? { "public" } else { "private" };
        Ok::<_, AccessError>(json_writer::object(|reply| {
            reply.value("room_id", room_id.as_str());
            if let Some(membership) = membership {
                reply.value("membership", membership.as_str());
            }
            reply.object("messages", |messages| {
                messages.array("chunk", |array| room::all(array, &chunk));
                messages.value("start", &start.unwrap_or(page.start).encode());
                messages.value("end", &page.start.encode());
            });
            reply.array("state", |array| room::all(array, &state));
            reply.value("visibility", visibility);
        }))
    });
    Ok(Json::text(read.await?))
}
