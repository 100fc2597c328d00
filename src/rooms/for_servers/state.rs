//! The state of a room before an event, and what authorises events: for `/state`, `/state_ids` and `/event_auth`.
//!
//! These are given whole, whatever the history visibility says: a server that takes part in a room must be able to judge its
//! events. Stored events are spliced into the answer as they are.

use ruma::{EventId, ServerName};

use super::{ServerAccess, ServerAccessError};
use crate::{
    base::json_writer::{Array, Object, string},
    graph::{Reader, RoomNo, RoomServer, Seq},
    store::View,
};

/// The largest answer, in bytes: what this server takes from others, too.
const MOST_BYTES: usize = 100 * 1024 * 1024;
/// Events that are read at once.
const WAVE: usize = 500;

/// How an event stands in an answer.
#[derive(Clone, Copy)]
enum Form {
    Whole,
    Id,
}

/// The answer to `/state`: the state before an event and its auth chain, as events.
pub fn state(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    event_id: &EventId,
) -> Result<Vec<u8>, ServerAccessError> {
    let (state, chain) = state_before(access, reader, view, event_id)?;
    answer(reader, view, access.room, Form::Whole, &[("pdus", state), ("auth_chain", chain)])
}

/// The answer to `/state_ids`: the same, as event ids.
pub fn state_ids(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    event_id: &EventId,
) -> Result<Vec<u8>, ServerAccessError> {
    let (state, chain) = state_before(access, reader, view, event_id)?;
    answer(reader, view, access.room, Form::Id, &[("pdu_ids", state), ("auth_chain_ids", chain)])
}

/// The answer to `/event_auth`: the auth chain of an event.
pub fn event_auth(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    event_id: &EventId,
) -> Result<Vec<u8>, ServerAccessError> {
    let event = access.event(reader, view, event_id)?;
    let pdu = access.pdu(&event).ok_or(ServerAccessError::UnknownEvent)?;
    // The auth graph has rows of state events only.
    let cited = reader.locate_many(view, pdu.auth_events())?.into_iter().flatten();
    let mut chain: Vec<Seq> = cited.filter(|at| at.room == access.room).map(|at| at.seq).collect();
    chain.extend(reader.auth_chain(view, access.room, &chain)?);
    chain.sort_unstable();
    chain.dedup();
    answer(reader, view, access.room, Form::Whole, &[("auth_chain", chain)])
}

/// The answer to `/send_join`: the state before a join that was just accepted and what authorises both, the join itself,
/// and the servers that were in the room before.
pub fn joined(
    reader: &Reader,
    view: &View<'_>,
    (room, seq): (RoomNo, Seq),
    origin: &ServerName,
) -> Result<Vec<u8>, ServerAccessError> {
    let event = reader.event(view, room, seq)?.ok_or(ServerAccessError::UnknownEvent)?;
    let state = reader.state(view, room, event.meta.root_before)?;
    let state: Vec<Seq> = state.into_iter().map(|(_, seq)| seq).collect();
    let of: Vec<Seq> = state.iter().copied().chain([seq]).collect();
    let chain = reader.auth_chain(view, room, &of)?;
    let was_in = |row: &RoomServer| row.left == RoomServer::STILL && row.joined < event.meta.position();
    let servers = reader.servers(view, room)?.into_iter().filter(|(_, row)| was_in(row));
    let mut out = answer(reader, view, room, Form::Whole, &[("auth_chain", chain), ("state", state)])?;
    // The closing brace.
    out.pop();
    let mut object = Object::resume(&mut out);
    object.raw("event", &event.body.pdu);
    object.value("members_omitted", &false);
    object.value("origin", origin);
    object.array("servers_in_room", |array| servers.for_each(|(server, _)| string(array.item(), &server)));
    object.end();
    Ok(out)
}

fn state_before(
    access: &mut ServerAccess,
    reader: &Reader,
    view: &View<'_>,
    event_id: &EventId,
) -> Result<(Vec<Seq>, Vec<Seq>), ServerAccessError> {
    let event = access.event(reader, view, event_id)?;
    if event.meta.partial || access.head.is_partial {
        return Err(ServerAccessError::UnknownEvent);
    }
    let state = reader.state(view, access.room, event.meta.root_before)?;
    let state: Vec<Seq> = state.into_iter().map(|(_, seq)| seq).collect();
    let chain = reader.auth_chain(view, access.room, &state)?;
    Ok((state, chain))
}

fn answer(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    form: Form,
    members: &[(&str, Vec<Seq>)],
) -> Result<Vec<u8>, ServerAccessError> {
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    for (name, seqs) in members {
        write(object.key(name), reader, view, (room, form), seqs)?;
    }
    object.end();
    Ok(out)
}

fn write(
    out: &mut Vec<u8>,
    reader: &Reader,
    view: &View<'_>,
    (room, form): (RoomNo, Form),
    seqs: &[Seq],
) -> Result<(), ServerAccessError> {
    let mut array = Array::begin(out);
    for wave in seqs.chunks(WAVE) {
        let wave: Vec<_> = wave.iter().map(|seq| (room, *seq)).collect();
        for event in reader.events(view, &wave)?.into_iter().flatten() {
            let item = array.item();
            match form {
                Form::Whole => item.extend_from_slice(&event.body.pdu),
                Form::Id => string(item, event.event_id.as_str()),
            }
            if item.len() > MOST_BYTES {
                return Err(ServerAccessError::TooLarge);
            }
        }
    }
    array.end();
    Ok(())
}
