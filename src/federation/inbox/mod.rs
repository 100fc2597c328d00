//! What other servers send (server-server API, "Transactions").
//!
//! A transaction is answered once it is durable: its events are *staged*, with its answer, in one commit. Then a worker of
//! each room judges them, oldest first, and fetches what they need (`worker`, `supply`). After a crash the staged rows
//! are still there, and `Inbox::resume` goes on with them.

mod backfill;
mod edus;
mod extremities;
mod staging;
mod supply;
mod transaction;
mod worker;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use ruma::OwnedServerName;
use tokio::sync::{Semaphore, oneshot};

use self::{
    backfill::Failed,
    edus::{EarlyReceipts, Edus},
    staging::Staging,
    transaction::Transaction,
    worker::Workers,
};
pub use self::{backfill::Hole, transaction::TransactionError};
use super::{Federation, Origin, PolicyServers, turns::Turns};
use crate::{
    base::{clock::Clock, shutdown::Shutdown, tasks::Tasks},
    ephemeral::typing::Typing,
    graph::{Graph, RoomNo},
    store::{CommitError, ReadError, Store},
};

/// Transactions of a server that are under way or wait; it sends one at a time, and again when it gets no answer.
const MOST_TRANSACTIONS: usize = 4;
/// Readers of a room's history who wait for more of it.
const MOST_BACKFILLS: usize = 16;
/// Rooms whose events are judged at once.
const ROOMS_AT_ONCE: usize = 32;
/// How long a transaction waits for a room that is being joined: less than its server waits for the answer.
const JOINING: Duration = Duration::from_secs(20);
/// How often a transaction is built anew when something else came first.
const TRIES: usize = 8;
/// How often what is over is thrown away, and what was left lying is taken up.
const KEEP_HOUSE_EVERY: Duration = Duration::from_hours(1);
/// How long to wait when the store fails.
const PAUSE: Duration = Duration::from_secs(5);

/// What other servers send. Cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<Inner>);

struct Inner {
    store: Store,
    graph: Graph,
    federation: Federation,
    policy: PolicyServers,
    typing: Typing,
    clock: Clock,
    tasks: Tasks,
    shutdown: Shutdown,
    origins: Turns<OwnedServerName>,
    /// Of rooms whose history is being fetched, and what was asked for in vain.
    backfills: Turns<RoomNo>,
    failed: Failed,
    staging: Staging,
    workers: Workers,
    early: EarlyReceipts,
    at_once: Semaphore,
}

impl Inbox {
    /// An inbox of rooms of `graph`. What was staged before waits for [`Inbox::keep_house`].
    pub fn new(
        (store, graph, typing): (&Store, &Graph, &Typing),
        (federation, policy): (&Federation, &PolicyServers),
        (clock, tasks, shutdown): (&Clock, &Tasks, &Shutdown),
    ) -> Self {
        Self(Arc::new(Inner {
            store: store.clone(),
            graph: graph.clone(),
            federation: federation.clone(),
            policy: policy.clone(),
            typing: typing.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            origins: Turns::of(1, MOST_TRANSACTIONS),
            backfills: Turns::of(1, MOST_BACKFILLS),
            failed: Failed::default(),
            staging: Staging::starting_at(store.horizon()),
            workers: Workers::default(),
            early: EarlyReceipts::default(),
            at_once: Semaphore::new(ROOMS_AT_ONCE),
        }))
    }

    /// Takes a transaction of a server: when this returns it is durable, with its answer, a JSON object. The same transaction
    /// again gets the same answer, whatever it holds.
    ///
    /// # Errors
    /// When it is none, or there is no room for it now; nothing of it was done then.
    pub async fn take(&self, origin: &Origin, txn_id: &str, body: Bytes) -> Result<String, TransactionError> {
        let (inbox, origin, txn_id) = (self.clone(), origin.clone(), txn_id.to_owned());
        let (answer, answered) = oneshot::channel();
        // A task of its own: a server that goes away in the middle leaves nothing that is stored and not looked at.
        self.0.tasks.spawn("transaction", async move {
            let _ = answer.send(inbox.take_whole(&origin, &txn_id, &body).await);
        });
        answered.await.unwrap_or(Err(TransactionError::Stopped))
    }

    async fn take_whole(&self, origin: &Origin, txn_id: &str, body: &[u8]) -> Result<String, TransactionError> {
        let transaction = Transaction::read(body, origin)?;
        let server: OwnedServerName = (**origin).to_owned();
        let _turn = self.0.origins.take(&server).await.ok_or(TransactionError::Busy)?;
        if let Some(answer) = self.recorded(&server, txn_id).await? {
            return Ok(answer);
        }
        let rooms = self.standings_by_now(&server, &transaction).await?;
        let mut sorted = transaction.sort(&server, &rooms);
        let reserved = self.0.staging.reserve(&server, &mut sorted)?;
        let edus = Edus::read(&transaction.edus, &server);
        for _ in 0..TRIES {
            match self.commit((&server, txn_id), &sorted, &edus).await {
                Ok(told) => {
                    reserved.keep();
                    self.apply(told);
                    for room in sorted.rooms() {
                        self.work_on(room);
                    }
                    return Ok(sorted.answer());
                }
                Err(TransactionError::Commit(CommitError::Conflict)) => {
                    // Another process, or a receipt that moved meanwhile.
                    if let Some(answer) = self.recorded(&server, txn_id).await? {
                        return Ok(answer);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(CommitError::Conflict.into())
    }

    /// Goes on with what was staged before this process began, once, then keeps house for ever: a task of the server.
    pub async fn keep_house(&self) {
        loop {
            while let Err(error) = self.resume().await {
                tracing::warn!(%error, "events of other servers wait to be judged");
                self.0.clock.sleep(PAUSE).await;
            }
            if let Err(error) = self.throw_away().await {
                tracing::warn!(%error, "old answers to other servers could not be thrown away");
            }
            self.0.clock.sleep(KEEP_HOUSE_EVERY).await;
        }
    }

    /// Starts the workers of all rooms in which something is staged.
    async fn resume(&self) -> Result<(), ReadError> {
        if !self.0.staging.is_counted() {
            self.0.staging.rooms(&self.0.store).await?;
        }
        // Again: no worker was started for what came while these were counted.
        for room in self.0.staging.rooms(&self.0.store).await? {
            self.work_on(room);
        }
        Ok(())
    }

    /// How many events are staged, and their bytes: for metrics.
    pub fn staged(&self) -> (usize, usize) {
        self.0.staging.sum()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({:?} staged)", self.staged())
    }
}
