//! The orders of a room: of arrival, of the graph, by time; relations and threads.

use std::collections::HashSet;

use super::Reader;
use crate::{
    graph::{
        keys::{BY_TIME, GAP, RELATION, ROOM_LOG, THREAD, TIMELINE, relation_hash},
        rows::{Gap, Logged},
        types::{Arrival, RoomNo, Seq, Tie},
    },
    store::{Page, Position, ReadError, Span, View},
};

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To younger events.
    Forward,
    /// To older events.
    Backward,
}

/// Where an event stands in graph order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its depth, our ordering copy.
    pub depth: u64,
    /// Its place among the events of that depth.
    pub tie: Tie,
}

/// Types of relations to one event that are looked at when no type is asked for. An event has a handful in practice; the
/// bound is for the hostile case.
const MOST_RELATION_TYPES: usize = 32;

impl Reader {
    /// The events that arrived in `(after, through]`, oldest first.
    pub fn log_forward(
        &self,
        view: &View<'_>,
        room: RoomNo,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Page<Arrival, Logged>, ReadError> {
        let span = ROOM_LOG.span(&(room,)).after(&(room, after)).through(&(room, through));
        Ok(arrivals(view.scan(&span, limit)?))
    }

    /// The last events that arrived in `(after, through]`, youngest first.
    pub fn log_back(
        &self,
        view: &View<'_>,
        room: RoomNo,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Page<Arrival, Logged>, ReadError> {
        let mut pages = self.log_back_many(view, &[(room, after)], through, limit)?;
        Ok(pages.pop().unwrap_or(Page { rows: Vec::new(), more: false }))
    }

    /// [`Reader::log_back`] for many rooms, each behind its own position, in their order: one wave.
    pub fn log_back_many(
        &self,
        view: &View<'_>,
        rooms: &[(RoomNo, Position)],
        through: Position,
        limit: usize,
    ) -> Result<Vec<Page<Arrival, Logged>>, ReadError> {
        let spans: Vec<_> = rooms
            .iter()
            .map(|(room, after)| ROOM_LOG.span(&(*room,)).after(&(*room, *after)).through(&(*room, through)).reversed())
            .collect();
        Ok(view.multi_scan(&spans, limit)?.into_iter().map(arrivals).collect())
    }

    /// Accepted events in graph order, from `from` (not included; `None` for the end that lies that way).
    pub fn timeline(
        &self,
        view: &View<'_>,
        room: RoomNo,
        from: Option<Place>,
        direction: Direction,
        limit: usize,
    ) -> Result<Page<Place, Seq>, ReadError> {
        let span = TIMELINE.span(&(room,));
        let span = match (from, direction) {
            (Some(from), Direction::Forward) => span.after(&(room, from.depth, from.tie)),
            (Some(from), Direction::Backward) => span.before(&(room, from.depth, from.tie)).reversed(),
            (None, Direction::Forward) => span,
            (None, Direction::Backward) => span.reversed(),
        };
        let page = view.scan(&span, limit)?;
        let rows = page.rows.into_iter().map(|((_, depth, tie), seq)| (Place { depth, tie }, seq)).collect();
        Ok(Page { rows, more: page.more })
    }

    /// Holes in history at depths `from..=through`, lowest first.
    pub fn gaps(
        &self,
        view: &View<'_>,
        room: RoomNo,
        from: u64,
        through: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Seq, Gap)>, ReadError> {
        let span = GAP.span(&(room,)).from(&(room, from)).through(&(room, through));
        Ok(view.scan(&span, limit)?.rows.into_iter().map(|((_, depth, seq), gap)| (depth, seq, gap)).collect())
    }

    /// Accepted events that relate to `target`, of one type of relation or of all, from `from` (not included; `None` for
    /// the end that lies that way).
    pub fn relations(
        &self,
        view: &View<'_>,
        room: RoomNo,
        target: Seq,
        rel_type: Option<&str>,
        from: Option<Tie>,
        direction: Direction,
        limit: usize,
    ) -> Result<Page<Tie, Seq>, ReadError> {
        let hashes = match rel_type {
            Some(rel_type) => vec![relation_hash(rel_type)],
            None => relation_types(view, room, target)?,
        };
        let spans: Vec<_> = hashes.into_iter().map(|hash| relation_span(room, target, hash, from, direction)).collect();
        let pages = view.multi_scan(&spans, limit)?;
        let mut more = pages.iter().any(|page| page.more);
        let mut rows: Vec<(Tie, Seq)> =
            pages.into_iter().flat_map(|page| page.rows).map(|((_, _, _, tie), seq)| (tie, seq)).collect();
        match direction {
            Direction::Forward => rows.sort_unstable(),
            Direction::Backward => rows.sort_unstable_by(|a, b| b.cmp(a)),
        }
        more |= rows.len() > limit;
        rows.truncate(limit);
        Ok(Page { rows, more })
    }

    /// The youngest relations of one type to each of many events, in their order: one wave.
    pub fn relations_to(
        &self,
        view: &View<'_>,
        targets: &[(RoomNo, Seq)],
        rel_type: &str,
        limit: usize,
    ) -> Result<Vec<Page<Tie, Seq>>, ReadError> {
        let hash = relation_hash(rel_type);
        let spans: Vec<_> = targets
            .iter()
            .map(|(room, target)| relation_span(*room, *target, hash, None, Direction::Backward))
            .collect();
        let pages = view.multi_scan(&spans, limit)?.into_iter();
        Ok(pages
            .map(|page| Page {
                rows: page.rows.into_iter().map(|((_, _, _, tie), seq)| (tie, seq)).collect(),
                more: page.more,
            })
            .collect())
    }

    /// To which events of each of these ranges of numbers (first and last included) others relate by one of `rel_types`,
    /// in their order: one wave. `None` where more than `limit` relations of all types had to be looked at.
    pub fn related(
        &self,
        view: &View<'_>,
        ranges: &[(RoomNo, Seq, Seq)],
        rel_types: &[&str],
        limit: usize,
    ) -> Result<Vec<Option<HashSet<Seq>>>, ReadError> {
        let spans: Vec<_> = ranges
            .iter()
            .map(|(room, first, last)| RELATION.span(&(*room,)).from(&(*room, *first)).through(&(*room, *last)))
            .collect();
        let wanted: Vec<_> = rel_types.iter().map(|rel_type| relation_hash(rel_type)).collect();
        let pages = view.multi_scan(&spans, limit)?.into_iter();
        Ok(pages
            .map(|page| {
                let related = page.rows.into_iter().filter(|((_, _, hash, _), _)| wanted.contains(hash));
                (!page.more).then(|| related.map(|((_, target, _, _), _)| target).collect())
            })
            .collect())
    }

    /// Roots of the threads of a room, the one with the youngest event first, before `before` (the tie of a thread's
    /// last event).
    pub fn threads(
        &self,
        view: &View<'_>,
        room: RoomNo,
        before: Option<Tie>,
        limit: usize,
    ) -> Result<Page<Tie, Seq>, ReadError> {
        let mut span = THREAD.span(&(room,));
        if let Some(before) = before {
            span = span.before(&(room, before));
        }
        let page = view.scan(&span.reversed(), limit)?;
        Ok(Page { rows: page.rows.into_iter().map(|((_, tie, root), ())| (tie, root)).collect(), more: page.more })
    }

    /// The accepted event whose `origin_server_ts` is the nearest at or behind (forward) or at or before (backward) `ts`.
    pub fn nearest_by_time(
        &self,
        view: &View<'_>,
        room: RoomNo,
        ts: u64,
        direction: Direction,
    ) -> Result<Option<(u64, Seq)>, ReadError> {
        Ok(view.first(&time_span(room, ts, direction))?.map(|((_, ts, seq), ())| (ts, seq)))
    }

    /// The accepted events from `ts` on in a direction, the nearest first, at most `limit`.
    pub fn by_time(
        &self,
        view: &View<'_>,
        (room, ts): (RoomNo, u64),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Seq>, ReadError> {
        let page = view.scan(&time_span(room, ts, direction), limit)?;
        Ok(page.rows.into_iter().map(|((_, _, seq), ())| seq).collect())
    }
}

fn time_span(room: RoomNo, ts: u64, direction: Direction) -> Span<(RoomNo, u64, Seq), ()> {
    let span = BY_TIME.span(&(room,));
    match direction {
        Direction::Forward => span.from(&(room, ts)),
        Direction::Backward => span.through(&(room, ts)).reversed(),
    }
}

fn arrivals(page: Page<(RoomNo, Position, u32), Logged>) -> Page<Arrival, Logged> {
    let rows = page.rows.into_iter().map(|((_, position, index), row)| (Arrival { position, index }, row)).collect();
    Page { rows, more: page.more }
}

type RelationSpan = Span<(RoomNo, Seq, [u8; 8], Tie), Seq>;

fn relation_span(room: RoomNo, target: Seq, hash: [u8; 8], from: Option<Tie>, direction: Direction) -> RelationSpan {
    let span = RELATION.span(&(room, target, hash));
    match (from, direction) {
        (Some(from), Direction::Forward) => span.after(&(room, target, hash, from)),
        (Some(from), Direction::Backward) => span.before(&(room, target, hash, from)).reversed(),
        (None, Direction::Forward) => span,
        (None, Direction::Backward) => span.reversed(),
    }
}

/// The (hashed) types of relations that an event has: skips from one to the next.
fn relation_types(view: &View<'_>, room: RoomNo, target: Seq) -> Result<Vec<[u8; 8]>, ReadError> {
    let mut hashes = Vec::new();
    let mut span = RELATION.span(&(room, target));
    while let Some(((_, _, hash, _), _)) = view.first(&span)? {
        hashes.push(hash);
        if hashes.len() >= MOST_RELATION_TYPES {
            break;
        }
        span = span.after(&(room, target, hash));
    }
    Ok(hashes)
}
