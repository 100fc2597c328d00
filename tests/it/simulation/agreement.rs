//! What servers must agree about once they have heard of everything.

use std::collections::{BTreeMap, BTreeSet};

use myelin::{
    event::version,
    graph::{RoomNo, Status},
    store::{Position, ReadError},
};
use ruma::{OwnedEventId, RoomId};

use super::{Seen, world::SharedRoom};
use crate::harness::TestServer;

/// A room as a server sees it.
struct Seeing {
    /// The current state.
    state: BTreeMap<(String, String), OwnedEventId>,
    /// Events that have a place in the graph, with their depth, and whether they were rejected.
    events: BTreeMap<OwnedEventId, (u64, bool)>,
    /// What each of its events says.
    contents: BTreeMap<OwnedEventId, Vec<u8>>,
    /// Events of which only what a redaction leaves could be kept, as they did not say what their hash says (server-server API,
    /// "Checks performed on receipt of a PDU", step 3). Only a liar sends such; others may have got them whole.
    damaged: BTreeSet<OwnedEventId>,
    /// What redactions would redact that came too late here, so that they do nothing.
    kept: BTreeSet<OwnedEventId>,
    /// What became of each event, for whoever reads that a test has failed.
    statuses: BTreeMap<OwnedEventId, String>,
    /// Events in the order of the graph, and in that of arrival.
    timeline: BTreeSet<OwnedEventId>,
    arrived: BTreeSet<OwnedEventId>,
    accepted: BTreeSet<OwnedEventId>,
    /// Servers that have somebody in it.
    servers: BTreeSet<String>,
    /// The depth from which on it has seen everything: that of its last join, or behind its last hole in history.
    since: u64,
    is_in: bool,
}

/// Whether the creator of a room has more power than any level says.
pub fn creator_is_above(server: &TestServer, room_id: &str) -> bool {
    let (reader, id) = (server.app().graph.reader().clone(), RoomId::parse(room_id).unwrap());
    let head = server.app().store.read_blocking(|view| reader.room(view, &id)).unwrap();
    head.is_some_and(|(_, head)| version::room_id_is_create_id(version::rules(&head.room_version).unwrap()))
}

fn look(server: &TestServer, room_id: &str) -> Option<Seeing> {
    let (reader, id) = (server.app().graph.reader().clone(), RoomId::parse(room_id).unwrap());
    let own = server.app().server_name.clone();
    let read = server.app().store.read_blocking::<_, ReadError>(|view| {
        let Some((room, head)) = reader.room(view, &id)? else { return Ok(None) };
        let entries = reader.state(view, room, head.root)?;
        let wanted: Vec<_> = entries.iter().map(|(_, seq)| (room, *seq)).collect();
        let state = reader.events(view, &wanted)?.into_iter().map(Option::unwrap);
        let state = state.map(|event| ((event.kind.clone(), event.state_key.clone().unwrap()), event.event_id.clone()));
        let all: Vec<_> = (1..head.next_seq.0).map(|seq| (room, myelin::graph::Seq(seq))).collect();
        let (mut events, mut accepted, mut statuses) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let (mut contents, mut kept, mut damaged) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let rules = version::rules(&head.room_version).unwrap();
        let gaps = reader.gaps(view, room, 0, u64::MAX, usize::MAX)?;
        let mut since = gaps.into_iter().map(|(depth, ..)| depth).max().unwrap_or_default();
        for event in reader.events(view, &all)?.into_iter().flatten() {
            let status = format!("{:?} at {} by {}", event.meta.status, event.meta.position().0, event.sender);
            let key = event.state_key.as_deref().unwrap_or("-");
            let said = format!("{} {key} {}: {status}, depth {}", event.kind, content(&event), event.meta.depth);
            statuses.insert(event.event_id.clone(), said);
            contents.insert(event.event_id.clone(), event.content().to_vec());
            if event.meta.redacted_by.is_none() && !says_what_its_hash_says(&event, rules) {
                damaged.insert(event.event_id.clone());
            }
            kept.extend(event.body.redacts.clone().filter(|_| event.meta.status == Status::SoftFailed));
            let is_join = event.kind == "m.room.member"
                && serde_json::from_slice::<serde_json::Value>(event.content()).unwrap()["membership"] == "join";
            let is_placed = event.meta.position() != Position::ZERO;
            if !is_placed {
                continue;
            }
            events.insert(event.event_id.clone(), (event.meta.depth, event.meta.status == Status::Rejected));
            if event.meta.status == Status::Accepted {
                accepted.insert(event.event_id.clone());
                if is_join && event.sender.server_name() == own {
                    since = event.meta.depth.max(since);
                }
            }
        }
        let there = reader.servers(view, room)?.into_iter().filter(|(_, row)| row.joined_users > 0);
        let servers = there.map(|(server, _)| server).collect();
        let (timeline, arrived) = orders(&reader, view, room)?;
        Ok(Some(Seeing {
            state: state.collect(),
            events,
            contents,
            damaged,
            kept,
            statuses,
            timeline,
            arrived,
            accepted,
            servers,
            since,
            is_in: !head.is_left,
        }))
    });
    read.unwrap()
}

