//! The graph's handle: what the layers above call.

use std::{fmt, sync::Arc, time::Duration};

use quick_cache::sync::Cache as QuickCache;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId};
use tokio::sync::oneshot;

use super::{
    AdoptError, Adoption, CreateError, Created, MaintenanceError, Placed, Proposal, Reader, Receipt, SendError,
    Verdict,
    cache::Cache,
    log::Ring,
    maintenance,
    outside::{Standing, Stood},
    types::RoomNo,
    write::{self, Adopting, Env, Lanes},
};
use crate::{
    base::{
        clock::{Clock, UnixMillis},
        random::Random,
        tasks::Tasks,
    },
    event::{Pdu, SigningKey, Template},
    store::{ReadError, Store},
};

/// Ids of rooms that are kept with their numbers.
const ROOM_NUMBERS: usize = 10_000;
/// How often what is over is thrown away.
const MAINTAIN_EVERY: Duration = Duration::from_hours(1);

/// What a graph must know of its server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's name: who is local.
    pub server_name: OwnedServerName,
    /// Signs our events.
    pub key: Arc<SigningKey>,
    /// Bytes of the cache of bodies and states.
    pub cache_bytes: u64,
    /// How long the content of a redacted event is kept, in ms.
    pub keep_redacted: UnixMillis,
}

/// The write side of rooms, and their reader. Cheap to clone.
#[derive(Clone)]
pub struct Graph(Arc<Inner>);

struct Inner {
    store: Store,
    tasks: Tasks,
    env: Arc<Env>,
    lanes: Lanes,
    adopting: Adopting,
    ring: Arc<Ring>,
    numbers: QuickCache<OwnedRoomId, RoomNo>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({}, {:?})", self.0.env.server_name, self.0.lanes)
    }
}

impl Graph {
    /// A graph over `store`. Lanes run as tasks of `tasks`.
    pub fn new(store: &Store, tasks: &Tasks, clock: &Clock, random: &Random, settings: Settings) -> Self {
        let ring = Ring::following(store, &settings.server_name, Ring::CAPACITY);
        let env = Arc::new(Env {
            server_name: settings.server_name,
            key: settings.key,
            reader: Reader::new(Arc::new(Cache::with_capacity(settings.cache_bytes))),
            clock: clock.clone(),
            random: random.clone(),
            keep_redacted: settings.keep_redacted,
        });
        Self(Arc::new(Inner {
            lanes: Lanes::new(Arc::clone(&env), store.clone(), tasks.clone()),
            adopting: Adopting::default(),
            ring,
            store: store.clone(),
            tasks: tasks.clone(),
            env,
            numbers: QuickCache::new(ROOM_NUMBERS),
        }))
    }

    /// Reads rooms, in the closures of `store.read`.
    pub fn reader(&self) -> &Reader {
        &self.0.env.reader
    }

