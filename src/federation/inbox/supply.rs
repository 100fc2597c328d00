//! What an event needs before it can be judged: the events that it cites, the state where they can't be had, the signature of
//! a policy server. All of it is fetched from servers that may lie.
//!
//! The events before it come from `/get_missing_events`. Who pushes an event must be able to say what it cites: only where
//! *that* ends (the history between is longer than what is given at once) is the state believed that the server says was
//! there, and a gap left open. Such a state never replaces ours: the event becomes an extremity beside those that are there,
//! and state resolution decides.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use thiserror::Error;

use super::{Inbox, staging::rider};
use crate::{
    event::{Verified, version},
    federation::{
        fetch::{Fetch, FetchError, RoomRules, in_graph_order, keep_outliers},
        policy::Recommendation,
    },
    graph::{Needs, Receipt, RoomNo, SendError, Tie, Verdict},
    store::ReadError,
};

/// Rounds of `/get_missing_events`.
const MOST_ROUNDS: usize = 5;
/// Events of which another server is asked for the state before them, for one event.
const MOST_BRIDGES: usize = 10;
/// Missing events of a state that are asked for one by one; if there are more, the whole state is asked for.
const MOST_SINGLE: usize = 200;
/// Other servers of the room that are asked when the one that sent the event was of no help.
const MOST_OTHERS: usize = 2;

/// Why an event does not get what it needs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum SupplyError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("of the state before {0} nothing can be had")]
    NoState(OwnedEventId),
    #[error("it takes too long")]
    TooLong,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub(super) enum Supplied {
    /// Events, as far as they could be had; they are here.
    Events,
    /// The event with one more signature.
    Signed(Verified),
    /// The policy server does not recommend it.
    Refused,
}

/// Fetches for events of one room.
pub(super) struct Supply {
    inbox: Inbox,
    no: RoomNo,
    room: RoomRules,
}

/// Events that were fetched and are not judged yet.
pub(super) type Waiting = BTreeMap<OwnedEventId, Verified>;

impl Supply {
    pub(super) fn new(inbox: Inbox, no: RoomNo, room: RoomRules) -> Self {
        Self { inbox, no, room }
    }

    /// For a room that this server is in.
    pub(super) async fn of(inbox: &Inbox, no: RoomNo) -> Result<Option<Self>, ReadError> {
        let reader = inbox.0.graph.reader().clone();
        let head = inbox.0.store.read(move |view| reader.head(view, no)).await?;
        let room = head.filter(|head| !head.is_left && !head.is_blocked).and_then(|head| {
            Some(RoomRules { rules: version::rules(&head.room_version)?, room_id: head.room_id.clone() })
        });
        Ok(room.map(|room| Self { inbox: inbox.clone(), no, room }))
    }

    pub(super) fn room(&self) -> &RoomRules {
        &self.room
    }

    pub(super) fn fetch(&self) -> &Fetch {
        self.inbox.0.federation.fetch()
    }

