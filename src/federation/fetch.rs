//! Fetching events from other servers.
//!
//! What comes back was written by others: every event is read as one of the room in question, under the id that it was asked
//! for by, and its signatures hold (server-server API, "Checks performed on receipt of a PDU", steps 1 to 3); the rest is
//! left out. Nothing here is stored but by [`keep_outliers`].

mod order;
mod turns;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName, UInt,
    api::{
        OutgoingRequest,
        federation::{
            authorization::get_event_authorization::v1 as get_event_authorization,
            backfill::get_backfill::v1 as get_backfill,
            event::{
                get_event::v1 as get_event, get_event_by_timestamp::v1 as get_event_by_timestamp,
                get_missing_events::v1 as get_missing_events, get_room_state::v1 as get_room_state,
                get_room_state_ids::v1 as get_room_state_ids,
            },
        },
        path_builder::PathBuilder,
    },
};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use self::order::authorising_of;
pub use self::order::{in_auth_order, in_graph_order};
use self::turns::Requests;
use super::{
    client::{Bounds, Client, ClientError, OutgoingScheme},
    key_ring::Keys,
};
use crate::{
    base::clock::UnixMillis,
    event::{Pdu, Rules, Verified},
    graph::{Direction, Graph, RoomNo, SendError, Verdict},
    store::ReadError,
};

/// Events that `/get_missing_events` is asked for at once: more are given by nobody.
pub const MOST_MISSING: usize = 20;
/// Events that are read or handed to the graph at once.
const CHUNK: usize = 500;
/// Steps back along auth events for which single events are asked for.
const MOST_AUTH_STEPS: usize = 20;
/// Single events that are asked for to authorise one.
const MOST_AUTH_EVENTS: usize = 200;
/// For one event, and for the ids of a state.
const ONE: Bounds = Bounds { within: Duration::from_secs(20), most_bytes: 1 << 20 };
/// For twenty events.
const FEW: Bounds = Bounds { within: Duration::from_secs(30), most_bytes: 4 << 20 };

/// Why nothing was fetched.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FetchError {
    /// The other server did not give it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It gave something else.
    #[error("{0} sent no such event of this room whose signatures hold")]
    WrongEvent(OwnedServerName),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A room, as its events are read.
#[derive(Clone, Debug)]
pub struct RoomRules {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// What holds in its version.
    pub rules: &'static Rules,
}

/// The state before an event as another server says, by ids.
#[derive(Clone, Debug)]
pub struct StateIds {
    /// The state.
    pub state: Vec<OwnedEventId>,
    /// What authorises it.
    pub auth_chain: Vec<OwnedEventId>,
}

/// Fetches events, a bounded number at once from each server and from all. Cheap to clone.
#[derive(Clone)]
pub struct Fetch(Arc<Inner>);

struct Inner {
    client: Client,
    keys: Keys,
    turns: Requests,
}

