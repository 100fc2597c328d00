//! The auth graph of a room, as far as resolutions need it.
//!
//! It is kept with the room, and only what came since is read. The first time, a small room is read as a whole; of any other
//! one, in whose life many more state events may have been sent than are in its state, only what the states in question
//! cite, and what that cites. Whatever is in the graph, all of its auth chain is, too, so that every question about chains has the
//! same answer as by the whole; an event that is not there is asked for, and never taken for one without a chain.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::draft::Draft;
use crate::{
    event::resolve::{AuthGraph, AuthGraphError},
    graph::{
        keys::AUTH,
        types::{RoomNo, Seq},
    },
    store::{DecodeError, ReadError, View},
};

/// Rows that are read at once.
const PAGE: usize = 10_000;
/// Events of a room up to which its whole auth graph is read at once.
const WHOLE: u32 = 100;
/// Events that came since a resolution up to which all of them are read.
const SINCE: u32 = 20_000;
/// Events that are looked for together, and how much further apart than these they may lie for all between to be read.
const TOGETHER: usize = 1_000;
const APART: u32 = 8;

impl Draft<'_, '_> {
    /// The auth graph with these events at the least. Asked for none, it is what is known already and what came since; in a
    /// large room that may be nothing.
    pub(super) fn auth_graph(&self, wanted: &[u32]) -> Result<Arc<AuthGraph>, ReadError> {
        let mut kept = self.room.auth.lock();
        let graph = Arc::make_mut(&mut kept);
        let next = self.room.head.next_seq;
        // What an earlier draft has added may not have been committed.
        graph.truncate(next.0);
        let most = if graph.is_empty() { WHOLE } else { SINCE };
        if next.0.saturating_sub(graph.last().unwrap_or_default()) > most {
            graph.truncate(0);
        } else {
            self.read_on(graph)?;
        }
        if wanted.iter().any(|seq| !graph.has(*seq)) {
            let lacking = self.lacking(graph, wanted)?;
            *graph = graph.with(&lacking).map_err(|_| OUT_OF_ORDER)?;
        }
        // An outlier that gets its place in this draft is there already.
        for event in self.events.iter().filter(|event| event.seq >= next) {
            if let Some(auth) = event.auth.as_ref().filter(|_| graph.last() < Some(event.seq.0)) {
                push(graph, event.seq, auth)?;
            }
        }
        Ok(Arc::clone(&kept))
    }

    /// Adds what came since the last event of the graph.
    fn read_on(&self, graph: &mut AuthGraph) -> Result<(), ReadError> {
        let whole = AUTH.span(&(self.room.no,));
        let mut span = whole.clone().after(&(self.room.no, Seq(graph.last().unwrap_or_default())));
        loop {
            let page = self.view.scan(&span, PAGE)?;
            for ((_, seq), auth) in &page.rows {
                push(graph, *seq, &auth.0)?;
            }
            match page.rows.last() {
                Some((last, _)) if page.more => span = whole.clone().after(last),
                _ => return Ok(()),
            }
        }
    }

    /// Of the auth chains of these events, themselves included, what the graph lacks.
    fn lacking(&self, graph: &AuthGraph, wanted: &[u32]) -> Result<BTreeMap<u32, Vec<u32>>, ReadError> {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut open: Vec<u32> = wanted.iter().copied().filter(|seq| !graph.has(*seq)).collect();
        while !open.is_empty() {
            open.sort_unstable();
            open.dedup();
            let mut cited = Vec::new();
            for &seq in &open {
                if let Some(auth) = self.drafted(Seq(seq)).and_then(|event| event.auth.as_ref()) {
                    let auth: Vec<u32> = auth.iter().map(|seq| seq.0).collect();
                    cited.extend_from_slice(&auth);
                    found.insert(seq, auth);
                }
            }
            open.retain(|seq| !found.contains_key(seq));
            for some in open.chunks(TOGETHER) {
                found.extend(rows(self.view, self.room.no, some)?);
            }
            cited.extend(open.iter().filter_map(|seq| found.get(seq)).flatten());
            cited.retain(|seq| !graph.has(*seq) && !found.contains_key(seq));
            open = cited;
        }
        // What cites something that is no state event was rejected. If it is asked for all the same, it is not there.
        let mut whole: HashSet<u32> = HashSet::with_capacity(found.len());
        found.retain(|seq, cited| {
            cited.iter().all(|cited| graph.has(*cited) || whole.contains(cited)) && whole.insert(*seq)
        });
        Ok(found)
    }
}

/// The rows of these events, ascending: one wave.
fn rows(view: &View<'_>, room: RoomNo, seqs: &[u32]) -> Result<Vec<(u32, Vec<u32>)>, ReadError> {
    let (Some(&first), Some(&last)) = (seqs.first(), seqs.last()) else { return Ok(Vec::new()) };
    let plain = |auth: Vec<Seq>| auth.into_iter().map(|seq| seq.0).collect();
    let apart = u32::try_from(seqs.len()).unwrap_or(u32::MAX).saturating_mul(APART);
    if last.saturating_sub(first) >= apart {
        let found = view.multi_get(&AUTH, seqs.iter().map(|seq| (room, Seq(*seq))))?;
        return Ok(seqs.iter().zip(found).filter_map(|(seq, row)| Some((*seq, plain(row?.0)))).collect());
    }
    let span = AUTH.span(&(room,)).after(&(room, Seq(first.saturating_sub(1)))).through(&(room, Seq(last)));
    let mut wanted = seqs.iter().copied().peekable();
    let mut is_wanted = |seq: u32| {
        while wanted.next_if(|wanted| *wanted < seq).is_some() {}
        wanted.next_if_eq(&seq).is_some()
    };
    let page = view.scan(&span, usize::MAX)?;
    let rows = page.rows.into_iter().filter(|((_, seq), _)| is_wanted(seq.0));
    Ok(rows.map(|((_, seq), auth)| (seq.0, plain(auth.0))).collect())
}

const OUT_OF_ORDER: ReadError =
    ReadError::Corrupt { keyspace: "auth", why: DecodeError("the auth graph is out of order") };

/// Adds an event to the auth graph; not one that cites what is not there: it was rejected, or belongs to a part of the
/// graph that nobody has asked for.
fn push(graph: &mut AuthGraph, seq: Seq, auth: &[Seq]) -> Result<(), ReadError> {
    match graph.push(seq.0, auth.iter().map(|seq| seq.0)) {
        Ok(()) | Err(AuthGraphError::Missing { .. }) => Ok(()),
        Err(_) => Err(OUT_OF_ORDER),
    }
}
