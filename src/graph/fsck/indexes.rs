//! One room: the indexes that follow its current state.

use std::collections::{BTreeMap, BTreeSet};

use ruma::UserId;

use super::each;
use crate::{
    graph::{
        Head, Reader,
        keys::{MEMBER, NEXT_INDEXES, ROOM_SERVER, SERVER_ROOM, USER_ROOM, bounded},
        rows::RoomServer,
        types::{Membership, RoomNo, Seq, Status},
    },
    store::{ReadError, View},
};

/// The servers whose users have rows of their own: this one. Read off the rows, as fsck knows no configuration.
pub(super) fn local_servers(view: &View<'_>) -> Result<BTreeSet<String>, ReadError> {
    let mut servers = BTreeSet::new();
    each(view, USER_ROOM.span(&()), |(user, _), _| {
        servers.extend(UserId::parse(&user).ok().map(|user| user.server_name().to_string()));
        Ok(())
    })?;
    Ok(servers)
}

pub(super) fn check(
    view: &View<'_>,
    reader: &Reader,
    room: RoomNo,
    head: &Head,
    local: &BTreeSet<String>,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let members = match members(view, reader, room, head, problem) {
        // A broken state was told of already.
        Err(ReadError::Corrupt { keyspace: "node", .. }) => return Ok(()),
        other => other?,
    };
    check_members(view, room, head, &members, problem)?;
    check_servers(view, room, head, local, &members, problem)?;
    check_generations(view, room, head, problem)?;
    // Some may have still to be told.
    if head.is_unsettled { Ok(()) } else { check_local(view, (room, head), local, &members, problem) }
}

/// Rows of a generation that is not read are only there while another one is begun.
fn check_generations(
    view: &View<'_>,
    room: RoomNo,
    head: &Head,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let next = view.get(&NEXT_INDEXES, &(room,))?;
    if head.is_unsettled && next.is_none_or(|row| row.to != head.index_generation) {
        problem("what is left to do after a large change is not known".to_owned());
    }
    let known = |generation: u32| {
        generation == head.index_generation || next.is_some_and(|row| [row.from, row.to].contains(&generation))
    };
    let mut stray = 0_usize;
    each(view, MEMBER.span(&(room,)), |(_, generation, _), _| {
        stray += usize::from(!known(generation));
        Ok(())
    })?;
    each(view, ROOM_SERVER.span(&(room,)), |(_, generation, _), _| {
        stray += usize::from(!known(generation));
        Ok(())
    })?;
    if stray > 0 {
        problem(format!("{stray} rows of its members and servers are of a generation that nobody reads"));
    }
    Ok(())
}

type Members = BTreeMap<String, (Membership, Seq)>;

/// The members by the current state; on the way, every entry stands where its type and key say.
fn members(
    view: &View<'_>,
    reader: &Reader,
    room: RoomNo,
    head: &Head,
    problem: &mut dyn FnMut(String),
) -> Result<Members, ReadError> {
    let mut members = Members::new();
    let entries = reader.state(view, room, head.root)?;
    let names = view.multi_get(&crate::graph::keys::SLOT_NAME, entries.iter().map(|(slot, _)| (room, *slot)))?;
    for ((slot, seq), name) in entries.into_iter().zip(names) {
        let (Some(event), Some(name)) = (reader.event(view, room, seq)?, name) else {
            problem(format!("slot {} of the current state holds nothing that is there", slot.0));
            continue;
        };
        // Of a room that was joined through another server the state is outliers: their place is not known.
        if event.meta.status == Status::Rejected || !event.is_state(&name.kind, &name.state_key) {
            problem(format!("event {} does not belong into slot {} of the current state", seq.0, slot.0));
        }
        if name.kind == "m.room.member" {
            members.insert(name.state_key, (membership(event.content()), seq));
        }
    }
    Ok(members)
}

fn membership(content: &[u8]) -> Membership {
    let content: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    let word = content.get("membership").and_then(serde_json::Value::as_str);
    word.and_then(Membership::parse).unwrap_or(Membership::Leave)
}

fn check_members(
    view: &View<'_>,
    room: RoomNo,
    head: &Head,
    members: &Members,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    for (counted, of) in [(head.joined_members, Membership::Join), (head.invited_members, Membership::Invite)] {
        let there = members.values().filter(|(membership, _)| *membership == of).count();
        if usize::try_from(counted) != Ok(there) {
            problem(format!("the head counts {counted} members with {}, and there are {there}", of.as_str()));
        }
    }
    let mut wanted: BTreeMap<String, (Membership, Seq)> =
        members.iter().map(|(user, standing)| (bounded(user).into_owned(), *standing)).collect();
    each(view, MEMBER.span(&(room, head.index_generation)), |(_, _, user), row| {
        if wanted.remove(&user) != Some((row.membership, row.seq)) {
            problem(format!("the member row of {user} is not what the current state says"));
        }
        Ok(())
    })?;
    for user in wanted.keys() {
        problem(format!("{user} has no member row"));
    }
    Ok(())
}

fn check_servers(
    view: &View<'_>,
    room: RoomNo,
    head: &Head,
    local: &BTreeSet<String>,
    members: &Members,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    let mut joined: BTreeMap<String, u32> = BTreeMap::new();
    for (user, (membership, _)) in members {
        if let (Ok(user), Membership::Join) = (UserId::parse(user), membership) {
            *joined.entry(user.server_name().to_string()).or_default() += 1;
        }
    }
    if head.is_left == local.iter().any(|server| joined.contains_key(server)) {
        problem(format!("it is marked as {}", if head.is_left { "left" } else { "joined" }));
    }
    each(view, ROOM_SERVER.span(&(room, head.index_generation)), |(.., server), row| {
        let users = joined.remove(&server).unwrap_or_default();
        let is_listed = view.has(&SERVER_ROOM, &(&*server, room))?;
        let is_in = users > 0;
        if row.joined_users != users || !is_listed || (row.left == RoomServer::STILL) != is_in {
            problem(format!("the rows of server {server} are not what its {users} joined users make them"));
        }
        Ok(())
    })?;
    for server in joined.keys() {
        problem(format!("server {server} has no row"));
    }
    Ok(())
}

fn check_local(
    view: &View<'_>,
    (room, head): (RoomNo, &Head),
    local: &BTreeSet<String>,
    members: &Members,
    problem: &mut dyn FnMut(String),
) -> Result<(), ReadError> {
    for (user, (membership, seq)) in members {
        let Ok(user_id) = UserId::parse(user) else { continue };
        if !local.contains(user_id.server_name().as_str()) {
            continue;
        }
        match view.get(&USER_ROOM, &(&*bounded(user), room))? {
            // What came from outside stands until the room says something of the user; or this server has left, and heard
            // of the user from outside only.
            Some(row) if row.outside.is_some() || (head.is_left && row.seq.is_none()) => {}
            Some(row) if row.membership == *membership && row.seq == Some(*seq) => {
                let is_in = *membership == Membership::Join;
                if row.joined_at.is_some() != is_in
                    || (is_in && (row.left_root.is_some() || row.forgotten))
                    || (!is_in && row.was_joined != row.left_root.is_some())
                {
                    problem(format!("what {user} may still see of the room is not in order"));
                }
            }
            _ => problem(format!("the room of {user} is not what the current state says")),
        }
    }
    Ok(())
}