/// Leave to have a large answer in memory.
#[derive(Debug)]
pub struct Large(#[expect(dead_code, reason = "it counts while it is there")] OwnedSemaphorePermit);

impl Fetch {
    pub(super) fn new(client: Client, keys: Keys) -> Self {
        Self(Arc::new(Inner { client, keys, turns: Requests::default() }))
    }

    /// Sends a request when it is its turn.
    async fn ask<R>(&self, server: &ServerName, request: R, bounds: Bounds) -> Result<R::IncomingResponse, ClientError>
    where
        R: OutgoingRequest,
        R::Authentication: OutgoingScheme,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = ()>,
    {
        let _turn = self.0.turns.take(server).await;
        self.0.client.request(server, request, bounds).await
    }

    /// Waits for leave to have the state of a room in memory: to be held from before [`Fetch::state`] until its events are
    /// kept.
    pub async fn large(&self) -> Option<Large> {
        self.0.turns.large().await.map(Large)
    }

    /// Of events as another server wrote them, those that are events of this room and whose signatures hold, in their
    /// order, each once.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn verified(&self, room: &RoomRules, raw: &[Box<RawValue>]) -> Result<Vec<Verified>, ReadError> {
        let (mut verified, mut seen) = (Vec::with_capacity(raw.len()), HashSet::new());
        for chunk in raw.chunks(CHUNK) {
            let pdus: Vec<Pdu> = chunk.iter().filter_map(|raw| read(raw, room)).collect();
            let pdus = pdus.into_iter().filter(|pdu| seen.insert(pdu.event_id().to_owned())).collect();
            verified.extend(self.verified_pdus(room, pdus).await?);
        }
        Ok(verified)
    }

    async fn verified_pdus(&self, room: &RoomRules, pdus: Vec<Pdu>) -> Result<Vec<Verified>, ReadError> {
        let ids: Vec<OwnedEventId> = pdus.iter().map(|pdu| pdu.event_id().to_owned()).collect();
        let checked = self.0.keys.verify(pdus, room.rules).await?;
        let holds = |(id, checked): (OwnedEventId, Result<Verified, _>)| match checked {
            Ok(verified) => Some(verified),
            Err(error) => {
                tracing::info!(room = %room.room_id, event = %id, %error, "a fetched event is left out");
                None
            }
        };
        Ok(ids.into_iter().zip(checked).filter_map(holds).collect())
    }

    /// Events between what this server has and some that it got (`/get_missing_events`): what is good of them, in graph
    /// order, and whether the other server gave as many as it gives at once.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn missing_events(
        &self,
        server: &ServerName,
        room: &RoomRules,
        (latest, earliest): (Vec<OwnedEventId>, Vec<OwnedEventId>),
    ) -> Result<(Vec<Verified>, bool), FetchError> {
        let mut request = get_missing_events::Request::new(room.room_id.clone(), earliest, latest);
        request.limit = UInt::from(20_u32);
        let events = self.ask(server, request, FEW).await?.events;
        let is_full = events.len() >= MOST_MISSING;
        let events = events.get(..events.len().min(MOST_MISSING)).unwrap_or_default();
        Ok((in_graph_order(self.verified(room, events).await?), is_full))
    }

    /// Events and those before them (`/backfill`), in graph order.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn backfill(
        &self,
        server: &ServerName,
        room: &RoomRules,
        from: Vec<OwnedEventId>,
        limit: u32,
    ) -> Result<Vec<Verified>, FetchError> {
        let request = get_backfill::Request::new(room.room_id.clone(), from, limit.into());
        let pdus = self.ask(server, request, Bounds::USUAL).await?.pdus;
        let most = usize::try_from(limit).unwrap_or(usize::MAX).min(pdus.len());
        Ok(in_graph_order(self.verified(room, pdus.get(..most).unwrap_or_default()).await?))
    }

    /// One event.
    ///
    /// # Errors
    /// When there is no answer, or it is not that event.
    pub async fn event(&self, server: &ServerName, room: &RoomRules, id: &EventId) -> Result<Verified, FetchError> {
        let response = self.ask(server, get_event::Request::new(id.to_owned()), ONE).await?;
        let found = read(&response.pdu, room).filter(|pdu| pdu.event_id() == id);
        let found = self.verified_pdus(room, found.into_iter().collect()).await?.pop();
        found.ok_or_else(|| FetchError::WrongEvent(server.to_owned()))
    }

    /// Many single events: those that can be had.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn events(
        &self,
        server: &ServerName,
        room: &RoomRules,
        ids: &[OwnedEventId],
    ) -> Result<Vec<Verified>, ReadError> {
        let mut events = Vec::with_capacity(ids.len());
        for fetched in join_all(ids.iter().map(|id| self.event(server, room, id))).await {
            match fetched {
                Ok(event) => events.push(event),
                Err(FetchError::Read(error)) => return Err(error),
                Err(error) => tracing::debug!(room = %room.room_id, %error, "an event can't be had"),
            }
        }
        Ok(events)
    }

    /// What authorises an event (`/event_auth`), auth events first. What else the other server puts there is left out.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn auth_chain(
        &self,
        server: &ServerName,
        room: &RoomRules,
        event: &Pdu,
    ) -> Result<Vec<Verified>, FetchError> {
        let request = get_event_authorization::Request::new(room.room_id.clone(), event.event_id().to_owned());
        let chain = self.ask(server, request, Bounds::USUAL).await?.auth_chain;
        Ok(in_auth_order(authorising_of(self.verified(room, &chain).await?, event.auth_events())))
    }

    /// The event nearest to a time, going one way, as another server knows it: its id and its own time, in ms.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn nearest_by_time(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        (ts, direction): (UnixMillis, Direction),
    ) -> Result<(OwnedEventId, UnixMillis), FetchError> {
        let dir = match direction {
            Direction::Forward => ruma::api::Direction::Forward,
            Direction::Backward => ruma::api::Direction::Backward,
        };
        let ts = MilliSecondsSinceUnixEpoch(UInt::new_saturating(ts));
        let request = get_event_by_timestamp::Request::new(room_id.to_owned(), ts, dir);
        let found = self.ask(server, request, ONE).await?;
        Ok((found.event_id, found.origin_server_ts.get().into()))
    }

    /// The state before an event, by ids (`/state_ids`).
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn state_ids(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<StateIds, FetchError> {
        let request = get_room_state_ids::Request::new(event_id.to_owned(), room_id.to_owned());
        let response = self.ask(server, request, Bounds::USUAL).await?;
        Ok(StateIds { state: response.pdu_ids, auth_chain: response.auth_chain_ids })
    }

    /// The state before an event and what authorises it (`/state`), as one list, auth events first.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn state(
        &self,
        server: &ServerName,
        room: &RoomRules,
        event_id: &EventId,
    ) -> Result<Vec<Verified>, FetchError> {
        let request = get_room_state::Request::new(event_id.to_owned(), room.room_id.clone());
        let response = self.ask(server, request, Bounds::STATE).await?;
        let mut events = response.auth_chain;
        events.extend(response.pdus);
        Ok(in_auth_order(self.verified(room, &events).await?))
    }

    /// Fetches auth events that are missing here, and theirs, one by one, and keeps them as outliers. `known` says which of
    /// some ids are here.
    ///
    /// # Errors
    /// When the store fails. What can't be had is no error.
    pub async fn authorising(
        &self,
        server: &ServerName,
        (graph, no, room): (&Graph, RoomNo, &RoomRules),
        missing: &[OwnedEventId],
    ) -> Result<(), SendError> {
        let mut asked: BTreeSet<OwnedEventId> = BTreeSet::new();
        let (mut found, mut wanted) = (Vec::new(), missing.to_vec());
        for _ in 0..MOST_AUTH_STEPS {
            wanted.retain(|id| asked.len() < MOST_AUTH_EVENTS && asked.insert(id.clone()));
            if wanted.is_empty() {
                break;
            }
            let events = self.events(server, room, &wanted).await?;
            let cited: Vec<OwnedEventId> = events.iter().flat_map(|event| event.pdu().auth_events().to_vec()).collect();
            wanted = graph.unknown(cited).await?;
            found.extend(events);
        }
        keep_outliers(graph, no, found).await
    }
}