    /// The youngest part of the log.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.0.ring
    }

    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.0.env.server_name
    }

    /// Whether a user is of this server.
    pub fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.server_name()
    }

    /// The number of a room that this server knows.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn room_no(&self, room_id: &RoomId) -> Result<Option<RoomNo>, ReadError> {
        if let Some(room) = self.0.numbers.get(room_id) {
            return Ok(Some(room));
        }
        let (reader, wanted) = (self.reader().clone(), room_id.to_owned());
        let found = self.0.store.read(move |view| reader.room_no(view, &wanted)).await?;
        if let Some(room) = found {
            self.0.numbers.insert(room_id.to_owned(), room);
        }
        Ok(found)
    }

    /// Of some ids, those of which no event is here, not even as an outlier; each once.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn unknown(&self, ids: Vec<OwnedEventId>) -> Result<Vec<OwnedEventId>, ReadError> {
        let mut unknown = ids;
        unknown.sort_unstable();
        unknown.dedup();
        let (reader, wanted) = (self.reader().clone(), unknown.clone());
        let found = self.0.store.read(move |view| reader.locate_many(view, &wanted)).await?;
        let mut found = found.into_iter();
        unknown.retain(|_| found.next().flatten().is_none());
        Ok(unknown)
    }

    /// Creates a room of these events (at most 50; the first is `m.room.create`, and gets its `room_version` here), in one
    /// commit: all of it is there when this returns, or nothing.
    ///
    /// # Errors
    /// The first proposal that makes no event, or that the auth rules forbid.
    pub async fn create(&self, version: RoomVersionId, proposals: Vec<Proposal>) -> Result<Created, CreateError> {
        let (env, store) = (Arc::clone(&self.0.env), self.0.store.clone());
        let (answer, answered) = oneshot::channel();
        // A task of its own: a caller who goes away in the middle tears nothing.
        self.0.tasks.spawn("create room", async move {
            let _ = answer.send(write::create(&env, &store, version, proposals).await);
        });
        answered.await.unwrap_or(Err(CreateError { index: 0, error: SendError::Stopped }))
    }

    /// Builds events on the current state of a room, one upon another, and commits them: all, or none. They share the
    /// commit with whatever else waits for the room.
    ///
    /// # Errors
    /// Why the first of them that could not be sent was not.
    pub async fn send(&self, room: RoomNo, proposals: Vec<Proposal>) -> Result<Vec<Placed>, SendError> {
        self.0.lanes.send(room, proposals).await
    }

    /// [`Graph::send`] for one event.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn send_one(&self, room: RoomNo, proposal: Proposal) -> Result<Placed, SendError> {
        self.send(room, vec![proposal]).await?.pop().ok_or(SendError::Count)
    }

    /// Judges an event that is signed already, and commits what became of it.
    ///
    /// # Errors
    /// When it could not be judged for reasons that are not the event's.
    pub async fn receive(&self, room: RoomNo, receipt: Receipt) -> Result<Verdict, SendError> {
        self.0.lanes.receive(room, receipt, false).await
    }

    /// Stores an event without a place in the graph, so that others can cite it as authorising: `Accepted`, `Rejected` by
    /// its auth events, `Duplicate`, or `Needs` auth events first.
    ///
    /// # Errors
    /// When it could not be judged for reasons that are not the event's.
    pub async fn receive_outlier(&self, room: RoomNo, receipt: Receipt) -> Result<Verdict, SendError> {
        self.0.lanes.receive(room, receipt, true).await
    }

    /// What the event of a proposal would say now, if the auth rules allow it: for what another server has to sign first,
    /// or for its users to send. Nothing is written.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn template(&self, room: RoomNo, proposal: Proposal) -> Result<Template, SendError> {
        let env = Arc::clone(&self.0.env);
        self.0.store.read(move |view| write::template(&env, view, room, &proposal)).await?
    }

    /// Signs an event of a user of ours for a room of this version, which need not be here.
    ///
    /// # Errors
    /// When the template makes no event of that version, or its sender is not ours.
    pub fn sign(&self, template: Template, room_version: &RoomVersionId) -> Result<Pdu, SendError> {
        write::sign(&self.0.env, template, room_version)
    }

    /// Adds this server's signature to an event of another one's. Whoever gets it takes it for what this server stands
    /// for: it must have been judged before.
    ///
    /// # Errors
    /// When it is no event of that version that can be signed.
    pub fn countersign(&self, pdu: &Pdu, room_version: &RoomVersionId) -> Result<Pdu, SendError> {
        write::countersign(&self.0.env, pdu, room_version)
    }

    /// Makes a room one of this server's, which a user of ours has joined through another one: all of it is there when
    /// this returns, or nothing. One that this server was in before goes on from the join.
    ///
    /// # Errors
    /// What of it cannot be.
    pub async fn adopt(&self, adoption: Adoption) -> Result<Placed, AdoptError> {
        let graph = self.clone();
        let (answer, answered) = oneshot::channel();
        // A task of its own: a caller who goes away in the middle tears nothing.
        self.0.tasks.spawn("adopt room", async move {
            let inner = &graph.0;
            let handles = (&inner.env, &inner.store, &inner.lanes);
            let adopted = write::adopt(handles, &inner.adopting, adoption).await;
            if let Ok(placed) = &adopted
                && let Err(error) = write::settle(&inner.store, placed.room).await
            {
                tracing::warn!(%error, "invites to a room that was joined since could not be ended");
            }
            let _ = answer.send(adopted);
        });
        answered.await.unwrap_or(Err(SendError::Stopped.into()))
    }

    /// Changes what a local user is to a room that this server is not in: invited, knocking, or no longer so.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stand_outside(&self, standing: Standing) -> Result<Stood, SendError> {
        write::stand(&self.0.env, &self.0.store, standing).await
    }

    /// Ends invites and knocks from outside of a room that this server is in by now, where the room does not know of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_outside(&self, room: RoomNo) -> Result<(), SendError> {
        write::settle(&self.0.store, room).await
    }

    /// Brings to an end what a server that stopped in the middle of it has left: throws away what it has written ahead of a
    /// join or of a large change, and does what is left to do after one. To be called at the start.
    ///
    /// # Errors
    /// When the store fails; what was done stays done.
    pub async fn sweep_staged(&self) -> Result<(), MaintenanceError> {
        write::sweep_staged(&self.0.store, &self.0.adopting).await?;
        Ok(self.0.lanes.settle().await?)
    }

    /// Throws away what is due: the log behind its followers, originals of redacted events. To be called about once an
    /// hour.
    ///
    /// # Errors
    /// When the store fails; what was done stays done.
    pub async fn maintain(&self) -> Result<(), MaintenanceError> {
        self.sweep_staged().await?;
        maintenance::maintain(&self.0.store, self.0.env.clock.now()).await
    }

    /// Maintains for ever: a task of the server. What fails is tried again the next time.
    pub async fn keep_house(&self) {
        if let Err(error) = self.sweep_staged().await {
            tracing::warn!(%error, "what was left of joins and large changes could not be brought to an end yet");
        }
        loop {
            self.0.env.clock.sleep(MAINTAIN_EVERY).await;
            if let Err(error) = self.maintain().await {
                tracing::warn!(%error, "what is over in rooms could not be thrown away");
            }
        }
    }

    /// Lanes that run, and what waits in them: for metrics.
    pub fn lane_depth(&self) -> (usize, usize) {
        self.0.lanes.depth()
    }

    /// Bytes in the cache, about: for metrics.
    pub fn cache_bytes(&self) -> u64 {
        self.reader().cache().weight()
    }
}