fn says_what_its_hash_says(event: &myelin::graph::Event, rules: &myelin::event::Rules) -> bool {
    let pdu = myelin::event::Pdu::from_stored(event.event_id.clone(), event.body.pdu.clone(), rules).unwrap();
    let mut object = pdu.to_object().unwrap();
    let (said, _) = (object.remove("hashes"), object.remove("signatures"));
    myelin::event::hash::add_content_hash(&mut object).unwrap();
    object.remove("hashes") == said
}

/// The servers that, as this one knows, have somebody in the room.
pub fn membership_servers(server: &TestServer, room_id: &str) -> Vec<String> {
    look(server, room_id).map(|seeing| seeing.servers.into_iter().collect()).unwrap_or_default()
}

fn content(event: &myelin::graph::Event) -> String {
    String::from_utf8_lossy(event.content()).chars().take(80).collect()
}

/// How two servers see the events about which they do not agree.
fn explained<'a>(one: &Seeing, other: &Seeing, ids: impl Iterator<Item = &'a OwnedEventId>) -> String {
    let unknown = "not there".to_owned();
    let of = |view: &Seeing, id: &OwnedEventId| view.statuses.get(id).unwrap_or(&unknown).clone();
    ids.map(|id| format!("\n{id}\n    one: {}\n  other: {}", of(one, id), of(other, id))).collect()
}

type Orders = (BTreeSet<OwnedEventId>, BTreeSet<OwnedEventId>);

fn orders(reader: &myelin::graph::Reader, view: &myelin::store::View<'_>, room: RoomNo) -> Result<Orders, ReadError> {
    let ids = |seqs: Vec<(RoomNo, myelin::graph::Seq)>| {
        let events = reader.events(view, &seqs)?.into_iter().flatten();
        Ok::<_, ReadError>(events.map(|event| event.event_id.clone()).collect::<BTreeSet<_>>())
    };
    let arrived = reader.log_forward(view, room, Position::ZERO, view.horizon(), usize::MAX)?;
    let timeline = reader.timeline(view, room, None, myelin::graph::Direction::Backward, usize::MAX)?;
    Ok((
        ids(timeline.rows.into_iter().map(|(_, seq)| (room, seq)).collect())?,
        ids(arrived.rows.into_iter().map(|(_, logged)| (room, logged.seq)).collect())?,
    ))
}

/// The most servers each of which says of all the others that they are in the room. Others have not heard that they were removed,
/// or that somebody is back: a server that is out may not ask what lies before the event that removes it, and so can't always
/// place it. That is rare, and bounded by the test.
fn of_one_mind<'a>(inside: &[(usize, &'a Seeing)], servers: &[TestServer]) -> Vec<(usize, &'a Seeing)> {
    let knows = |view: &Seeing, other: usize| view.servers.contains(servers[other].app().server_name.as_str());
    let groups = (0..1_usize << inside.len()).map(|chosen| -> Vec<(usize, &Seeing)> {
        inside.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, one)| *one).collect()
    });
    let agreed =
        groups.filter(|group| group.iter().all(|(_, view)| group.iter().all(|(other, _)| knows(view, *other))));
    agreed.max_by_key(Vec::len).unwrap_or_default()
}

