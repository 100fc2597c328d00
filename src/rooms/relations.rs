//! What relates to an event: what is bundled with it, and lists of it.
//!
//! Client-server API, "Aggregations of child events", "Event replacements", "Threading", "Reference relations".

use std::collections::{BTreeMap, HashSet};

use ruma::{EventId, UserId};

use super::{
    content::{RelatesTo, field},
    events::{self, Bundle, Recipient, Seen},
    visibility::Eyes,
};
use crate::{
    base::json_writer::Object,
    graph::{Direction, Event, Reader, RoomNo, Seq, Tie},
    store::{Page, ReadError, View},
};

const REPLACE: &str = "m.replace";
const THREAD: &str = "m.thread";
const REFERENCE: &str = "m.reference";

/// The types of relations of which something is bundled with the event that they relate to.
pub const BUNDLED: [&str; 3] = [REPLACE, THREAD, REFERENCE];

/// Edits of one event that are looked at, youngest first, for the newest valid one.
const MOST_EDITS: usize = 50;
/// Events of one thread that are counted; a longer thread has at least so many.
const MOST_IN_THREAD: usize = 1_000;
/// References that are listed with an event; `/relations` has all.
const MOST_REFERENCES: usize = 100;
/// Events that are read at once when a thread is searched.
const CHUNK: usize = 50;

/// How deep `/relations` follows relations of relations (the specification asks for 3 at the least).
pub const RECURSION_DEPTH: u32 = 3;
/// Events that one recursion may find.
const MOST_RECURSED: usize = 2_000;

/// `m.relations` of each of these events, as JSON, where there is anything to say.
pub(super) fn bundles(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    recipient: &Recipient,
    (seen, bundle): (&[Seen], Bundle),
) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
    if bundle == Bundle::Nothing || seen.is_empty() {
        return Ok(Vec::new());
    }
    let targets: Vec<_> = seen.iter().map(|seen| (seen.event.room, seen.event.seq)).collect();
    let edits = reader.relations_to(view, &targets, REPLACE, MOST_EDITS)?;
    let (threads, references) = match bundle {
        Bundle::All => (
            reader.relations_to(view, &targets, THREAD, MOST_IN_THREAD)?,
            reader.relations_to(view, &targets, REFERENCE, MOST_REFERENCES)?,
        ),
        Bundle::Edits | Bundle::Nothing => (Vec::new(), Vec::new()),
    };
    let mut written = Vec::with_capacity(seen.len());
    for (index, Seen { event, .. }) in seen.iter().enumerate() {
        let rows = |pages: &[Page<Tie, Seq>]| -> Vec<Seq> {
            pages.get(index).map(|page| page.rows.iter().map(|(_, seq)| *seq).collect()).unwrap_or_default()
        };
        let edit = edit(reader, view, eyes, recipient, (event, &rows(&edits)))?;
        let thread = thread(reader, view, eyes, recipient, (event, &rows(&threads)))?;
        let references = referenced(reader, view, eyes, (event.room, &rows(&references)))?;
        written.push(relations_json(edit, thread, &references));
    }
    Ok(written)
}

fn relations_json(edit: Option<Vec<u8>>, thread: Option<Vec<u8>>, references: &[String]) -> Option<Vec<u8>> {
    if edit.is_none() && thread.is_none() && references.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let mut relations = Object::begin(&mut out);
    if let Some(edit) = edit {
        relations.raw(REPLACE, &edit);
    }
    if let Some(thread) = thread {
        relations.raw(THREAD, &thread);
    }
    if !references.is_empty() {
        relations.object(REFERENCE, |reference| {
            reference.array("chunk", |chunk| {
                for event_id in references {
                    let mut one = Object::begin(chunk.item());
                    one.value("event_id", event_id);
                    one.end();
                }
            });
        });
    }
    relations.end();
    Some(out)
}

/// The newest valid edit of an event, written.
fn edit(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    recipient: &Recipient,
    (event, edits): (&Event, &[Seq]),
) -> Result<Option<Vec<u8>>, ReadError> {
    if edits.is_empty() || !may_be_edited(event) {
        return Ok(None);
    }
    let candidates = visible_of(reader, view, eyes, (event.room, edits))?;
    let valid = candidates.into_iter().filter(|seen| is_valid_edit(event, &seen.event));
    let newest = valid.max_by(|a, b| {
        let order = |seen: &Seen| (seen.event.origin_server_ts, seen.event.event_id.clone());
        order(a).cmp(&order(b))
    });
    let Some(newest) = newest else { return Ok(None) };
    Ok(events::write(reader, view, eyes, recipient, (&[newest], None, Bundle::Nothing))?.pop())
}

