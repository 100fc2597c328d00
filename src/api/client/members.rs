//! `/rooms/{roomId}/members`, `/joined_members` and `/joined_rooms`.

use ::http::Method;
use ruma::api::client::membership::{joined_members, joined_rooms};

use super::{raw, room};
use crate::{
    app::App,
    base::json_writer,
    graph::Membership,
    http::{Caller, Json, RateClass, RawRequest, Refusal, Routes},
    rooms::{
        access::{Access, AccessError},
        content, events,
        members::{self, MemberQuery},
        visibility::Standing,
    },
};

pub(super) fn routes(routes: &mut Routes) {
    for version in room::VERSIONS {
        let path = format!("/_matrix/client/{version}/rooms/{{room_id}}/members");
        routes.raw(Method::GET, &path, RateClass::Heavy, get_members);
    }
    routes.add::<joined_members::v3::Request, _, _>(RateClass::Heavy, get_joined_members);
    routes.add::<joined_rooms::v3::Request, _, _>(RateClass::Light, get_joined_rooms);
}

async fn get_members(app: App, caller: Caller, request: RawRequest) -> Result<Json, Refusal> {
    let (room_id, recipient) = (raw::room_id(&request)?, room::recipient(&app, &caller));
    let at = room::token("at", request.query_value("at").as_deref())?;
    let query = MemberQuery {
        membership: membership(&request, "membership")?,
        not_membership: membership(&request, "not_membership")?,
    };
    let read = app.rooms.read(move |reader, view| {
        let mut access = Access::to_read(reader, view, &room_id, &recipient.user_id)?;
        let root = match (at, access.eyes.standing()) {
            // Who has left may look back from their leave, and no further.
            (Some(at), Standing::Left { at: left, .. }) if at.bound() >= left => access.root(),
            (Some(at), _) => {
                let at = at.bound().min(view.horizon());
                let root = reader.root_at(view, access.room, at)?;
                if !access.eyes.sees_state(reader, view, (root, at))? {
                    return Err(AccessError::NotThen);
                }
                root
            }
            (None, _) => access.root(),
        };
        let members = members::in_state(reader, view, (access.room, root), query)?;
        let chunk = events::write_state(reader, view, &mut access.eyes, &recipient, &members, Some(&room_id))?;
        Ok::<_, AccessError>(json_writer::object(|reply| reply.array("chunk", |array| room::all(array, &chunk))))
    });
    Ok(Json::text(read.await?))
}

fn membership(request: &RawRequest, name: &str) -> Result<Option<Membership>, Refusal> {
    let Some(word) = request.query_value(name).filter(|word| !word.is_empty()) else { return Ok(None) };
    let known = Membership::parse(&word);
    known.map(Some).ok_or_else(|| Refusal::invalid_param(format!("`{name}` is no membership")))
}

async fn get_joined_members(app: App, caller: Caller, request: joined_members::v3::Request) -> Result<Json, Refusal> {
    let read = app.rooms.read(move |reader, view| {
        let access = Access::as_member(reader, view, &request.room_id, &caller.user_id)?;
        let query = MemberQuery { membership: Some(Membership::Join), not_membership: None };
        let members = members::in_state(reader, view, (access.room, access.head.root), query)?;
        Ok::<_, AccessError>(json_writer::object(|reply| {
            reply.object("joined", |joined| {
                for event in &members {
                    joined.object(event.state_key.as_deref().unwrap_or_default(), |member| {
                        for (name, field) in [("display_name", "displayname"), ("avatar_url", "avatar_url")] {
                            if let Some(value) = content::text(event.content(), field) {
                                member.value(name, &value);
                            }
                        }
                    });
                }
            });
        }))
    });
    Ok(Json::text(read.await?))
}

async fn get_joined_rooms(
    app: App,
    caller: Caller,
    _: joined_rooms::v3::Request,
) -> Result<joined_rooms::v3::Response, Refusal> {
    let read = app.rooms.read(move |reader, view| {
        let rooms = reader.user_rooms(view, &caller.user_id)?;
        let joined: Vec<_> =
            rooms.into_iter().filter(|(_, row)| row.membership == Membership::Join).map(|(room, _)| room).collect();
        let heads = reader.heads(view, &joined)?;
        Ok::<_, crate::store::ReadError>(heads.into_iter().flatten().map(|head| head.room_id).collect())
    });
    Ok(joined_rooms::v3::Response::new(read.await?))
}
