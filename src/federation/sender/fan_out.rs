//! From the log into the queues: which events are for us to send, and to whom.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{OwnedServerName, ServerName};
use tokio::time::Instant;

use super::{
    Inner, Sender, State,
    catch_up::{membership_of, takes_leave},
    known::Present,
    queue::Item,
};
use crate::{
    federation::keys::{DESTINATION, DestinationRow, OUTSIDE},
    graph::{
        Event, Reader, RoomNo, RoomServer, Root, Seq, StateKey, Status,
        follower::{FollowError, Follower, cursor},
        log::{Row, Stream, Subject},
    },
    rooms::receipts,
    store::{Batch, Position, ReadError, View},
};

/// Its name among the followers of the log.
pub(super) const NAME: &str = "federation";
/// Servers of a room that are read at once.
const PAGE: usize = 1_000;

/// Follows the log for the sender.
pub(super) struct FanOut(pub(super) Sender);

/// What goes into the queues.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    /// Events for servers that are not in the room.
    outside: Vec<(OwnedServerName, Item)>,
    /// Rooms in which users of ours have read, since when, and the servers there.
    receipts: Vec<(RoomNo, Position, Vec<OwnedServerName>)>,
    /// The servers that are in rooms now, by their current state.
    known: Vec<(RoomNo, Root, Present)>,
}

impl Follower for FanOut {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What the log does not say any more is said by the last events of each room.
    async fn bootstrap(&self, position: Position) -> Result<(), FollowError> {
        let store = &self.0.0.store;
        let Some(at) = store.read(|view| cursor(view, NAME)).await? else {
            // Never sent to anybody. Rooms that are shared are shared from now on.
            self.0.0.state.lock().followed = position;
            return Ok(());
        };
        let now = self.0.0.clock.now();
        let row = DestinationRow {
            failing_since: now,
            tries: 0,
            next_try: now,
            resume: after(at.position),
            unanswered: None,
        };
        let mut last: Option<(String, RoomNo)> = None;
        loop {
            let (reader, from) = (self.0.0.reader.clone(), last.clone());
            let page = store.read(move |view| reader.all_servers(view, from.as_ref(), PAGE)).await?;
            last = page.rows.last().cloned();
            let mut servers: Vec<String> = page.rows.into_iter().map(|(server, _)| server).collect();
            servers.dedup();
            servers.retain(|server| *server != self.0.0.servers.own && ServerName::parse(server).is_ok());
            let asked = servers.clone();
            // Of one that fails already it is known since when.
            let known = store.read(move |view| view.multi_get(&DESTINATION, asked.iter().map(|one| (one.as_str(),))));
            let mut batch = Batch::new();
            for (server, _) in servers.iter().zip(known.await?).filter(|(_, known)| known.is_none()) {
                batch.put(&DESTINATION, &(server.as_str(),), &row);
            }
            store.commit(batch).await?;
            if !page.more {
                break;
            }
        }
        self.0.load().await?;
        self.0.0.state.lock().followed = position;
        Ok(())
    }

    async fn follow(&self, rows: &[Row]) -> Result<(), FollowError> {
        let sender = &self.0.0;
        let followed = sender.state.lock().followed;
        let Some(through) = rows.last().map(|row| row.position) else { return Ok(()) };
        let new = rows.iter().filter(|row| row.position > followed);
        let (mut events, receipts): (Vec<Row>, Vec<Row>) = new
            .filter(|row| matches!(row.entry.stream, Stream::Room | Stream::Receipt))
            .cloned()
            .partition(|row| row.entry.stream == Stream::Room);
        let addressed = sender.known.address(&events);
        if addressed.is_some() {
            events.clear();
        }
        let mut found = Found::default();
        if !events.is_empty() || !receipts.is_empty() {
            let (reader, own) = (sender.reader.clone(), sender.servers.own.clone());
            found = sender.store.read(move |view| find(&reader, view, &own, (&events, &receipts))).await?;
        }
        for (item, servers) in addressed.into_iter().flatten() {
            found.add((item, Vec::new()), &servers);
        }
        for (room, root, servers) in std::mem::take(&mut found.known) {
            sender.known.keep(room, root, servers);
        }
        let (kept, batch) = sender.queue(found);
        if !kept.is_empty() {
            // The cursor goes on without servers that fail, and no row of theirs says this. It waits while nothing does.
            match sender.store.commit_lazy(batch).await {
                Ok(_) => sender.keeps_outside(&kept),
                Err(error) => tracing::warn!(%error, "what other servers are to be told later is not kept"),
            }
        }
        let mut state = sender.state.lock();
        state.followed = through.max(state.followed);
        drop(state);
        sender.due.notify_one();
        Ok(())
    }