fn may_be_edited(event: &Event) -> bool {
    event.state_key.is_none()
        && event.meta.redacted_by.is_none()
        && RelatesTo::of(event.content()).is_none_or(|relation| relation.rel_type != REPLACE)
}

fn is_valid_edit(event: &Event, edit: &Event) -> bool {
    let has_new_content = || field::<serde_json::Map<_, _>>(edit.content(), "m.new_content").is_some();
    edit.sender == event.sender
        && edit.kind == event.kind
        && edit.state_key.is_none()
        && edit.meta.redacted_by.is_none()
        && (edit.kind == "m.room.encrypted" || has_new_content())
}

/// The summary of a thread, of its root.
fn thread(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    recipient: &Recipient,
    (root, rows): (&Event, &[Seq]),
) -> Result<Option<Vec<u8>>, ReadError> {
    let metas = reader.metas(view, &rows.iter().map(|seq| (root.room, *seq)).collect::<Vec<_>>())?;
    let standing =
        rows.iter().zip(metas).filter(|(_, meta)| meta.as_ref().is_some_and(|meta| meta.redacted_by.is_none()));
    let mut rows: Vec<Seq> = standing.map(|(seq, _)| *seq).collect();
    if !eyes.ignored().is_empty() {
        rows = heard(reader, view, eyes, (root.room, &rows))?;
    }
    let mut latest = None;
    for chunk in rows.chunks(CHUNK) {
        latest = visible_of(reader, view, eyes, (root.room, chunk))?.into_iter().next();
        if latest.is_some() {
            break;
        }
    }
    let Some(latest) = latest else { return Ok(None) };
    let participated = root.sender == recipient.user_id || any_by(reader, view, root.room, &rows, &recipient.user_id)?;
    let latest = events::write(reader, view, eyes, recipient, (&[latest], None, Bundle::Edits))?.pop();
    let mut out = Vec::new();
    let mut summary = Object::begin(&mut out);
    summary.value("count", &rows.len());
    summary.value("current_user_participated", &participated);
    summary.raw("latest_event", &latest.unwrap_or_default());
    summary.end();
    Ok(Some(out))
}

/// Leaves of these events those whose senders are not ignored.
fn heard(reader: &Reader, view: &View<'_>, eyes: &Eyes, (room, rows): (RoomNo, &[Seq])) -> Result<Vec<Seq>, ReadError> {
    let mut heard = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(CHUNK) {
        let events = reader.events(view, &chunk.iter().map(|seq| (room, *seq)).collect::<Vec<_>>())?;
        heard.extend(events.into_iter().flatten().filter(|event| eyes.hears(event)).map(|event| event.seq));
    }
    Ok(heard)
}

