//! The timeline of a room in a response: the last events of an interval of arrival that the user may see and wants, in the order
//! of arrival (client-server API, "Syncing").
//!
//! To whom a room is new, which events are the last is a question of the graph: what is told first is the end of the
//! conversation, behind which paging back goes on without a break, and not an old branch that happened to arrive late.

use super::{
    collect::{Place, Question},
    reply::TimelineReply,
    shape::shape,
};
use crate::{
    graph::{Arrival, Direction, Event, Place as EventPlace, RoomNo, Tie},
    rooms::{
        events::{self, Bundle, Seen},
        page_token::PageToken,
        timeline::wants,
        visibility::Eyes,
    },
    store::{Position, ReadError, View},
    sync::recent::{Recent, RecentEvent},
};

/// Events of a room, if the filter does not say how many.
const DEFAULT_LIMIT: u64 = 10;
/// The most that a filter may ask for.
const MOST: u64 = 500;
/// Rows that are read at once; a commit has 50 at the most.
const PAGE: usize = 100;
/// Rows after which a room is left off, although none or few were wanted: the rest is for `/messages`.
const MOST_ROWS: usize = 2_000;

/// What was found.
pub(super) struct Timeline {
    /// Oldest first.
    pub(super) seen: Vec<Seen>,
    /// There is more in the interval, before the first of these.
    pub(super) limited: bool,
    /// Paging back begins here.
    pub(super) prev: PageToken,
    /// Something is to be bundled with one of them, perhaps.
    pub(super) is_related_to: bool,
}

impl Timeline {
    /// Nothing arrived.
    pub(super) fn nothing_new(through: Position) -> Self {
        Self { seen: Vec::new(), limited: false, prev: PageToken::end(through), is_related_to: false }
    }
}

