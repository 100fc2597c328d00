//! The history of a room in graph order, page by page.

use super::{
    content::field,
    events::Seen,
    filter::{RoomEventFilter, Subject},
    page_token::{AnyToken, PageToken},
    visibility::Eyes,
};
use crate::{
    graph::{Direction, Event, Place, Reader, RoomNo, Seq, Tie},
    store::{Position, ReadError, View},
};

/// Rows that are read at once.
const CHUNK: usize = 100;
/// Events that are looked at for one page: what a filter or the history visibility hides costs time too. A page that ends
/// here says how to go on.
const MOST_LOOKED_AT: usize = 2_000;

/// Holes that are looked at for one page.
const MOST_HOLES: usize = 100;

/// Which part of a room's history is wanted.
#[derive(Clone, Debug)]
pub struct PageQuery<'a> {
    /// Where to begin; the end that lies that way if absent.
    pub from: Option<AnyToken>,
    /// Where to stop.
    pub to: Option<AnyToken>,
    /// Which way to go.
    pub direction: Direction,
    /// The most events to return.
    pub limit: usize,
    /// Which events.
    pub filter: &'a RoomEventFilter,
    /// Going back, stop above this depth's predecessors: below lies a hole that can be filled later.
    pub cut: Option<u64>,
}

/// Part of a room's history.
#[derive(Debug)]
pub struct TimelinePage {
    /// In the direction of the query.
    pub chunk: Vec<Seen>,
    /// Where it began.
    pub start: PageToken,
    /// Where it goes on; `None` when there is nothing more.
    pub end: Option<PageToken>,
    /// The deepest hole in the part of the history that was looked through: depth and number of the event above it.
    pub hole: Option<(u64, Seq)>,
}

/// Whether a filter wants an event.
pub fn wants(filter: &RoomEventFilter, event: &Event) -> bool {
    if filter.allows_all() {
        return true;
    }
    let has_url = filter.contains_url.is_some() && field::<serde_json::Value>(event.content(), "url").is_some();
    filter.allows(Subject { kind: &event.kind, sender: event.sender.as_str(), has_url })
}

/// Reads a page of what the user may see.
pub fn page(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    eyes: &mut Eyes,
    query: &PageQuery<'_>,
) -> Result<TimelinePage, ReadError> {
    let start = match (query.from, query.direction) {
        (Some(from), direction) => resolve(reader, view, room, from, direction)?,
        (None, Direction::Backward) => PageToken::end(view.horizon()),
        (None, Direction::Forward) => PageToken { bound: view.horizon(), place: FIRST },
    };
    // Where to stop is a place, whichever way one comes to it.
    let stop = query.to.map(|to| resolve(reader, view, room, to, Direction::Forward)).transpose()?;
    // Going back, what arrived behind the bound is none of this page's business; going on, everything there is.
    let bound = match query.direction {
        Direction::Backward => start.bound.min(view.horizon()),
        Direction::Forward => view.horizon(),
    };
    let mut walk = Walk { chunk: Vec::new(), at: start, bound, stop: stop.map(|stop| stop.place) };
    let mut left = MOST_LOOKED_AT;
    let more = loop {
        let rows = rows(reader, view, room, (walk.at.place, query.direction))?;
        left = left.saturating_sub(rows.rows.len());
        match walk.take(reader, view, room, eyes, (query, &rows.rows))? {
            Step::Done { more } => break more,
            Step::GoOn if !rows.more => break false,
            Step::GoOn if left == 0 => break true,
            Step::GoOn => {}
        }
    };
    if let Some(depth) = query.cut.filter(|_| query.direction == Direction::Backward) {
        walk.chunk.retain(|seen| seen.event.meta.depth >= depth);
        let at = PageToken { bound: walk.at.bound, place: Place { depth, tie: FIRST.tie } };
        return Ok(TimelinePage { chunk: walk.chunk, start, end: Some(at), hole: None });
    }
    let hole = hole(reader, view, room, (start.place, more.then_some(walk.at.place), query.direction))?;
    // Behind a hole there is more, although it is not here: whoever has read something may ask again.
    let has_end = query.direction == Direction::Backward && query.to.is_none() && hole.is_some();
    let more = more || (has_end && !walk.chunk.is_empty());
    Ok(TimelinePage { chunk: walk.chunk, start, end: more.then_some(walk.at), hole })
}