/// Whether the user sent any of these events.
pub fn any_by(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    rows: &[Seq],
    user_id: &UserId,
) -> Result<bool, ReadError> {
    for chunk in rows.chunks(CHUNK) {
        let events = reader.events(view, &chunk.iter().map(|seq| (room, *seq)).collect::<Vec<_>>())?;
        if events.into_iter().flatten().any(|event| event.sender == *user_id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The ids of the events that refer to an event, oldest first.
fn referenced(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    rows: (RoomNo, &[Seq]),
) -> Result<Vec<String>, ReadError> {
    let seen = visible_of(reader, view, eyes, rows)?;
    Ok(seen.into_iter().rev().map(|seen| seen.event.event_id.to_string()).collect())
}

fn visible_of(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    (room, rows): (RoomNo, &[Seq]),
) -> Result<Vec<Seen>, ReadError> {
    let events = reader.events(view, &rows.iter().map(|seq| (room, *seq)).collect::<Vec<_>>())?;
    let standing: Vec<_> =
        events.into_iter().flatten().filter(|event| event.meta.redacted_by.is_none() && eyes.hears(event)).collect();
    events::visible(reader, view, eyes, standing)
}

/// Which relations of an event are wanted.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The type of relation; any if absent.
    pub rel_type: Option<&'a str>,
    /// The type of the relating events; any if absent.
    pub kind: Option<&'a str>,
    /// Relations of relations too, [`RECURSION_DEPTH`] deep.
    pub recurse: bool,
    /// Behind this in the direction.
    pub from: Option<Tie>,
    /// Up to here.
    pub to: Option<Tie>,
    /// Which way.
    pub direction: Direction,
    /// The most events to return.
    pub limit: usize,
}

/// Relations of an event, as they were asked for.
#[derive(Debug, Default)]
pub struct Relations {
    /// In the order of the query.
    pub chunk: Vec<Seen>,
    /// Where to go on; `None` at the end.
    pub next: Option<Tie>,
}

/// Lists relations of an event that the user may see, in the order of arrival.
pub fn list(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    (room, target): (RoomNo, Seq),
    query: &Query<'_>,
) -> Result<Relations, ReadError> {
    // What is filtered out here is bounded: then the page is short and says how to go on.
    let most_looked_at = query.limit.saturating_mul(4).max(200);
    let rows = if query.recurse {
        recursed(reader, view, (room, target), query)?
    } else {
        reader.relations(view, room, target, query.rel_type, query.from, query.direction, most_looked_at)?
    };
    let mut found = Relations::default();
    let mut looked_at = None;
    for chunk in rows.rows.chunks(CHUNK) {
        let events = reader.events(view, &chunk.iter().map(|(_, seq)| (room, *seq)).collect::<Vec<_>>())?;
        for ((tie, _), event) in chunk.iter().zip(events) {
            let behind = |to: Tie| match query.direction {
                Direction::Backward => *tie <= to,
                Direction::Forward => *tie >= to,
            };
            if query.to.is_some_and(behind) {
                return Ok(found);
            }
            if found.chunk.len() >= query.limit {
                found.next = looked_at;
                return Ok(found);
            }
            looked_at = Some(*tie);
            let Some(event) = event.filter(|event| wanted(event, query) && eyes.hears(event)) else { continue };
            if let Some(membership) = eyes.look_at(reader, view, &event)? {
                found.chunk.push(Seen { event, membership });
            }
        }
    }
    if rows.more {
        found.next = looked_at;
    }
    Ok(found)
}

fn wanted(event: &Event, query: &Query<'_>) -> bool {
    let right_relation = |rel_type: &str| RelatesTo::of(event.content()).is_some_and(|own| own.rel_type == rel_type);
    query.kind.is_none_or(|kind| event.kind == kind) && query.rel_type.is_none_or(right_relation)
}

/// All that relates to an event directly or through others, in the order of the query and behind its `from`.
fn recursed(
    reader: &Reader,
    view: &View<'_>,
    (room, target): (RoomNo, Seq),
    query: &Query<'_>,
) -> Result<Page<Tie, Seq>, ReadError> {
    let mut found: BTreeMap<Tie, Seq> = BTreeMap::new();
    let (mut level, mut known) = (vec![target], HashSet::from([target]));
    for _ in 0..RECURSION_DEPTH {
        let mut next = Vec::new();
        for parent in level {
            let left = MOST_RECURSED.saturating_sub(found.len());
            for (tie, seq) in reader.relations(view, room, parent, None, None, Direction::Backward, left)?.rows {
                if known.insert(seq) {
                    found.insert(tie, seq);
                    next.push(seq);
                }
            }
        }
        level = next;
    }
    let behind = |tie: Tie| match (query.from, query.direction) {
        (None, _) => true,
        (Some(from), Direction::Backward) => tie < from,
        (Some(from), Direction::Forward) => tie > from,
    };
    let mut rows: Vec<_> = found.into_iter().filter(|(tie, _)| behind(*tie)).collect();
    if query.direction == Direction::Backward {
        rows.reverse();
    }
    Ok(Page { rows, more: false })
}

/// Whether an event belongs to the thread of `root`, or with `None` to the main timeline: by its own relation, or by that
/// of what it relates to, 3 hops at the most. A root, and what relates to it in other ways, belongs to both.
///
/// Client-server API, "Threaded read receipts".
pub fn is_in_thread(
    reader: &Reader,
    view: &View<'_>,
    event: &Event,
    root: Option<&EventId>,
) -> Result<bool, ReadError> {
    let mut at = event.clone();
    for _ in 0..=RECURSION_DEPTH {
        if root.is_some_and(|root| at.event_id == *root) {
            return Ok(true);
        }
        let Some(relation) = RelatesTo::of(at.content()) else { break };
        if relation.rel_type == THREAD {
            return Ok(root.is_some_and(|root| relation.event_id == root.as_str()));
        }
        let Ok(parent) = EventId::parse(&relation.event_id) else { break };
        match reader.event_in(view, at.room, &parent)? {
            Some(parent) => at = parent,
            None => break,
        }
    }
    Ok(root.is_none())
}
