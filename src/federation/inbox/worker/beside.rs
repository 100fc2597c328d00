//! What is done beside the worker of a room, in tasks of their own: signatures are checked (keys may have to be fetched), and what
//! events need is fetched. For each server by itself, so that one which answers slowly or wrongly holds up nobody else.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use ruma::{OwnedEventId, OwnedServerName};

use super::{
    AT_ONCE, Worker,
    item::{Item, State},
};
use crate::{
    event::{Pdu, Verified, verify::SignatureError},
    federation::{
        fetch::RoomRules,
        inbox::{
            staging::At,
            supply::{Attempt, Supplied, Supply, SupplyError},
        },
    },
    graph::Needs,
};

/// So many events waiting in a room are a flood.
const FLOOD: usize = 100;
/// Servers whose events are fetched for at once, in a room.
const FETCHES: usize = 4;
/// Servers whose events' signatures are checked at once, in a room.
const CHECKS: usize = 16;
/// How long what an event needs is fetched for, at the most.
const LONGEST_FETCH: Duration = Duration::from_mins(10);

/// Something is done.
pub(super) enum Done {
    Fetched { at: At, origin: OwnedServerName, supplied: Result<Supplied, SupplyError> },
    Checked { origin: OwnedServerName, checked: Vec<(At, Checked)> },
}

/// The event, or why it is none; nothing when the keys could not be read.
type Checked = Option<Result<Verified, SignatureError>>;

impl Worker {
    /// Has the signatures checked of those that were not checked yet, of each server by itself: their keys may have to be
    /// fetched.
    pub(super) fn start_checks(&mut self, room: &RoomRules) {
        let mut unchecked: BTreeMap<OwnedServerName, Vec<(At, Pdu)>> = BTreeMap::new();
        for (at, item) in &self.items {
            if item.state == State::Unchecked && !self.checking.contains(&item.origin) {
                let of_origin = unchecked.entry(item.origin.clone()).or_default();
                if of_origin.len() < AT_ONCE {
                    of_origin.push((*at, item.pdu.clone()));
                }
            }
        }
        let free = CHECKS.saturating_sub(self.checking.len());
        // First the server that had its turn the longest ago: those whose keys take their time hold up nobody else.
        let mut unchecked: Vec<_> = unchecked.into_iter().collect();
        unchecked.sort_by_key(|(origin, _)| self.checked_at.get(origin).copied().unwrap_or(0));
        for (origin, events) in unchecked.into_iter().take(free) {
            let turn = self.checked_at.values().max().map_or(1, |last| last.saturating_add(1));
            self.checked_at.insert(origin.clone(), turn);
            for (at, _) in &events {
                if let Some(item) = self.items.get_mut(at) {
                    item.state = State::Checking;
                }
            }
            self.checking.insert(origin.clone());
            let (keys, rules, done) = (self.inbox.0.federation.keys().clone(), room.rules, self.done.0.clone());
            self.inbox.0.tasks.spawn("check events", async move {
                let (ats, pdus): (Vec<At>, Vec<Pdu>) = events.into_iter().unzip();
                let checked = match keys.verify(pdus, rules).await {
                    Ok(checked) => ats.into_iter().zip(checked.into_iter().map(Some)).collect(),
                    Err(error) => {
                        tracing::warn!(%error, "the keys of other servers can't be read");
                        ats.into_iter().map(|at| (at, None)).collect()
                    }
                };
                // The worker may be over: then the server stops.
                let _ = done.send(Done::Checked { origin, checked });
            });
        }
    }

    /// Takes what was done beside the worker.
    pub(super) async fn take(&mut self, done: Done) {
        match done {
            Done::Fetched { at, origin, supplied } => self.fetched(at, &origin, supplied),
            Done::Checked { origin, checked } => {
                self.checking.remove(&origin);
                for (at, checked) in checked {
                    self.checked(at, checked).await;
                }
            }
        }
    }

