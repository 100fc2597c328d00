//! Sending to other servers what they must hear of: events that are for us to send, receipts, who types.
//!
//! A follower of the log ([`fan_out`](self)) puts positions into a queue for each server; one transaction at a time is on
//! its way to each ([`delivery`](self)). Success writes nothing: the cursor of the follower stands before everything
//! that is not acknowledged. Only of a server that fails a row says from where on it has missed events; once it
//! answers, it first gets the last events of each room ([`catch_up`](self)) and asks for what lies between.

mod catch_up;
mod delivery;
mod destination;
mod fan_out;
mod known;
mod queue;
mod transaction;
mod turns;
mod typing;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use tokio::{sync::Notify, time::Instant};

use self::{
    destination::Destination,
    fan_out::FanOut,
    known::Known,
    queue::Item,
    turns::{Class, Turns},
    typing::Announced,
};
use super::{
    Client, Federation, Servers,
    client::shortened,
    keys::{DESTINATION, OUTSIDE},
};
use crate::{
    base::{clock::Clock, random::Random, tasks::Tasks},
    ephemeral::typing::Typing,
    graph::{Graph, Reader, follower, log::Ring},
    store::{Position, ReadError, Store, View},
};

/// How long the end of the server waits for answers.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// How long a part of the sender waits after the store has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows that are read at once.
const PAGE: usize = 1_000;

/// How a server that does not answer is tried again; plain values from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// The pause after its first failure. Doubled with each.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// What the sender has done and has to do: for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Servers that do not answer.
    pub failing: usize,
    /// Servers for which something waits or is on its way, without those.
    pub active: usize,
    /// Events in queues.
    pub waiting: usize,
    /// Transactions on their way.
    pub on_the_way: usize,
    /// Transactions that arrived, since the start.
    pub arrived: u64,
    /// Transactions that did not, since the start.
    pub failed: u64,
    /// Events in transactions that arrived, since the start; counted for each server.
    pub events: u64,
    /// Commits between the end of the log and what was put into queues.
    pub behind: u64,
    /// Times that are waited for to try servers again.
    pub timers: usize,
}

/// Sends to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    client: Client,
    servers: Servers,
    store: Store,
    reader: Reader,
    ring: Arc<Ring>,
    typing: Typing,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    retries: Retries,
    state: Mutex<State>,
    known: Known,
    announced: Mutex<Announced>,
    /// Something may be due to be sent.
    due: Notify,
    /// Who types somewhere has changed.
    typed: Notify,
    /// A transaction has come to its end.
    done: Notify,
    /// Begins the ids of this process's transactions.
    boot: String,
    transactions: AtomicU64,
    arrived: AtomicU64,
    failed: AtomicU64,
    sent_events: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Those for which something waits, or that fail.
    destinations: HashMap<OwnedServerName, Destination>,
    turns: Turns,
    /// When servers that fail are tried again.
    timers: BTreeSet<(Instant, OwnedServerName)>,
    /// Up to where the log has been put into queues.
    followed: Position,
    /// What earlier processes left in the store is here.
    is_loaded: bool,
    is_over: bool,
}

impl Sender {
    /// A sender, once its tasks are [started](Sender::start).
    pub fn new(
        (federation, graph, typing): (&Federation, &Graph, &Typing),
        retries: Retries,
        store: &Store,
        (clock, random, tasks): (&Clock, &Random, &Tasks),
    ) -> Self {
        let sender = Self(Arc::new(Inner {
            client: federation.client().clone(),
            servers: federation.servers().clone(),
            store: store.clone(),
            reader: graph.reader().clone(),
            ring: Arc::clone(graph.ring()),
            typing: typing.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tasks: tasks.clone(),
            retries,
            state: Mutex::default(),
            known: Known::default(),
            announced: Mutex::default(),
            due: Notify::new(),
            typed: Notify::new(),
            done: Notify::new(),
            boot: random.alphanumeric(12),
            transactions: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            sent_events: AtomicU64::new(0),
        }));
        let listener = Arc::downgrade(&sender.0);
        federation.on_request(move |server| {
            if let Some(inner) = listener.upgrade() {
                Self(inner).lives(server);
            }
        });
        let listener = Arc::downgrade(&sender.0);
        typing.on_change(move |room| {
            if let Some(inner) = listener.upgrade() {
                inner.announced.lock().changed(room);
                inner.typed.notify_one();
            }
        });
        sender
    }

    /// Starts the tasks.
    pub fn start(&self) {
        let sender = self.clone();
        self.0.tasks.spawn_forever("federation: following the log", move || sender.clone().follow());
        let sender = self.clone();
        self.0.tasks.spawn_forever("federation: sending", move || sender.clone().dispatch());
        let sender = self.clone();
        self.0.tasks.spawn_forever("federation: typing", move || sender.clone().announce());
    }

    async fn follow(self) {
        while let Err(error) = self.load().await {
            tracing::warn!(%error, "it can't be read which servers did not answer");
            self.0.clock.sleep(PAUSE).await;
        }
        loop {
            let follower = FanOut(self.clone());
            if let Err(error) = follower::run(&self.0.store, &self.0.ring, &self.0.clock, &follower).await {
                tracing::warn!(%error, "other servers cannot be sent to now");
            }
            self.0.clock.sleep(PAUSE).await;
        }
    }

