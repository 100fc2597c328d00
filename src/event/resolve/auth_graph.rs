//! The auth graph of a room: which state event cites which as authorising it. Flat, for sweeps from one end to the other.

use std::collections::{BTreeMap, BinaryHeap};

use thiserror::Error;

use super::Seq;

/// State events and their auth events, in the order of their numbers.
///
/// An auth event has a lower number than the event that cites it. So whatever is passed on from events to their auth events
/// is complete after one sweep from the highest number to the lowest, and the other way around.
#[derive(Clone, Debug, Default)]
pub struct AuthGraph {
    /// The number of the event in each row, ascending.
    seqs: Vec<Seq>,
    /// Where the auth events of each row end in `cited`.
    ends: Vec<u32>,
    /// The rows of the auth events.
    cited: Vec<u32>,
}

/// Why a row cannot be added.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AuthGraphError {
    /// Rows are added in the order of their numbers.
    #[error("the event {0} does not come after the last one")]
    OutOfOrder(Seq),
    /// An auth event is not there: it must be fetched first.
    #[error("the auth event {cited} of the event {citing} is missing")]
    Missing {
        /// The event.
        citing: Seq,
        /// Its auth event.
        cited: Seq,
    },
    /// More than 2³² citations.
    #[error("the auth graph is too large")]
    TooLarge,
}

impl AuthGraph {
    /// A graph without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with room for this many events.
    pub fn with_capacity(events: usize) -> Self {
        Self {
            seqs: Vec::with_capacity(events),
            ends: Vec::with_capacity(events),
            cited: Vec::with_capacity(events.saturating_mul(4)),
        }
    }

    /// Adds an event that comes after all others, and its auth events, which must be there.
    pub fn push(&mut self, seq: Seq, auth_events: impl IntoIterator<Item = Seq>) -> Result<(), AuthGraphError> {
        if self.seqs.last().is_some_and(|last| *last >= seq) {
            return Err(AuthGraphError::OutOfOrder(seq));
        }
        let start = self.cited.len();
        for cited in auth_events {
            let missing = AuthGraphError::Missing { citing: seq, cited };
            let row = self.row(cited).and_then(|row| u32::try_from(row).ok());
            let Some(row) = row else {
                self.cited.truncate(start);
                return Err(missing);
            };
            if self.cited.get(start..).is_some_and(|rows| !rows.contains(&row)) {
                self.cited.push(row);
            }
        }
        let end = u32::try_from(self.cited.len()).map_err(|_| AuthGraphError::TooLarge)?;
        self.seqs.push(seq);
        self.ends.push(end);
        Ok(())
    }