    /// Fetches what an event needs: from the server that sent it and, if that has failed before, from others of the room.
    pub(super) async fn supply(
        &self,
        event: &Verified,
        needs: Needs,
        (origin, asks_others): (&OwnedServerName, bool),
    ) -> Result<Supplied, SupplyError> {
        let (prev, auth) = match needs {
            Needs::Missing { prev, auth } => (prev, auth),
            Needs::PolicySignature => {
                return Ok(match self.inbox.0.policy.ask(self.no, event.pdu()).await? {
                    Recommendation::Signed(event) => Supplied::Signed(event),
                    Recommendation::Refused(_) => Supplied::Refused,
                });
            }
        };
        let mut servers = vec![origin.clone()];
        if asks_others {
            servers.extend(self.others(event.pdu().sender().server_name(), Some(origin), MOST_OTHERS).await?);
        }
        let mut result = Ok(Supplied::Events);
        for server in servers {
            result = self.events_from(&server, event, (&prev, &auth), asks_others).await.map(|()| Supplied::Events);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Some servers of the room, but for ours and one more: this one first, then those of the most users.
    pub(super) async fn others(
        &self,
        first: &ServerName,
        without: Option<&OwnedServerName>,
        most: usize,
    ) -> Result<Vec<OwnedServerName>, ReadError> {
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let servers = self.inbox.0.store.read(move |view| reader.servers(view, no)).await?;
        let own = self.inbox.0.graph.server_name();
        let joined = servers.into_iter().filter(|(_, row)| row.joined_users > 0);
        let mut others: Vec<(bool, u32, OwnedServerName)> = joined
            .filter_map(|(name, row)| Some((OwnedServerName::try_from(name).ok()?, row.joined_users)))
            .filter(|(name, _)| Some(name) != without && name != own)
            .map(|(name, users)| (name == first, users, name))
            .collect();
        others.sort_unstable_by(|one, other| other.cmp(one));
        Ok(others.into_iter().take(most).map(|(.., name)| name).collect())
    }

    async fn events_from(
        &self,
        server: &ServerName,
        event: &Verified,
        (prev, auth): (&[OwnedEventId], &[OwnedEventId]),
        is_again: bool,
    ) -> Result<(), SupplyError> {
        if !prev.is_empty() {
            self.fill(server, event, is_again).await?;
        }
        if !auth.is_empty() {
            self.authorise(server, event, auth).await?;
        }
        Ok(())
    }

    /// Fetches the events between an event and what is here.
    async fn fill(&self, server: &ServerName, event: &Verified, is_again: bool) -> Result<(), SupplyError> {
        let fetch = self.inbox.0.federation.fetch();
        let mut waiting = Waiting::new();
        let mut latest = vec![event.pdu().event_id().to_owned()];
        for _ in 0..MOST_ROUNDS {
            let between = (latest, self.extremities().await?);
            let (events, is_full) = fetch.missing_events(server, &self.room, between).await?;
            let before = waiting.len();
            let new = events.into_iter().filter(|new| new.pdu().event_id() != event.pdu().event_id());
            waiting.extend(new.map(|event| (event.pdu().event_id().to_owned(), event)));
            let is_more = waiting.len() > before;
            self.accept(server, &mut waiting).await?;
            latest = waiting.values().filter(|event| cites_others(event, &waiting)).map(id_of).collect();
            if latest.is_empty() || !is_more || !is_full {
                break;
            }
        }
        if !waiting.is_empty() {
            self.bridge(server, &waiting).await?;
            self.accept(server, &mut waiting).await?;
        }
        // What still lacks what it cites, when that can't be had (any more): the history begins anew with it, by the state that
        // is said to be before it. Of the event itself only when nothing else has helped.
        let mut last = Ok(());
        for event in in_graph_order(waiting.into_values().collect()).into_iter().take(MOST_BRIDGES) {
            last = self.begin_with(server, &event, false).await;
        }
        if is_again && !self.without_place(event.pdu().prev_events().to_vec()).await?.is_empty() {
            last = self.begin_with(server, event, false).await;
        }
        last
    }

    /// Takes an event with the state that a server says was before it, whatever it cites. That state may bring what authorises
    /// the event; unless it is asked for in any case, it is not where that can't be had.
    async fn begin_with(&self, server: &ServerName, event: &Verified, in_any_case: bool) -> Result<(), SupplyError> {
        let lacking = match self.receive(event.clone().into()).await? {
            Verdict::Needs(Needs::Missing { auth, .. }) => auth,
            _ => return Ok(()),
        };
        if !lacking.is_empty() {
            self.authorise(server, event, &lacking).await?;
            if !in_any_case && !self.inbox.0.graph.unknown(lacking).await?.is_empty() {
                return Ok(());
            }
        }
        let state_before = Some(self.state_before(server, &id_of(event)).await?);
        self.receive(Receipt { state_before, ..event.clone().into() }).await?;
        Ok(())
    }

    /// Judges what was fetched, as far as what it cites is here.
    async fn accept(&self, server: &ServerName, waiting: &mut Waiting) -> Result<(), SupplyError> {
        let mut authorised = BTreeSet::new();
        loop {
            let ordered = in_graph_order(waiting.values().cloned().collect());
            let verdicts = join_all(ordered.iter().map(|event| self.receive(event.clone().into()))).await;
            let (mut has_moved, mut unauthorised) = (false, Vec::new());
            for (event, verdict) in ordered.into_iter().zip(verdicts) {
                match verdict? {
                    Verdict::Needs(Needs::Missing { auth, .. }) if !auth.is_empty() => unauthorised.push((event, auth)),
                    Verdict::Needs(_) => {}
                    _ => has_moved |= waiting.remove(event.pdu().event_id()).is_some(),
                }
            }
            for (event, auth) in unauthorised {
                if authorised.insert(id_of(&event)) {
                    self.authorise(server, &event, &auth).await?;
                    has_moved = true;
                }
            }
            if !has_moved {
                return Ok(());
            }
        }
    }

    /// Hands an event to the graph; one that needs the policy server's signature has it asked for.
    pub(super) async fn receive(&self, mut receipt: Receipt) -> Result<Verdict, SupplyError> {
        if receipt.backfilled.is_none() {
            receipt.rider = Some(rider(self.no, receipt.event.pdu(), None));
        }
        let verdict = self.inbox.0.graph.receive(self.no, receipt.clone()).await?;
        if verdict != Verdict::Needs(Needs::PolicySignature) {
            return Ok(verdict);
        }
        let receipt = match self.inbox.0.policy.ask(self.no, receipt.event.pdu()).await? {
            Recommendation::Signed(event) => Receipt { event, ..receipt },
            Recommendation::Refused(_) => Receipt { refused_by_policy: true, ..receipt },
        };
        Ok(self.inbox.0.graph.receive(self.no, receipt).await?)
    }

    /// Fetches auth events of an event, and theirs.
    pub(super) async fn authorise(
        &self,
        server: &ServerName,
        event: &Verified,
        missing: &[OwnedEventId],
    ) -> Result<(), SupplyError> {
        let (fetch, graph) = (self.inbox.0.federation.fetch(), &self.inbox.0.graph);
        match fetch.auth_chain(server, &self.room, event.pdu()).await {
            Ok(chain) => keep_outliers(graph, self.no, chain).await?,
            Err(FetchError::Read(error)) => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "there is no auth chain"),
        }
        let missing = graph.unknown(missing.to_vec()).await?;
        if !missing.is_empty() {
            fetch.authorising(server, (graph, self.no, &self.room), &missing).await?;
        }
        Ok(())
    }

    /// Takes the events that the oldest of those that wait cite, with the state that the server says was before them.
    async fn bridge(&self, server: &ServerName, waiting: &Waiting) -> Result<(), SupplyError> {
        let cited = waiting.values().flat_map(|event| event.pdu().prev_events().to_vec());
        let cited: BTreeSet<OwnedEventId> = cited.filter(|id| !waiting.contains_key(id)).collect();
        let missing = self.without_place(cited.into_iter().collect()).await?;
        for id in missing.iter().take(MOST_BRIDGES) {
            // One that can't be had spoils nothing for the others.
            match self.bridge_one(server, id).await {
                Err(error @ (SupplyError::Read(_) | SupplyError::Send(_))) => return Err(error),
                Err(error) => tracing::info!(event = %id, %error, "an event that others cite can't be had"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn bridge_one(&self, server: &ServerName, id: &OwnedEventId) -> Result<(), SupplyError> {
        let event = self.inbox.0.federation.fetch().event(server, &self.room, id).await?;
        self.begin_with(server, &event, true).await
    }

    /// The state before an event, as a server says: what can be had of it is here then.
    pub(super) async fn state_before(
        &self,
        server: &ServerName,
        id: &OwnedEventId,
    ) -> Result<Vec<OwnedEventId>, SupplyError> {
        let (fetch, graph) = (self.inbox.0.federation.fetch(), &self.inbox.0.graph);
        let ids = fetch.state_ids(server, &self.room.room_id, id).await?;
        let all = ids.auth_chain.into_iter().chain(ids.state.iter().cloned()).collect();
        let missing = graph.unknown(all).await?;
        let large = if missing.len() > MOST_SINGLE { fetch.large().await } else { None };
        let events = if missing.len() > MOST_SINGLE {
            let missing: BTreeSet<OwnedEventId> = missing.into_iter().collect();
            let mut state = fetch.state(server, &self.room, id).await?;
            state.retain(|event| missing.contains(event.pdu().event_id()));
            state
        } else {
            fetch.events(server, &self.room, &missing).await?
        };
        keep_outliers(graph, self.no, events).await?;
        drop(large);
        let lacking: BTreeSet<OwnedEventId> = graph.unknown(ids.state.clone()).await?.into_iter().collect();
        let state: Vec<OwnedEventId> = ids.state.into_iter().filter(|id| !lacking.contains(id)).collect();
        if state.is_empty() { Err(SupplyError::NoState(id.clone())) } else { Ok(state) }
    }

    /// Of some ids, those of events that are not here, or whose place in the graph is not known.
    pub(super) async fn without_place(&self, ids: Vec<OwnedEventId>) -> Result<Vec<OwnedEventId>, ReadError> {
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let read = self.inbox.0.store.read(move |view| {
            let mut lacking = Vec::new();
            for (id, at) in ids.iter().zip(reader.locate_many(view, &ids)?) {
                let meta = match at.filter(|at| at.room == no) {
                    Some(at) => reader.meta(view, no, at.seq)?,
                    None => None,
                };
                if meta.is_none_or(|meta| meta.tie == Tie::default()) {
                    lacking.push(id.clone());
                }
            }
            Ok::<_, ReadError>(lacking)
        });
        read.await
    }

    async fn extremities(&self) -> Result<Vec<OwnedEventId>, ReadError> {
        let (reader, no) = (self.inbox.0.graph.reader().clone(), self.no);
        let read = self.inbox.0.store.read(move |view| {
            let Some(head) = reader.head(view, no)? else { return Ok(Vec::new()) };
            let wanted: Vec<_> = head.extremities.iter().map(|seq| (no, *seq)).collect();
            let events = reader.events(view, &wanted)?;
            Ok::<_, ReadError>(events.into_iter().flatten().map(|event| event.event_id.clone()).collect())
        });
        read.await
    }
}

pub(super) fn id_of(event: &Verified) -> OwnedEventId {
    event.pdu().event_id().to_owned()
}

/// Whether an event cites previous events that are not among these.
fn cites_others(event: &Verified, waiting: &Waiting) -> bool {
    event.pdu().prev_events().iter().any(|id| !waiting.contains_key(id))
}