    /// Before whatever somebody has not acknowledged yet.
    fn settled(&self, through: Position) -> Position {
        let state = self.0.0.state.lock();
        let held = state.destinations.values().filter_map(super::Destination::holds).min();
        held.map_or(through, |held| Position(held.0.saturating_sub(1)).min(through))
    }
}

impl Found {
    /// An event for these servers but for some, by their places.
    fn add(&mut self, (item, others): (Item, Vec<usize>), servers: &Present) {
        match self.runs.last_mut().filter(|run| run.room == item.room && Arc::ptr_eq(&run.servers, servers)) {
            Some(run) => run.events.push((item, others)),
            None => {
                let run = Run { room: item.room, servers: Arc::clone(servers), events: vec![(item, others)] };
                self.runs.push(run);
            }
        }
    }
}

impl Inner {
    /// Puts into queues what was found. Says what must be kept of it, as its servers fail, and by which commit.
    fn queue(&self, found: Found) -> (Vec<(OwnedServerName, Item)>, Batch) {
        let now = self.clock.instant();
        let (mut kept, mut batch) = (Vec::new(), Batch::new());
        let mut state = self.state.lock();
        for run in found.runs {
            run.push(&mut state, &self.servers, now);
        }
        for (room, since, servers) in found.receipts {
            for server in servers.into_iter().filter(|server| self.servers.allow(server)) {
                state.destinations.entry(server.clone()).or_default().push_receipts(room, since);
                state.note(&server, now);
            }
        }
        for (server, item) in found.outside.into_iter().filter(|(server, _)| self.servers.allow(server)) {
            if state.destinations.entry(server.clone()).or_default().push_outside(item) {
                batch.put(&OUTSIDE, &item.outside_key(&server), &());
                kept.push((server.clone(), item));
            }
            state.note(&server, now);
        }
        (kept, batch)
    }

    fn keeps_outside(&self, kept: &[(OwnedServerName, Item)]) {
        let mut state = self.state.lock();
        for (server, item) in kept {
            if let Some(destination) = state.destinations.get_mut(server) {
                destination.keeps_outside(&[*item]);
            }
        }
    }
}

/// Events of one room that follow one another in the log, and to whom they go. A burst in a large room is many events for
/// many servers: they are written down once, not for each.
struct Run {
    room: RoomNo,
    servers: Present,
    /// Each with those of the servers, by their places, that do not get it.
    events: Vec<(Item, Vec<usize>)>,
}

impl Run {
    fn push(&self, state: &mut State, servers: &super::Servers, now: Instant) {
        for (place, (server, _)) in self.servers.iter().enumerate() {
            let mut items = self.events.iter().filter(|(_, others)| !others.contains(&place)).peekable();
            if items.peek().is_none() || !servers.allow(server) {
                continue;
            }
            let destination = state.destinations.entry(server.clone()).or_default();
            items.for_each(|(item, _)| destination.push(*item));
            state.note(server, now);
        }
    }
}

/// The events of a room that came by one commit.
#[derive(Default)]
struct Commit {
    /// Some are for us to send.
    has_ours: bool,
    events: Vec<(RoomNo, Seq)>,
}

/// Where what comes behind a commit begins.
fn after(position: Position) -> Position {
    Position(position.0.saturating_add(1))
}

fn find(
    reader: &Reader,
    view: &View<'_>,
    own: &ServerName,
    (events, receipts): (&[Row], &[Row]),
) -> Result<Found, ReadError> {
    let mut found = Found::default();
    let (mut wanted, mut read) = (Vec::new(), BTreeMap::new());
    for Row { entry, .. } in events.iter().filter(|row| row.entry.reference != 0) {
        let Subject::Room(room) = &entry.subject else { continue };
        wanted.push((*room, Seq(u32::try_from(entry.reference).unwrap_or(u32::MAX))));
    }
    for Row { position, entry, .. } in receipts {
        let Subject::Room(room) = &entry.subject else { continue };
        read.entry(*room).or_insert(*position);
    }
    let metas = reader.metas(view, &wanted)?;
    let is_ours = |meta: &crate::graph::EventMeta| meta.relay && matches!(meta.status, Status::Accepted | Status::Held);
    let mut commits: BTreeMap<(RoomNo, Position), Commit> = BTreeMap::new();
    for (key, meta) in wanted.into_iter().zip(metas) {
        let Some(meta) = meta else { continue };
        let commit = commits.entry((key.0, meta.position())).or_default();
        commit.has_ours |= is_ours(&meta);
        commit.events.push(key);
    }
    let mut servers = Servers { reader, view, own, rooms: HashMap::new() };
    let mut in_order: Vec<_> = commits.into_iter().filter(|(_, commit)| commit.has_ours).collect();
    in_order.sort_by_key(|((_, position), _)| *position);
    let first = in_order.first().map(|((_, position), _)| *position).unwrap_or_default();
    for ((room, position), commit) in in_order {
        let events: Vec<Event> = reader.events(view, &commit.events)?.into_iter().flatten().collect();
        let there = servers.of(room, first)?;
        for (index, event) in events.iter().enumerate().filter(|(_, event)| is_ours(&event.meta)) {
            let item = Item { position, room, seq: event.seq };
            let others = there.iter().enumerate().filter(|(_, (server, row))| {
                // Who sent it to us has it.
                *server == event.sender.server_name() || !is_for(server, row, &events, (index, position))
            });
            let others = others.map(|(place, _)| place).collect();
            found.add((item, others), &there);
            let taken_back = taken_back(reader, view, event)?;
            let others = taken_back.filter(|server| *server != *own && there.iter().all(|(other, _)| other != server));
            found.outside.extend(others.map(|server| (server, item)));
        }
    }
    let through = receipts.last().map(|row| row.position).unwrap_or_default();
    for (room, since) in read {
        let told = receipts::public_between(view, &[(room, (since, through))], own, 1)?;
        if told.iter().any(|receipts| !receipts.is_empty()) {
            let there = servers.of(room, first)?;
            let there = there.iter().filter(|(_, row)| row.left == RoomServer::STILL);
            let there = there.map(|(server, _)| server.clone()).collect();
            found.receipts.push((room, since, there));
        }
    }
    found.known = servers.known()?;
    Ok(found)
}

