//! Where the history that can be had ends (that between is longer than what is given at once, or gone): the state before an event
//! is taken by a server's word.
//!
//! Such a state never replaces ours: the event becomes an extremity beside those that are there, and state resolution decides. It
//! is taken only once others were asked, not by the only word of the server whose event it is (which could tell each another
//! story), and not with holes in it as long as they may be filled: what is left out would not come back by itself.

use std::collections::BTreeSet;

use ruma::{OwnedEventId, ServerName};

use super::{Attempt, Supply, SupplyError, Waiting, id_of};
use crate::{
    event::Verified,
    federation::fetch::{in_graph_order, keep_outliers},
    graph::{Needs, Receipt, Verdict},
};

/// Events of which another server is asked for the state before them, for one event.
const MOST_BRIDGES: usize = 10;
/// Missing events of a state that are asked for one by one; if there are more, the whole state is asked for.
const MOST_SINGLE: usize = 200;
/// Tries at which a state must be whole to be believed.
pub(super) const WHOLE_STATE_TRIES: u8 = 2;

/// Whose word is taken for a state.
#[derive(Clone, Copy)]
pub(super) struct Leap<'a> {
    pub(super) server: &'a ServerName,
    pub(super) attempt: Attempt,
    /// There is no other server that could be asked.
    pub(super) is_alone: bool,
}

impl Leap<'_> {
    /// Whether the server's word is taken for what was before an event. If it is its own event that cites what none of the
    /// others knows, it could tell each of them another story.
    fn is_believed(self, event: &Verified) -> bool {
        self.is_alone || event.pdu().sender().server_name() != self.server
    }
}

impl Supply {
    /// Where the history that a server gives ends: the events behind it are taken with the state that it says was there.
    pub(super) async fn leap(&self, leap: Leap<'_>, event: &Verified, mut waiting: Waiting) -> Result<(), SupplyError> {
        if !waiting.is_empty() {
            self.bridge(leap, &waiting).await?;
            self.accept(leap.server, &mut waiting).await?;
        }
        // What still lacks what it cites, when that can't be had (any more): the history begins anew with it, by the state that
        // is said to be before it. Of the event itself only when nothing else has helped.
        let mut last = Ok(());
        for event in in_graph_order(waiting.into_values().collect()).into_iter().take(MOST_BRIDGES) {
            last = self.begin_with(leap, &event, false).await;
        }
        if leap.attempt.number > 0 && !self.without_place(event.pdu().prev_events().to_vec()).await?.is_empty() {
            last = self.begin_with(leap, event, false).await;
        }
        last
    }

    /// Takes an event with the state that a server says was before it, whatever it cites. That state may bring what authorises
    /// the event; unless it is asked for in any case, it is not where that can't be had.
    async fn begin_with(&self, leap: Leap<'_>, event: &Verified, in_any_case: bool) -> Result<(), SupplyError> {
        let lacking = match self.receive(event.clone().into()).await? {
            Verdict::Needs(Needs::Missing { auth, .. }) => auth,
            _ => return Ok(()),
        };
        if !leap.is_believed(event) {
            return Err(SupplyError::OneWord(leap.server.to_owned(), id_of(event)));
        }
        if !lacking.is_empty() {
            self.authorise(leap.server, event, &lacking).await?;
            if !in_any_case && !self.inbox.0.graph.unknown(lacking).await?.is_empty() {
                return Ok(());
            }
        }
        let state_before = self.state_before(leap.server, &id_of(event), leap.attempt.may_lack()).await?;
        self.receive(Receipt { state_before: Some(state_before), ..event.clone().into() }).await?;
        Ok(())
    }

    /// Takes the events that the oldest of those that wait cite, with the state that the server says was before them.
    async fn bridge(&self, leap: Leap<'_>, waiting: &Waiting) -> Result<(), SupplyError> {
        let cited = waiting.values().flat_map(|event| event.pdu().prev_events().to_vec());
        let cited: BTreeSet<OwnedEventId> = cited.filter(|id| !waiting.contains_key(id)).collect();
        let missing = self.without_place(cited.into_iter().collect()).await?;
        for id in missing.iter().take(MOST_BRIDGES) {
            // One that can't be had spoils nothing for the others.
            match self.bridge_one(leap, id).await {
                Err(error @ (SupplyError::Read(_) | SupplyError::Send(_))) => return Err(error),
                Err(error) => tracing::info!(event = %id, %error, "an event that others cite can't be had"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn bridge_one(&self, leap: Leap<'_>, id: &OwnedEventId) -> Result<(), SupplyError> {
        let event = self.inbox.0.federation.fetch().event(leap.server, &self.room, id).await?;
        self.begin_with(leap, &event, true).await
    }

    /// The state before an event, as a server says: what can be had of it is here then. An event that can't be had would not
    /// come back into the state by itself, even if it came later; so a state that lacks some is taken only if `may_lack`.
    pub(in super::super) async fn state_before(
        &self,
        server: &ServerName,
        id: &OwnedEventId,
        may_lack: bool,
    ) -> Result<Vec<OwnedEventId>, SupplyError> {
        let (fetch, graph) = (self.inbox.0.federation.fetch(), &self.inbox.0.graph);
        let ids = fetch.state_ids(server, &self.room.room_id, id).await?;
        let all: Vec<OwnedEventId> = ids.auth_chain.into_iter().chain(ids.state.iter().cloned()).collect();
        let mut missing = graph.unknown(all.clone()).await?;
        if missing.len() <= MOST_SINGLE {
            let events = fetch.events(server, &self.room, &missing).await?;
            keep_outliers(graph, self.no, events).await?;
            missing = graph.unknown(all).await?;
        }
        // Some servers give alone only what has its place with them.
        if !missing.is_empty() {
            let _large = fetch.large().await;
            let missing: BTreeSet<OwnedEventId> = missing.into_iter().collect();
            match fetch.state(server, &self.room, id).await {
                Ok(mut state) => {
                    state.retain(|event| missing.contains(event.pdu().event_id()));
                    keep_outliers(graph, self.no, state).await?;
                }
                Err(error) if !may_lack => return Err(error.into()),
                Err(error) => tracing::info!(event = %id, %error, "a state is not given whole"),
            }
        }
        let lacking: BTreeSet<OwnedEventId> = graph.unknown(ids.state.clone()).await?.into_iter().collect();
        if !lacking.is_empty() && !may_lack {
            return Err(SupplyError::Lacking(lacking.len(), id.clone()));
        }
        let state: Vec<OwnedEventId> = ids.state.into_iter().filter(|id| !lacking.contains(id)).collect();
        if state.is_empty() { Err(SupplyError::NoState(id.clone())) } else { Ok(state) }
    }
}