/// Reads the last events that arrived in `(after, through]`, of all that arrived up to there if `after` is zero.
pub(super) fn read(
    question: &Question,
    view: &View<'_>,
    (place, recent): (&Place<'_>, Option<&Recent>),
    eyes: &mut Eyes,
    (after, through): (Position, Position),
) -> Result<Timeline, ReadError> {
    if !question.request.filter.room.timeline.allows_room(place.head.room_id.as_str()) {
        return Ok(Timeline::nothing_new(through));
    }
    let timeline = last_arrived(question, view, (place, recent), eyes, (after, through))?;
    let lowest = timeline.seen.iter().map(|seen| seen.event.meta.depth).min();
    let (Some(lowest), Some(first)) = (lowest.filter(|_| after == Position::ZERO), timeline.seen.first()) else {
        return Ok(timeline);
    };
    match earlier(question, view, (place, recent), &first.event)? {
        // As long as all that arrived earlier stands above them, both orders agree about which are the last.
        Some(earlier) if earlier.max_depth >= lowest => deepest(question, view, place, eyes, through),
        _ => Ok(timeline),
    }
}

/// The last in the order of arrival: first among the recent ones, if they are given.
fn last_arrived(
    question: &Question,
    view: &View<'_>,
    (place, recent): (&Place<'_>, Option<&Recent>),
    eyes: &mut Eyes,
    (after, through): (Position, Position),
) -> Result<Timeline, ReadError> {
    let (room, filter, limit) = (place.room, &question.request.filter.room.timeline, limit(question));
    let is_wanted = |event: &Event| place.ignored.hears(event) && wants(filter, event);
    // Newest first.
    let mut found = Found { seen: Vec::new(), limit, limited: false };
    let mut is_related_to = false;
    let is_between = |one: &&RecentEvent| one.arrival.position > after && one.arrival.position <= through;
    let recent_events = recent.iter().flat_map(|recent| &recent.events).filter(is_between);
    let recent_events: Vec<_> = recent_events.filter(|one| is_wanted(&one.event)).collect();
    eyes.prepare(&question.reader, view, recent_events.iter().map(|one| one.event.meta.root_before))?;
    for one in recent_events {
        if !found.limited {
            let membership = eyes.look_at(&question.reader, view, &one.event)?;
            is_related_to |= one.is_related_to;
            found.add(membership.map(|membership| Seen { event: one.event.clone(), membership }));
        }
    }
    let mut last = recent.and_then(|recent| recent.events.last()).map(|one| one.arrival);
    let mut more = recent.is_none_or(|recent| after < recent.complete_after);
    let mut rows_read: usize = 0;
    while more && !found.limited && rows_read < MOST_ROWS {
        is_related_to = true;
        let bound = last.map_or(through, |arrival: Arrival| arrival.position.min(through));
        let page = question.reader.log_back(view, room, after, bound, PAGE.max(limit.saturating_add(51)))?;
        let rows: Vec<_> = page.rows.iter().filter(|(arrival, _)| last.is_none_or(|last| *arrival < last)).collect();
        rows_read = rows_read.saturating_add(rows.len());
        let numbers: Vec<_> = rows.iter().map(|(_, logged)| (room, logged.seq)).collect();
        let events = question.reader.events(view, &numbers)?.into_iter().flatten();
        for one in events::visible(&question.reader, view, eyes, events.filter(is_wanted))? {
            found.add(Some(one));
        }
        last = rows.last().map(|(arrival, _)| *arrival);
        more = page.more && last.is_some();
    }
    let (seen, limited) = found.ended(question, view, room, more)?;
    let prev = match seen.first() {
        None => PageToken::end(through),
        Some(first) => before(question, view, (place, recent), &first.event, through)?,
    };
    Ok(Timeline { seen, limited, prev, is_related_to })
}

/// How many events the filter wants.
fn limit(question: &Question) -> usize {
    let limit = question.request.filter.room.timeline.event.limit;
    usize::try_from(limit.unwrap_or(DEFAULT_LIMIT).min(MOST)).unwrap_or(1)
}

/// The last in the order of the graph of those that arrived up to `through`.
fn deepest(
    question: &Question,
    view: &View<'_>,
    place: &Place<'_>,
    eyes: &mut Eyes,
    through: Position,
) -> Result<Timeline, ReadError> {
    let (room, reader) = (place.room, &question.reader);
    let is_wanted = |event: &Event| {
        event.meta.tie.position() <= through && place.ignored.hears(event) && wants_of(question, place, event)
    };
    // Newest first.
    let mut found = Found { seen: Vec::new(), limit: limit(question), limited: false };
    let (mut from, mut rows_read, mut more) = (None, 0_usize, true);
    while more && !found.limited && rows_read < MOST_ROWS {
        let page = reader.timeline(view, room, from, Direction::Backward, PAGE)?;
        rows_read = rows_read.saturating_add(page.rows.len());
        // What was fetched from further back is for whoever pages back.
        let live = page.rows.iter().take_while(|(place, _)| !place.tie.is_backfilled());
        let live: Vec<_> = live.map(|(_, seq)| (room, *seq)).collect();
        let events = reader.events(view, &live)?.into_iter().flatten().filter(is_wanted);
        for one in events::visible(reader, view, eyes, events)? {
            found.add(Some(one));
        }
        from = page.rows.last().map(|(place, _)| *place);
        found.limited |= live.len() < page.rows.len();
        more = page.more && from.is_some();
    }
    let (mut seen, limited) = found.ended(question, view, room, more)?;
    let prev = match seen.first() {
        None => PageToken::end(through),
        Some(first) => PageToken::before(place_of(&first.event), through),
    };
    seen.sort_by_key(|seen| seen.event.meta.tie);
    Ok(Timeline { seen, limited, prev, is_related_to: true })
}

/// Where paging back from the first event of a timeline finds all that arrived before it.
///
/// The order of arrival and that of the graph differ where an event cites older ones than the newest: what arrived before
/// it may stand behind it in the graph.
fn before(
    question: &Question,
    view: &View<'_>,
    (place, recent): (&Place<'_>, Option<&Recent>),
    first: &Event,
    through: Position,
) -> Result<PageToken, ReadError> {
    let (tie, depth) = (first.meta.tie, first.meta.depth);
    if tie.is_backfilled() {
        return Ok(PageToken::before(place_of(first), through));
    }
    Ok(match earlier(question, view, (place, recent), first)? {
        Some(earlier) if earlier.max_depth >= depth => {
            let deepest = EventPlace { depth: earlier.max_depth, tie: Tie(i64::MAX) };
            PageToken::before(deepest, earlier.position)
        }
        // What arrived behind it is in the timeline.
        _ => PageToken::before(place_of(first), tie.position()),
    })
}

/// What had arrived before an event.
struct Earlier {
    /// Its largest depth.
    max_depth: u64,
    /// Its last commit.
    position: Position,
}

/// What had arrived before this live event; `None` if it is the first one.
fn earlier(
    question: &Question,
    view: &View<'_>,
    (place, recent): (&Place<'_>, Option<&Recent>),
    event: &Event,
) -> Result<Option<Earlier>, ReadError> {
    let tie = event.meta.tie;
    let own = Arrival { position: tie.position(), index: u32::from(tie.index()) };
    if let Some(recent) = recent {
        let earlier = recent.events.iter().find(|one| one.arrival < own);
        if earlier.is_some() || recent.complete_after == Position::ZERO {
            let of = |one: &RecentEvent| Earlier { max_depth: one.max_depth, position: one.arrival.position };
            return Ok(earlier.map(of));
        }
    }
    // Its own commit, as far as it is in there, and the event before.
    let limit = usize::from(tie.index()).saturating_add(2);
    let rows = question.reader.log_back(view, place.room, Position::ZERO, tie.position(), PAGE.max(limit))?.rows;
    let earlier = rows.into_iter().find(|(arrival, _)| *arrival < own);
    Ok(earlier.map(|(arrival, logged)| Earlier { max_depth: logged.max_depth, position: arrival.position }))
}

/// The youngest of these events before which something is missing. Only events of other servers can have that.
fn hole(question: &Question, view: &View<'_>, room: RoomNo, seen: &[Seen]) -> Result<Option<usize>, ReadError> {
    let depths = seen.iter().filter(|seen| !seen.event.meta.relay).map(|seen| seen.event.meta.depth);
    let (low, high) = depths.fold((u64::MAX, 0), |(low, high), depth| (low.min(depth), high.max(depth)));
    if low > high {
        return Ok(None);
    }
    let holes = question.reader.gaps(view, room, low, high, MOST_ROWS)?;
    Ok(seen.iter().rposition(|seen| holes.iter().any(|(_, seq, _)| *seq == seen.event.seq)))
}

/// Whether the filter wants an event in the timeline of the room.
pub(super) fn wants_of(question: &Question, place: &Place<'_>, event: &Event) -> bool {
    let filter = &question.request.filter.room.timeline;
    filter.allows_room(place.head.room_id.as_str()) && wants(filter, event)
}

/// Events on their way into a timeline, newest first.
struct Found {
    seen: Vec<Seen>,
    limit: usize,
    /// One more was found.
    limited: bool,
}

impl Found {
    /// What was found, oldest first, and whether it is not all: there is more, or something is missing in between.
    fn ended(
        self,
        question: &Question,
        view: &View<'_>,
        room: RoomNo,
        more: bool,
    ) -> Result<(Vec<Seen>, bool), ReadError> {
        let Self { mut seen, mut limited, .. } = self;
        limited |= more;
        seen.reverse();
        if let Some(hole) = hole(question, view, room, &seen)? {
            // What was before it is found by paging back, when the hole is filled.
            seen.drain(..hole);
            limited = true;
        }
        Ok((seen, limited))
    }

    fn add(&mut self, one: Option<Seen>) {
        let Some(one) = one.filter(|_| !self.limited) else { return };
        if self.seen.len() < self.limit {
            self.seen.push(one);
        } else {
            self.limited = true;
        }
    }
}

fn place_of(event: &Event) -> EventPlace {
    EventPlace { depth: event.meta.depth, tie: event.meta.tie }
}

/// Writes it.
pub(super) fn write(
    question: &Question,
    view: &View<'_>,
    eyes: &mut Eyes,
    timeline: &Timeline,
) -> Result<TimelineReply, ReadError> {
    let bundle = if timeline.is_related_to { Bundle::All } else { Bundle::Nothing };
    let wanted = (&*timeline.seen, None, bundle);
    let written = events::write(&question.reader, view, eyes, &question.recipient(), wanted)?;
    let events = timeline.seen.iter().map(|seen| &seen.event.body);
    let written = shape(&question.request.filter, written, events);
    Ok(TimelineReply { events: written, limited: timeline.limited, prev_batch: Some(timeline.prev.encode()) })
}
