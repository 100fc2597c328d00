//! History that is not here yet, fetched when somebody pages back to a hole in it (server-server API, "Backfilling and
//! retrieving missing events").
//!
//! One fetch of a room at a time, bounded in time and in what it brings: up to a hundred events. Below the oldest of them lies
//! the next hole.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedServerName};

use super::{
    Inbox,
    supply::{Supply, SupplyError, Waiting, id_of},
};
use crate::{
    base::clock::UnixMillis,
    event::Verified,
    federation::fetch::in_graph_order,
    graph::{Direction, Gap, Needs, Receipt, RoomNo, Seq, Verdict},
    store::ReadError,
};

/// Events that are asked for at once: more are given by nobody.
const MOST_EVENTS: u32 = 100;
/// Servers that are asked for one hole.
const MOST_SERVERS: usize = 3;
/// Holes of a room that are looked at.
const MOST_HOLES: usize = 1_000;
/// Events of one answer of which the state before them is asked for.
const MOST_BASES: usize = 5;
/// For how long a reader waits at the most.
const WITHIN: Duration = Duration::from_secs(25);
/// For how long a hole that nobody could fill is left alone, in ms.
const LEFT_ALONE: UnixMillis = 60_000;
/// Holes that are remembered as such.
const MOST_FAILED: usize = 10_000;

/// A hole in the history of a room: below this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hole {
    /// The room.
    pub room: RoomNo,
    /// The depth of the event some of whose previous events are not here.
    pub depth: u64,
    /// Its number.
    pub seq: Seq,
}

/// Holes that could not be filled, and when that was tried. Lost at a restart: then it is tried again.
#[derive(Default)]
pub(super) struct Failed(Mutex<HashMap<Hole, UnixMillis>>);

impl Failed {
    fn note(&self, hole: Hole, now: UnixMillis) {
        let mut failed = self.0.lock();
        if failed.len() >= MOST_FAILED {
            failed.clear();
        }
        failed.insert(hole, now);
    }

    fn has(&self, hole: Hole, now: UnixMillis) -> bool {
        self.0.lock().get(&hole).is_some_and(|at| now < at.saturating_add(LEFT_ALONE))
    }
}

impl Inbox {
    /// Fetches what lies below a hole; says whether there is more to read than before.
    pub async fn backfill(&self, hole: Hole) -> bool {
        let Some(_turn) = self.0.backfills.take(&hole.room).await else { return false };
        let now = self.0.clock.now();
        if self.0.failed.has(hole, now) {
            return false;
        }
        let is_filled = match tokio::time::timeout(WITHIN, self.fill_hole(hole)).await {
            Ok(Ok(is_filled)) => is_filled,
            Ok(Err(error)) => {
                tracing::info!(?hole, %error, "history could not be fetched");
                false
            }
            Err(_) => false,
        };
        if !is_filled {
            self.0.failed.note(hole, now);
        }
        is_filled
    }

    async fn fill_hole(&self, hole: Hole) -> Result<bool, SupplyError> {
        // Somebody else was here before.
        let Some((gap, sender)) = self.gap(hole).await? else { return Ok(true) };
        let Some(supply) = Supply::of(self, hole.room).await? else { return Ok(false) };
        let missing = gap.missing.iter().filter_map(|id| OwnedEventId::try_from(&**id).ok());
        let missing: Vec<OwnedEventId> = missing.collect();
        for server in supply.others(&sender, None, MOST_SERVERS).await? {
            match supply.backfill(&server, (&missing, hole.depth)).await {
                Ok(true) => return Ok(true),
                Ok(false) => tracing::info!(?hole, %server, "a server has no more history"),
                Err(error) => tracing::info!(?hole, %server, %error, "a server gives no history"),
            }
        }
        Ok(false)
    }

    /// Fetches the event that is nearest to a time, going one way, if another server of a room that has holes knows one nearer
    /// than this one; says whether it is here now.
    pub async fn fetch_near(&self, room: RoomNo, at: (UnixMillis, Direction), own: Option<UnixMillis>) -> bool {
        let Some(_turn) = self.0.backfills.take(&room).await else { return false };
        match tokio::time::timeout(WITHIN, self.look_near(room, at, own)).await {
            Ok(Ok(is_found)) => is_found,
            Ok(Err(error)) => {
                tracing::info!(?room, %error, "no event of that time could be fetched");
                false
            }
            Err(_) => false,
        }
    }

