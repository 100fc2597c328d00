//! A room as each server has it, for whoever looks into a schedule that ends in disagreement (`MYELIN_SEED=N`).

use std::collections::HashMap;

use myelin::{
    event::{Pdu, version},
    graph::{Event, Seq},
    store::{Position, ReadError},
};
use ruma::{EventId, RoomId};

use super::agreement::membership_servers;
use crate::harness::TestServer;

/// Writes what each server has of a room to the standard error stream: its events with what they cite, and what became of them.
pub fn dump(servers: &[TestServer], room_id: &str) {
    for (index, server) in servers.iter().enumerate() {
        eprintln!("-- s{index}: {}", membership_servers(server, room_id).join(" "));
        for line in lines(server, room_id) {
            eprintln!("   {line}");
        }
    }
}

fn short(id: &EventId) -> String {
    id.as_str().chars().take(6).collect()
}

fn lines(server: &TestServer, room_id: &str) -> Vec<String> {
    let (reader, id) = (server.app().graph.reader().clone(), RoomId::parse(room_id).unwrap());
    let read = server.app().store.read_blocking::<_, ReadError>(|view| {
        let Some((room, head)) = reader.room(view, &id)? else { return Ok(Vec::new()) };
        let rules = version::rules(&head.room_version).unwrap();
        let all: Vec<_> = (1..head.next_seq.0).map(|seq| (room, Seq(seq))).collect();
        let state: HashMap<Seq, ()> =
            reader.state(view, room, head.root)?.into_iter().map(|(_, seq)| (seq, ())).collect();
        let mut events: Vec<Event> = reader.events(view, &all)?.into_iter().flatten().collect();
        events.sort_by_key(|event| (event.meta.depth, event.event_id.clone()));
        let mut lines = Vec::new();
        for event in events {
            let pdu = Pdu::from_stored(event.event_id.clone(), event.body.pdu.clone(), rules).unwrap();
            let cited = |ids: &[ruma::OwnedEventId]| ids.iter().map(|id| short(id)).collect::<Vec<_>>().join(",");
            let is_placed = event.meta.position() != Position::ZERO;
            lines.push(format!(
                "{:>3} {} {:?}{} {} {} {} by {}, prev {}, auth {}{}{}",
                event.meta.depth,
                short(&event.event_id),
                event.meta.status,
                if is_placed { "" } else { " (no place)" },
                event.kind,
                event.state_key.as_deref().unwrap_or("-"),
                String::from_utf8_lossy(event.content()).chars().take(60).collect::<String>(),
                event.sender,
                cited(pdu.prev_events()),
                cited(pdu.auth_events()),
                if state.contains_key(&event.seq) { ", in the state" } else { "" },
                if head.extremities.contains(&event.seq) { ", an extremity" } else { "" },
            ));
        }
        for (depth, seq, gap) in reader.gaps(view, room, 0, u64::MAX, usize::MAX)? {
            lines.push(format!("a gap at {depth} ({}): {:?}", seq.0, gap.missing));
        }
        if head.is_left {
            lines.push("left".to_owned());
        }
        Ok(lines)
    });
    read.unwrap()
}