    /// Takes away all events from this number on.
    pub fn truncate(&mut self, from: Seq) {
        let rows = self.seqs.partition_point(|seq| *seq < from);
        self.seqs.truncate(rows);
        self.ends.truncate(rows);
        self.cited.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// The same graph with more events, each of whose auth events is in one of the two.
    ///
    /// # Errors
    /// The first event of which that is not so.
    pub fn with(&self, more: &BTreeMap<Seq, Vec<Seq>>) -> Result<Self, AuthGraphError> {
        let mut both = Self::with_capacity(self.seqs.len().saturating_add(more.len()));
        let mut more = more.iter().filter(|(seq, _)| self.row(**seq).is_none()).peekable();
        for (row, &seq) in self.seqs.iter().enumerate() {
            while let Some((new, cited)) = more.next_if(|(new, _)| **new < seq) {
                both.push(*new, cited.iter().copied())?;
            }
            both.push(seq, self.cited_by(row).iter().filter_map(|cited| self.seq(*cited as usize)))?;
        }
        more.try_for_each(|(new, cited)| both.push(*new, cited.iter().copied())).map(|()| both)
    }

    /// Whether an event is there.
    pub fn has(&self, seq: Seq) -> bool {
        self.row(seq).is_some()
    }

    /// The event that was added last.
    pub fn last(&self) -> Option<Seq> {
        self.seqs.last().copied()
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// The auth events of an event, in the order in which it cites them; `None` if the event is not there.
    pub fn auth_events(&self, seq: Seq) -> Option<impl Iterator<Item = Seq>> {
        let row = self.row(seq)?;
        Some(self.cited_by(row).iter().filter_map(|cited| self.seq(*cited as usize)))
    }

    /// The row of an event.
    pub(super) fn row(&self, seq: Seq) -> Option<usize> {
        // Numbers ascend, so no row is further down than this one. A room begins with state events, which are cited the
        // most: of them it is the very row.
        let last = usize::try_from(seq.checked_sub(*self.seqs.first()?)?).ok()?;
        if self.seqs.get(last) == Some(&seq) {
            return Some(last);
        }
        self.seqs.get(..last.min(self.seqs.len()))?.binary_search(&seq).ok()
    }

    /// The rows of many events, ascending; the first that is not there is an error.
    pub(super) fn rows(&self, mut seqs: Vec<Seq>) -> Result<Vec<usize>, Seq> {
        seqs.sort_unstable();
        seqs.dedup();
        let mut each = self.seqs.iter().enumerate();
        let mut find = |wanted: Seq| match each.find(|(_, seq)| **seq >= wanted) {
            Some((row, seq)) if *seq == wanted => Ok(row),
            _ => Err(wanted),
        };
        seqs.into_iter().map(&mut find).collect()
    }

    /// The event in a row.
    pub(super) fn seq(&self, row: usize) -> Option<Seq> {
        self.seqs.get(row).copied()
    }

    /// The rows that a row cites.
    fn cited_by(&self, row: usize) -> &[u32] {
        let end = self.ends.get(row).map_or(0, |end| *end as usize);
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.cited.get(start..end).unwrap_or_default()
    }

    /// The latest events of an auth chain, at most this many, latest first.
    pub(super) fn latest_of_chain(&self, seq: Seq, most: usize) -> Vec<Seq> {
        let mut open: BinaryHeap<u32> =
            self.row(seq).map(|row| self.cited_by(row).iter().copied().collect()).unwrap_or_default();
        let mut found: Vec<u32> = Vec::new();
        while let Some(row) = open.pop().filter(|_| found.len() < most) {
            if found.last() != Some(&row) {
                found.push(row);
                open.extend(self.cited_by(row as usize));
            }
        }
        found.into_iter().filter_map(|row| self.seq(row as usize)).collect()
    }

    /// Whose auth chains each row from `lowest` on is in: the bits of all seeds that reach it by one or more citations, in
    /// the order of the rows.
    pub(super) fn chains(&self, seeds: &mut [(usize, u64)], lowest: usize) -> Vec<u64> {
        seeds.sort_unstable();
        let Some((highest, _)) = seeds.last().copied() else { return Vec::new() };
        let mut bits = vec![0_u64; (highest + 1).saturating_sub(lowest)];
        let mut seeds = seeds.iter().rev().copied().peekable();
        for row in (lowest..=highest).rev() {
            let mut carried = bits.get(row - lowest).copied().unwrap_or_default();
            while let Some((_, seed)) = seeds.next_if(|(at, _)| *at == row) {
                carried |= seed;
            }
            if carried == 0 {
                continue;
            }
            for &cited in self.cited_by(row) {
                if let Some(bits) = (cited as usize).checked_sub(lowest).and_then(|at| bits.get_mut(at)) {
                    *bits |= carried;
                }
            }
        }
        bits
    }

    /// The rows on paths between any two of these rows, ends included: those that one of them reaches, and that reach one
    /// of them. The rows are ascending, as is the answer.
    pub(super) fn between(&self, rows: &[usize]) -> Vec<usize> {
        let (Some(&lowest), Some(&highest)) = (rows.first(), rows.last()) else { return Vec::new() };
        let mut seeds: Vec<(usize, u64)> = rows.iter().map(|row| (*row, 1)).collect();
        let below = self.chains(&mut seeds, lowest);
        let mut ends = rows.iter().copied().peekable();
        let mut reaches = vec![false; below.len()];
        let mut found = Vec::with_capacity(rows.len());
        for row in lowest..=highest {
            let is_end = ends.next_if_eq(&row).is_some();
            let cites_one = |cited: &u32| {
                (*cited as usize).checked_sub(lowest).and_then(|at| reaches.get(at)).copied().unwrap_or_default()
            };
            let reaches_one = is_end || self.cited_by(row).iter().any(cites_one);
            if let Some(reaches) = reaches.get_mut(row - lowest) {
                *reaches = reaches_one;
            }
            let is_reached = is_end || below.get(row - lowest).is_some_and(|bits| *bits != 0);
            if reaches_one && is_reached {
                found.push(row);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(rows: &[(Seq, &[Seq])]) -> AuthGraph {
        let mut graph = AuthGraph::new();
        for (seq, auth) in rows {
            graph.push(*seq, auth.iter().copied()).unwrap();
        }
        graph
    }

    #[test]
    fn rows_come_in_order_and_cite_what_is_there() {
        let mut graph = graph(&[(3, &[]), (5, &[3]), (9, &[5, 3, 5])]);
        assert_eq!(graph.auth_events(9).unwrap().collect::<Vec<_>>(), [5, 3]);
        assert!(graph.auth_events(4).is_none());
        assert_eq!(graph.push(9, []), Err(AuthGraphError::OutOfOrder(9)));
        assert_eq!(graph.push(10, [3, 4]), Err(AuthGraphError::Missing { citing: 10, cited: 4 }));
        assert_eq!(graph.push(10, [10]), Err(AuthGraphError::Missing { citing: 10, cited: 10 }));
        assert_eq!(graph.len(), 3, "nothing of what was refused is there");
        graph.push(10, [9]).unwrap();
        assert_eq!(graph.auth_events(10).unwrap().collect::<Vec<_>>(), [9]);
        assert_eq!(graph.auth_events(3).unwrap().count(), 0);
        assert_eq!(graph.rows(vec![9, 3, 10, 9]), Ok(vec![0, 2, 3]));
        assert_eq!((graph.rows(vec![3, 4, 5, 11]), graph.rows(vec![5, 11])), (Err(4), Err(11)));
    }

    #[test]
    fn events_can_be_added_in_between() {
        let few = graph(&[(1, &[]), (5, &[1]), (9, &[5, 1])]);
        let more = BTreeMap::from([(2, vec![1]), (5, vec![1]), (7, vec![5, 2]), (10, vec![9, 7])]);
        let both = few.with(&more).unwrap();
        assert_eq!(both.seqs, [1, 2, 5, 7, 9, 10]);
        let cited = |seq| both.auth_events(seq).unwrap().collect::<Vec<_>>();
        assert_eq!((cited(7), cited(9), cited(10)), (vec![5, 2], vec![5, 1], vec![9, 7]));
        assert!(few.with(&BTreeMap::from([(7, vec![6])])).is_err());
    }

    #[test]
    fn chains_carry_every_seed_down() {
        let graph = graph(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2]), (5, &[3, 2]), (6, &[])]);
        assert_eq!(graph.chains(&mut [(3, 1), (4, 2)], 0), [3, 3, 2, 0, 0], "a seed is not in its own chain");
        assert_eq!(graph.chains(&mut [(3, 1), (4, 2), (3, 4)], 2), [2, 0, 0]);
        assert!(graph.chains(&mut [], 0).is_empty());
    }

    #[test]
    fn the_latest_of_a_chain_come_first_and_once() {
        let graph = graph(&[(1, &[]), (2, &[1]), (3, &[1]), (4, &[2, 1]), (5, &[3, 4])]);
        assert_eq!(graph.latest_of_chain(5, 9), [4, 3, 2, 1]);
        assert_eq!(graph.latest_of_chain(5, 2), [4, 3]);
        assert!(graph.latest_of_chain(1, 9).is_empty() && graph.latest_of_chain(7, 9).is_empty());
    }

    #[test]
    fn paths_lie_between_two_of_the_rows() {
        let graph = graph(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2]), (5, &[3]), (6, &[5]), (7, &[4, 1])]);
        let between = |rows: &[usize]| graph.between(rows);
        assert_eq!(between(&[1, 5]), [1, 2, 4, 5], "2 → 3 → 5 → 6, and neither 1 nor 4 nor 7");
        assert_eq!(between(&[3, 4]), [3, 4], "4 and 5 have a common ancestor, but no path");
        assert_eq!(between(&[4]), [4]);
        assert!(between(&[]).is_empty());
    }
}