/// Reads an event of this room; `None` if it is none.
fn read(raw: &RawValue, room: &RoomRules) -> Option<Pdu> {
    match Pdu::parse(raw.get().as_bytes(), room.rules) {
        Ok(pdu) if pdu.room_id() == room.room_id => Some(pdu),
        Ok(pdu) => {
            tracing::info!(room = %room.room_id, event = %pdu.event_id(), "a fetched event is of another room");
            None
        }
        Err(error) => {
            tracing::info!(room = %room.room_id, %error, "a fetched event is none of its room version");
            None
        }
    }
}

/// Keeps events that others cite as authorising, or that a state consists of. One whose own auth events are not here is
/// dropped, and with it what it authorises.
///
/// # Errors
/// When the store fails, or the server stops.
pub async fn keep_outliers(graph: &Graph, room: RoomNo, events: Vec<Verified>) -> Result<(), SendError> {
    for chunk in in_auth_order(events).chunks(CHUNK) {
        let kept = chunk.iter().map(|event| graph.receive_outlier(room, event.clone().into()));
        for (event, verdict) in chunk.iter().zip(join_all(kept).await) {
            match verdict? {
                Verdict::Needs(needs) => {
                    tracing::info!(event = %event.pdu().event_id(), ?needs, "an event without its auth events is dropped");
                }
                Verdict::Rejected(error) => {
                    tracing::info!(event = %event.pdu().event_id(), %error, "a fetched event is rejected");
                }
                Verdict::Accepted(_) | Verdict::SoftFailed(_) | Verdict::Duplicate(_) => {}
            }
        }
    }
    Ok(())
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetch by {:?}", self.0.client)
    }
}