/// The deepest hole between two places; `None` for the end of the history.
fn hole(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    (start, end, direction): (Place, Option<Place>, Direction),
) -> Result<Option<(u64, Seq)>, ReadError> {
    let (low, high) = match direction {
        Direction::Backward => (end.map_or(0, |end| end.depth), start.depth),
        Direction::Forward => (start.depth, end.map_or(u64::MAX, |end| end.depth)),
    };
    let holes = reader.gaps(view, room, low, high, MOST_HOLES)?;
    Ok(holes.into_iter().next_back().map(|(depth, seq, _)| (depth, seq)))
}

const FIRST: Place = Place { depth: 0, tie: Tie(i64::MIN) };

/// Where a token stands in the graph order of this room.
fn resolve(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    token: AnyToken,
    direction: Direction,
) -> Result<PageToken, ReadError> {
    match (token, direction) {
        (AnyToken::Page(page), _) => Ok(page),
        (AnyToken::Sync(position), Direction::Backward) => Ok(PageToken::end(position)),
        (AnyToken::Sync(position), Direction::Forward) => {
            // Behind the deepest event that had arrived by then.
            let last = reader.log_back(view, room, Position::ZERO, position, 1)?.rows.pop();
            let place = last.map_or(FIRST, |(arrival, logged)| Place {
                depth: logged.max_depth,
                tie: Tie::live(arrival.position, u8::try_from(arrival.index).unwrap_or(u8::MAX)),
            });
            Ok(PageToken::behind(place, position))
        }
    }
}

type Rows = crate::store::Page<Place, Seq>;

fn rows(
    reader: &Reader,
    view: &View<'_>,
    room: RoomNo,
    (at, direction): (Place, Direction),
) -> Result<Rows, ReadError> {
    let from = match direction {
        Direction::Backward => at,
        // A place is before the event that would stand there; the reader wants the last one that is passed over.
        Direction::Forward => Place { depth: at.depth, tie: Tie(at.tie.0.saturating_sub(1)) },
    };
    reader.timeline(view, room, Some(from), direction, CHUNK)
}

enum Step {
    GoOn,
    Done { more: bool },
}

/// A walk through the history: what it found, and up to where it has come.
struct Walk {
    chunk: Vec<Seen>,
    at: PageToken,
    bound: Position,
    stop: Option<Place>,
}

impl Walk {
    fn take(
        &mut self,
        reader: &Reader,
        view: &View<'_>,
        room: RoomNo,
        eyes: &mut Eyes,
        (query, rows): (&PageQuery<'_>, &[(Place, Seq)]),
    ) -> Result<Step, ReadError> {
        let events = reader.events(view, &rows.iter().map(|(_, seq)| (room, *seq)).collect::<Vec<_>>())?;
        for ((place, _), event) in rows.iter().zip(events) {
            let beyond = |stop: Place| match query.direction {
                Direction::Backward => *place < stop,
                Direction::Forward => *place >= stop,
            };
            if self.stop.is_some_and(beyond) {
                return Ok(Step::Done { more: false });
            }
            if self.chunk.len() >= query.limit {
                return Ok(Step::Done { more: true });
            }
            self.at.place = match query.direction {
                Direction::Backward => *place,
                Direction::Forward => PageToken::behind(*place, self.bound).place,
            };
            let in_bound = place.tie.is_backfilled() || place.tie.position() <= self.bound;
            let Some(event) = event.filter(|event| in_bound && wants(query.filter, event)) else { continue };
            if eyes.hears(&event)
                && let Some(membership) = eyes.look_at(reader, view, &event)?
            {
                self.chunk.push(Seen { event, membership });
            }
        }
        Ok(Step::GoOn)
    }
}