    async fn look_near(
        &self,
        room: RoomNo,
        (ts, direction): (UnixMillis, Direction),
        own: Option<UnixMillis>,
    ) -> Result<bool, SupplyError> {
        let reader = self.0.graph.reader().clone();
        let holes = self.0.store.read(move |view| reader.gaps(view, room, 0, u64::MAX, MOST_HOLES)).await?;
        let (Some((depth, ..)), Some(supply)) = (holes.last(), Supply::of(self, room).await?) else { return Ok(false) };
        for server in supply.others(self.0.graph.server_name(), None, MOST_SERVERS).await? {
            let found = self.0.federation.fetch();
            let (id, found_ts) = match found.nearest_by_time(&server, &supply.room().room_id, (ts, direction)).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%server, %error, "a server knows no event of that time");
                    continue;
                }
            };
            let is_nearer = match direction {
                Direction::Forward => found_ts >= ts && own.is_none_or(|own| found_ts < own),
                Direction::Backward => found_ts <= ts && own.is_none_or(|own| found_ts > own),
            };
            let from = [id];
            if is_nearer && supply.backfill(&server, (&from, *depth)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The row of a hole, and the server whose event lies above it. `None` if the hole is no more.
    async fn gap(&self, hole: Hole) -> Result<Option<(Gap, OwnedServerName)>, ReadError> {
        let reader = self.0.graph.reader().clone();
        let Hole { room, depth, seq } = hole;
        let read = self.0.store.read(move |view| {
            let gaps = reader.gaps(view, room, depth, depth, usize::MAX)?;
            let gap = gaps.into_iter().find(|(_, of, _)| *of == seq).map(|(_, _, gap)| gap);
            Ok::<_, ReadError>(gap.zip(reader.event(view, room, seq)?))
        });
        Ok(read.await?.map(|(gap, event)| (gap, event.sender.server_name().to_owned())))
    }
}

impl Supply {
    /// Asks a server for events and those before them, and gives them their places. Whether there were any.
    async fn backfill(
        &self,
        server: &OwnedServerName,
        (from, below): (&[OwnedEventId], u64),
    ) -> Result<bool, SupplyError> {
        let events = self.fetch().backfill(server, self.room(), from.to_vec(), MOST_EVENTS).await?;
        let mut waiting: Waiting = events.into_iter().map(|event| (id_of(&event), event)).collect();
        let (all, depths) = (waiting.len(), depths(&waiting, below));
        let mut states = HashMap::new();
        for id in self.bases(&waiting).await?.iter().take(MOST_BASES) {
            match self.state_before(server, id, true).await {
                Ok(state) => drop(states.insert(id.clone(), state)),
                // Neither it nor what follows it can be placed; there may be other branches.
                Err(SupplyError::Fetch(error)) => tracing::info!(event = %id, %error, "no state before an event"),
                Err(error) => return Err(error),
            }
        }
        let unauthorised = self.place_old(&mut waiting, (&states, &depths)).await?;
        for (event, auth) in &unauthorised {
            self.authorise(server, event, auth).await?;
        }
        if !unauthorised.is_empty() {
            self.place_old(&mut waiting, (&states, &depths)).await?;
        }
        Ok(waiting.len() < all)
    }

    /// The oldest of these: those that cite what is neither here nor among them.
    async fn bases(&self, events: &Waiting) -> Result<Vec<OwnedEventId>, ReadError> {
        let cited = events.values().flat_map(|event| event.pdu().prev_events().to_vec());
        let cited = cited.filter(|id| !events.contains_key(id)).collect();
        let lacking = self.without_place(cited).await?;
        let is_base = |event: &&Verified| event.pdu().prev_events().iter().any(|id| lacking.contains(id));
        Ok(in_graph_order(events.values().filter(is_base).cloned().collect()).iter().map(id_of).collect())
    }

    /// Gives events their places below these depths, the oldest with these states before them; says which lack which auth
    /// events.
    async fn place_old(
        &self,
        waiting: &mut Waiting,
        (states, depths): (&HashMap<OwnedEventId, Vec<OwnedEventId>>, &HashMap<OwnedEventId, u64>),
    ) -> Result<Vec<(Verified, Vec<OwnedEventId>)>, SupplyError> {
        let ordered = in_graph_order(waiting.values().cloned().collect());
        let verdicts = join_all(ordered.iter().map(|event| {
            let state_before = states.get(event.pdu().event_id()).cloned();
            let backfilled = Some(depths.get(event.pdu().event_id()).copied().unwrap_or_default());
            self.receive(Receipt { backfilled, state_before, ..event.clone().into() })
        }));
        let mut unauthorised = Vec::new();
        for (event, verdict) in ordered.iter().zip(verdicts.await) {
            match verdict? {
                Verdict::Needs(Needs::Missing { auth, .. }) if !auth.is_empty() => {
                    unauthorised.push((event.clone(), auth));
                }
                // What was here is nothing new.
                Verdict::Needs(_) | Verdict::Duplicate(_) => {}
                Verdict::Accepted(_) | Verdict::SoftFailed(_) | Verdict::Rejected(_) => {
                    waiting.remove(event.pdu().event_id());
                }
            }
        }
        Ok(unauthorised)
    }
}

/// The depth below which each of some events must stay: that of the event above the hole or, among them, of those that cite it.
fn depths(events: &Waiting, below: u64) -> HashMap<OwnedEventId, u64> {
    let mut depths: HashMap<OwnedEventId, u64> = events.keys().map(|id| (id.clone(), below)).collect();
    for event in in_graph_order(events.values().cloned().collect()).iter().rev() {
        let own = depths.get(event.pdu().event_id()).copied().unwrap_or(below).saturating_sub(1);
        for cited in event.pdu().prev_events() {
            if let Some(depth) = depths.get_mut(cited) {
                *depth = own.min(*depth);
            }
        }
    }
    depths
}