/// Whether a server is a destination of the `index`-th of the events of a commit: it is in the room, or this is the last
/// that it gets of it. By the commit alone that can't be told when the server came or went in this very one.
fn is_for(server: &ServerName, row: &RoomServer, events: &[Event], (index, position): (usize, Position)) -> bool {
    if position < row.joined {
        // It left by this and is back since.
        return events.get(index).is_some_and(|event| takes_leave(event, server));
    }
    if position > row.left {
        return false;
    }
    let comes = |event: &Event| membership_of(event).is_some_and(|(user, joins)| joins && user.server_name() == server);
    let is_before_join = position == row.joined && events.iter().position(comes).is_some_and(|first| index < first);
    let is_after_leave = position == row.left
        && events.iter().rposition(|event| takes_leave(event, server)).is_some_and(|last| index > last);
    !is_before_join && !is_after_leave
}

/// The server of somebody whose invite or knock an event takes back: it may not be in the room.
fn taken_back(reader: &Reader, view: &View<'_>, event: &Event) -> Result<Option<OwnedServerName>, ReadError> {
    let Some((user, false)) = membership_of(event) else { return Ok(None) };
    let key = StateKey::new("m.room.member", user.as_str());
    let before = reader.state_events(view, event.room, event.meta.root_before, &[key])?.pop().flatten();
    let was_waiting = before.is_some_and(|before| {
        let content: serde_json::Value = serde_json::from_slice(before.content()).unwrap_or_default();
        matches!(content.get("membership").and_then(serde_json::Value::as_str), Some("invite" | "knock"))
    });
    let is_theirs = user == event.sender;
    Ok((was_waiting && !is_theirs).then(|| user.server_name().to_owned()))
}

/// The other servers of rooms, each room read once.
struct Servers<'a, 'v> {
    reader: &'a Reader,
    view: &'a View<'v>,
    own: &'a ServerName,
    rooms: HashMap<RoomNo, Present>,
}

impl Servers<'_, '_> {
    /// Those that are in the rooms which were read, and the states in which these are.
    fn known(&self) -> Result<Vec<(RoomNo, Root, Present)>, ReadError> {
        let numbers: Vec<RoomNo> = self.rooms.keys().copied().collect();
        let heads = self.reader.heads(self.view, &numbers)?;
        let known = numbers.into_iter().zip(heads).filter_map(|(room, head)| {
            let there = self.rooms.get(&room)?.iter().filter(|(_, row)| row.left == RoomServer::STILL);
            Some((room, head?.root, there.cloned().collect()))
        });
        Ok(known.collect())
    }

    /// The other servers that are in a room, or left it at `from` or later.
    fn of(&mut self, room: RoomNo, from: Position) -> Result<Present, ReadError> {
        if let Some(there) = self.rooms.get(&room) {
            return Ok(Arc::clone(there));
        }
        let (mut there, mut after) = (Vec::new(), None);
        loop {
            let page = self.reader.servers_in(self.view, room, from, (after.as_deref(), PAGE))?;
            let named =
                page.servers.into_iter().filter_map(|(server, row)| Some((ServerName::parse(server).ok()?, row)));
            there.extend(named.filter(|(server, _)| server != self.own));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let there: Present = there.into();
        self.rooms.insert(room, Arc::clone(&there));
        Ok(there)
    }
}