/// Nobody has lost what they acknowledged; says about what the servers that are in a room do not agree.
pub fn check(
    servers: &[TestServer],
    (room, liar): (&SharedRoom, Option<usize>),
    seen: &mut Seen,
) -> Result<(), String> {
    let views: Vec<Option<Seeing>> = servers.iter().map(|server| look(server, &room.id)).collect();
    for (index, id) in &room.acknowledged {
        let id = OwnedEventId::try_from(id.as_str()).unwrap();
        let has = views[*index].as_ref().is_some_and(|view| view.events.contains_key(&id));
        assert!(has, "s{index} has acknowledged {id} and lost it");
    }
    for server in servers {
        let metrics = server.app().metrics.render();
        assert!(!metrics.contains("myelin_panics_total{"), "something has panicked: {metrics}");
    }
    let there: Vec<(usize, &Seeing)> =
        views.iter().enumerate().filter_map(|(index, view)| Some((index, view.as_ref()?))).collect();
    for (index, view) in &there {
        // What clients can read is what was accepted.
        assert_eq!(view.timeline, view.accepted, "s{index}: the order of the graph");
        assert!(view.arrived.is_subset(&view.accepted), "s{index}: the order of arrival");
    }
    // Nobody answers for a liar.
    let is_honest = |(index, view): &(usize, &Seeing)| view.is_in && Some(*index) != liar;
    let inside: Vec<(usize, &Seeing)> = there.into_iter().filter(is_honest).collect();
    let agreed = of_one_mind(&inside, servers);
    seen.unaware += u64::try_from(inside.len() - agreed.len()).unwrap();
    let inside = agreed;
    seen.shared += u64::from(inside.len() > 1);
    let since = inside.iter().map(|(_, view)| view.since).max().unwrap_or_default();
    let Some(((first, one), others)) = inside.split_first() else { return Ok(()) };
    for (index, other) in others {
        let compared = agree((*first, one), (*index, other), since)?;
        seen.compared += u64::try_from(compared).unwrap();
    }
    Ok(())
}

/// Whether two servers agree about the state, and about all events above a depth; how many these are.
fn agree((first, one): (usize, &Seeing), (index, other): (usize, &Seeing), since: u64) -> Result<usize, String> {
    let differing = one.state.iter().filter(|(key, id)| other.state.get(*key) != Some(id));
    let differing_other = other.state.iter().filter(|(key, id)| one.state.get(*key) != Some(id));
    let ids: BTreeSet<_> = differing.chain(differing_other).map(|(_, id)| id).collect();
    if !ids.is_empty() {
        let said = explained(one, other, ids.into_iter());
        return Err(format!("s{first} and s{index} have different states: {said}"));
    }
    // What one accepts the other has. It may have come too late there; but it is in the graph.
    let accepted = |view: &Seeing| -> BTreeSet<OwnedEventId> {
        let is_young = |id: &&OwnedEventId| view.events.get(*id).is_some_and(|(depth, _)| *depth > since);
        view.accepted.iter().filter(is_young).cloned().collect()
    };
    let all: BTreeSet<OwnedEventId> = accepted(one).union(&accepted(other)).cloned().collect();
    let has = |view: &Seeing, id: &OwnedEventId| view.events.get(id).is_some_and(|(_, is_rejected)| !is_rejected);
    let lacking: Vec<_> = all.iter().filter(|id| !has(one, id) || !has(other, id)).collect();
    if !lacking.is_empty() {
        let said = explained(one, other, lacking.into_iter());
        return Err(format!("s{first} and s{index} have different events from depth {since} on: {said}"));
    }
    let judged_differently = |(id, (_, is_rejected)): &(&OwnedEventId, &(u64, bool))| {
        other.events.get(*id).is_some_and(|(_, other_rejects)| is_rejected != other_rejects)
    };
    let differing: Vec<_> = one.events.iter().filter(judged_differently).map(|(id, _)| id).collect();
    if !differing.is_empty() {
        let said = explained(one, other, differing.into_iter());
        return Err(format!("s{first} and s{index} judge events differently: {said}"));
    }
    // What holds, and what was said, says the same on both; what was redacted is so on both.
    let says_otherwise = |id: &&OwnedEventId| {
        let is_special = |seeing: &Seeing| seeing.kept.contains(*id) || seeing.damaged.contains(*id);
        one.contents.get(*id) != other.contents.get(*id) && !is_special(one) && !is_special(other)
    };
    let differing: Vec<_> = one.state.values().chain(&all).filter(says_otherwise).collect();
    if !differing.is_empty() {
        let said = explained(one, other, differing.into_iter());
        return Err(format!("s{first} and s{index} have different contents: {said}"));
    }
    Ok(all.len())
}
