//! The timeline of a room in a response: the last events of an interval of arrival that the user may see and wants.

use super::{
    collect::{Place, Question},
    reply::TimelineReply,
    shape::shape,
};
use crate::{
    graph::{Arrival, Event, Place as EventPlace},
    rooms::{
        events::{self, Bundle, Seen},
        page_token::PageToken,
        timeline::wants,
        visibility::Eyes,
    },
    store::{Position, ReadError, View},
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
}

/// Reads the last events that arrived in `(after, through]`.
pub(super) fn read(
    question: &Question,
    view: &View<'_>,
    place: &Place<'_>,
    eyes: &mut Eyes,
    (after, through): (Position, Position),
) -> Result<Timeline, ReadError> {
    let (room, filter) = (place.room, &question.request.filter.room.timeline);
    let limit = usize::try_from(filter.event.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MOST)).unwrap_or(1);
    // Newest first.
    let mut seen: Vec<Seen> = Vec::new();
    let (mut limited, mut rows_read, mut last): (bool, usize, Option<Arrival>) = (false, 0, None);
    loop {
        let bound = last.map_or(through, |arrival| arrival.position);
        let page = question.reader.log_back(view, room, after, bound, PAGE.max(limit.saturating_add(51)))?;
        let rows: Vec<_> = page.rows.iter().filter(|(arrival, _)| last.is_none_or(|last| *arrival < last)).collect();
        rows_read = rows_read.saturating_add(rows.len());
        let numbers: Vec<_> = rows.iter().map(|(_, logged)| (room, logged.seq)).collect();
        let events = question.reader.events(view, &numbers)?.into_iter().flatten();
        let heard = |event: &Event| event.state_key.is_some() || !place.ignored.contains(event.sender.as_str());
        let wanted = events.filter(|event| heard(event) && wants(filter, event));
        for one in events::visible(&question.reader, view, eyes, wanted)? {
            if seen.len() == limit {
                limited = true;
                break;
            }
            seen.push(one);
        }
        match rows.last() {
            Some((arrival, _)) if page.more && !limited && rows_read < MOST_ROWS => last = Some(*arrival),
            _ => {
                limited |= page.more && rows_read >= MOST_ROWS;
                break;
            }
        }
    }
    seen.reverse();
    let prev = seen.first().map_or(PageToken::end(through), |first| PageToken::before(place_of(&first.event), through));
    Ok(Timeline { seen, limited, prev })
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
    let wanted = (&*timeline.seen, None, Bundle::All);
    let written = events::write(&question.reader, view, eyes, &question.recipient(), wanted)?;
    let events = timeline.seen.iter().map(|seen| &seen.event.body);
    let written = shape(&question.request.filter, written, events);
    Ok(TimelineReply { events: written, limited: timeline.limited, prev_batch: Some(timeline.prev.encode()) })
}