    /// Reads how far an earlier process has come, and which servers did not answer it.
    async fn load(&self) -> Result<(), ReadError> {
        if let Some(at) = self.0.store.read(|view| follower::cursor(view, fan_out::NAME)).await? {
            let mut state = self.0.state.lock();
            state.followed = state.followed.max(at.position);
        }
        let mut after: Option<String> = None;
        loop {
            let from = after.clone();
            let page = self
                .0
                .store
                .read(move |view| {
                    let whole = DESTINATION.span(&());
                    view.scan(&from.as_ref().map_or(whole.clone(), |from| whole.after(&(from.as_str(),))), PAGE)
                })
                .await?;
            let (now, at) = (self.0.clock.now(), self.0.clock.instant());
            let mut state = self.0.state.lock();
            for ((server,), row) in &page.rows {
                let Ok(server) = ServerName::parse(server) else { continue };
                let destination = Destination::from_row(row, now, at, self.0.retries.longest);
                state.destinations.entry(server.clone()).or_insert(destination);
                state.note(&server, at);
            }
            after = page.rows.into_iter().last().map(|((server,), _)| server);
            if !page.more {
                break;
            }
        }
        self.load_outside().await?;
        self.0.state.lock().is_loaded = true;
        self.0.due.notify_one();
        Ok(())
    }

    /// Reads what an earlier process had to tell servers of rooms in which they are not.
    async fn load_outside(&self) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let from = after.clone();
            let read = move |view: &View<'_>| {
                let whole = OUTSIDE.span(&());
                view.scan(&from.as_ref().map_or(whole.clone(), |from| whole.after(from)), PAGE)
            };
            let page = self.0.store.read(read).await?;
            let now = self.0.clock.instant();
            let mut state = self.0.state.lock();
            for ((server, position, room, seq), ()) in &page.rows {
                let Ok(server) = ServerName::parse(server) else { continue };
                let item = Item { position: *position, room: *room, seq: *seq };
                state.destinations.entry(server.clone()).or_default().restore_outside(item);
                state.note(&server, now);
            }
            after = page.rows.into_iter().last().map(|(key, ())| key);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// A server shows that it lives: if it failed, it is tried again soon.
    fn lives(&self, server: &ServerName) {
        let mut state = self.0.state.lock();
        let Some(destination) = state.destinations.get_mut(server) else { return };
        let Some(failing) = destination.failing() else { return };
        let now = self.0.clock.instant();
        // One that asks all the time and answers nothing is not asked more often for it.
        destination.lives(now.max(failing.tried_at + self.0.retries.first));
        state.note(server, now);
        drop(state);
        self.0.due.notify_one();
    }

    /// Ends: nothing more is sent, answers are waited for a little, and the cursor is kept.
    pub async fn stop(&self) {
        self.0.state.lock().is_over = true;
        let ended = async {
            loop {
                let done = self.0.done.notified();
                if self.0.state.lock().turns.on_the_way() == 0 {
                    return;
                }
                done.await;
            }
        };
        let _ = tokio::time::timeout(LAST_WAIT, ended).await;
        let (is_loaded, followed) = {
            let state = self.0.state.lock();
            (state.is_loaded, state.followed)
        };
        if is_loaded && let Err(error) = follower::end(&self.0.store, &FanOut(self.clone()), followed).await {
            tracing::warn!(%error, "some events will be sent to other servers again after the next start");
        }
    }

    /// What it has done and has to do.
    pub fn numbers(&self) -> Numbers {
        let state = self.0.state.lock();
        let all = state.destinations.values();
        let failing = all.clone().filter(|one| one.failing().is_some()).count();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Numbers {
            failing,
            active: state.destinations.len().saturating_sub(failing),
            waiting: all.map(Destination::waiting).sum(),
            on_the_way: state.turns.on_the_way(),
            arrived: read(&self.0.arrived),
            failed: read(&self.0.failed),
            events: read(&self.0.sent_events),
            timers: state.timers.len(),
            behind: self.0.store.horizon().0.saturating_sub(state.followed.0),
        }
    }
}

impl State {
    /// Something about a server has changed: it gets its turn, now or when it is tried again.
    fn note(&mut self, server: &ServerName, now: Instant) {
        let Some(destination) = self.destinations.get_mut(server) else { return };
        if destination.is_idle() {
            self.destinations.remove(server);
            return;
        }
        let class = destination.class();
        if destination.is_due(now) {
            if destination.listed != Some(class) {
                destination.listed = Some(class);
                self.turns.list(server, class);
            }
        } else if let Some(at) = destination.not_before().filter(|_| !destination.is_busy) {
            self.timers.insert((at, server.to_owned()));
        }
    }

    /// The next server whose turn it is, and among whom.
    fn next(&mut self, now: Instant) -> Option<(OwnedServerName, Class)> {
        while self.timers.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, server)) = self.timers.pop_first()
        {
            self.note(&server, now);
        }
        while let Some((server, class)) = self.turns.next() {
            let Some(destination) = self.destinations.get_mut(&server) else { continue };
            // Otherwise it is listed elsewhere since.
            if destination.listed == Some(class) {
                destination.listed = None;
                if destination.is_due(now) {
                    self.turns.begin(class);
                    return Some((server, class));
                }
                self.note(&server, now);
            }
        }
        None
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({:?})", self.numbers())
    }
}