    async fn checked(&mut self, at: At, checked: Checked) {
        let Some(item) = self.items.get_mut(&at) else { return };
        match checked {
            Some(Ok(verified)) => {
                item.verified = Some(verified);
                item.state = State::Ready;
            }
            None => self.fail(at).await,
            Some(Err(error)) => {
                tracing::info!(event = %item.pdu.event_id(), %error, "an event of another server is not believed");
                if error.wants_key() {
                    self.fail(at).await;
                } else {
                    self.delete(&[at]).await;
                }
            }
        }
    }

    /// Starts fetching for the oldest event of each server, unless what it needs is being judged anyway.
    pub(super) fn start_fetches(&mut self, room: &RoomRules) {
        let coming: HashSet<OwnedEventId> =
            self.items.values().filter(|item| item.is_coming()).map(|item| item.pdu.event_id().to_owned()).collect();
        let needing: Vec<At> =
            self.items.iter().filter(|(_, item)| matches!(item.state, State::Needs(_))).map(|(at, _)| *at).collect();
        let waits = |item: &Item| match &item.state {
            State::Needs(Needs::Missing { prev, auth }) => prev.iter().chain(auth).any(|id| coming.contains(id)),
            _ => false,
        };
        // The oldest of each server, and first the server that had its turn the longest ago.
        let mut oldest: BTreeMap<&OwnedServerName, At> = BTreeMap::new();
        for at in &needing {
            let Some(item) = self.items.get(at).filter(|item| !waits(item)) else { continue };
            if !self.busy.contains(&item.origin) {
                oldest.entry(&item.origin).or_insert(*at);
            }
        }
        let mut start: Vec<(u64, At)> =
            oldest.into_iter().map(|(origin, at)| (self.served.get(origin).copied().unwrap_or(0), at)).collect();
        start.sort_unstable();
        start.truncate(FETCHES.saturating_sub(self.busy.len()));
        // Those that wait only for one another: only lies do that.
        if start.is_empty() && self.busy.is_empty() {
            start.extend(needing.first().map(|at| (0, *at)));
        }
        for (_, at) in start {
            self.start_fetch(room, at);
        }
    }

    fn start_fetch(&mut self, room: &RoomRules, at: At) {
        let is_flooded = self.items.len() > FLOOD;
        let Some(item) = self.items.get_mut(&at) else { return };
        let State::Needs(needs) = std::mem::replace(&mut item.state, State::Fetching) else { return };
        let Some(event) = item.verified.clone() else { return };
        // A flood of what nobody can fetch is not passed on to others.
        let (origin, attempt) = (item.origin.clone(), Attempt { number: item.tries, asks_others: !is_flooded });
        self.busy.insert(origin.clone());
        let turn = self.served.values().max().map_or(1, |last| last.saturating_add(1));
        self.served.insert(origin.clone(), turn);
        let (supply, done) = (Supply::new(self.inbox.clone(), self.no, room.clone()), self.done.0.clone());
        self.inbox.0.tasks.spawn("fetch for an event", async move {
            let supplied = supply.supply(&event, needs, (&origin, attempt));
            let supplied = tokio::time::timeout(LONGEST_FETCH, supplied).await.unwrap_or(Err(SupplyError::TooLong));
            // The worker may be over: then the server stops.
            let _ = done.send(Done::Fetched { at, origin, supplied });
        });
    }

    /// Something was fetched, or could not be. What was fetched may be what others wait for, too.
    fn fetched(&mut self, at: At, origin: &OwnedServerName, supplied: Result<Supplied, SupplyError>) {
        self.busy.remove(origin);
        let has_come = matches!(supplied, Ok(Supplied::Events));
        for item in self.items.values_mut().filter(|_| has_come) {
            if matches!(item.state, State::Needs(Needs::Missing { .. })) {
                item.state = State::Ready;
            }
        }
        let Some(item) = self.items.get_mut(&at) else { return };
        item.was_fetched_for = true;
        item.state = State::Ready;
        match supplied {
            Ok(Supplied::Events) => {}
            Ok(Supplied::Signed(event)) => item.verified = Some(event),
            Ok(Supplied::Refused) => item.is_refused = true,
            // It is judged again all the same: it may have become possible meanwhile.
            Err(error) => tracing::info!(event = %item.pdu.event_id(), %error, "what an event needs is not given"),
        }
    }
}
