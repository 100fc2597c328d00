//! The worker of a room: judges what is staged there, oldest first, and has fetched what it needs.
//!
//! It is a task that exists while something is staged. Judging takes one of a bounded number of turns and waits for nobody else;
//! keys and what events need are fetched beside it, for each server by itself, so that a server which answers slowly or wrongly
//! holds up what it sent itself, and nothing else. What can't be judged after several tries is thrown away: it is fetched again
//! when later events cite it.

mod beside;
mod item;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use quick_cache::sync::Cache as QuickCache;
use ruma::{OwnedEventId, OwnedServerName};
use tokio::sync::{Notify, mpsc};

use self::{
    beside::Done,
    item::{Item, State},
};
use super::{
    Inbox,
    staging::{At, rider, row},
};
use crate::{
    event::version,
    federation::{fetch::RoomRules, keys::STAGED},
    graph::{Needs, Receipt, RoomNo, SendError, Verdict},
    store::{Batch, Position, ReadError},
};

/// Events that are judged at once: as many as one commit of a room holds.
const AT_ONCE: usize = 50;
/// Rows that are read at once.
const PAGE: usize = 500;
/// How long after what it cites an event that was put off is judged again, in ms.
const MOMENT: u64 = 1_000;
/// How long to wait when the store fails.
const PAUSE: Duration = Duration::from_secs(5);

/// Rooms of which it is remembered how far their last worker has read.
const READ_ROOMS: usize = 10_000;

/// The workers of all rooms.
pub(super) struct Workers {
    /// Those that run.
    running: Mutex<HashMap<RoomNo, Arc<Call>>>,
    /// Up to where a room's last worker has read, and left nothing: its next one begins there, as it is dear to look for rows
    /// among many that were deleted.
    read: QuickCache<RoomNo, Position>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { running: Mutex::default(), read: QuickCache::new(READ_ROOMS) }
    }
}

/// Tells a worker that there is more to do.
#[derive(Default)]
struct Call {
    is_new: AtomicBool,
    notify: Notify,
}

impl Inbox {
    /// Something is staged in a room: its worker looks.
    pub(super) fn work_on(&self, no: RoomNo) {
        if !self.0.staging.is_counted() {
            // The rooms are looked through soon.
            return;
        }
        let mut running = self.0.workers.running.lock();
        if let Some(call) = running.get(&no) {
            call.is_new.store(true, Ordering::Release);
            call.notify.notify_one();
            return;
        }
        let call = Arc::new(Call::default());
        running.insert(no, Arc::clone(&call));
        let worker = Worker {
            inbox: self.clone(),
            no,
            call,
            items: BTreeMap::new(),
            last: self.0.workers.read.get(&no).map(|through| (through, u32::MAX)),
            read_through: None,
            leaves_rows: false,
            done: mpsc::unbounded_channel(),
            busy: HashSet::new(),
            checking: HashSet::new(),
            checked_at: HashMap::new(),
            served: HashMap::new(),
            is_over: false,
        };
        self.0.tasks.spawn("inbox of a room", worker.run());
    }
}

struct Worker {
    inbox: Inbox,
    no: RoomNo,
    call: Arc<Call>,
    /// All that is staged in the room, as far as it was read.
    items: BTreeMap<At, Item>,
    /// The last row that was read, or where to begin.
    last: Option<At>,
    /// Whatever was staged up to this commit has been read.
    read_through: Option<Position>,
    /// Rows could not be deleted: they are read again after the next start, or when the house is kept.
    leaves_rows: bool,
    done: (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
    /// Servers of whose events one is being fetched for.
    busy: HashSet<OwnedServerName>,
    /// Servers whose events are being checked.
    checking: HashSet<OwnedServerName>,
    /// When a server's events were checked last, by counting: each has its turn.
    checked_at: HashMap<OwnedServerName, u64>,
    /// The same of when something was fetched for its event.
    served: HashMap<OwnedServerName, u64>,
    is_over: bool,
}

impl Drop for Worker {
    /// After a panic, or when the server stops: a next one may begin.
    fn drop(&mut self) {
        if !self.is_over {
            self.inbox.0.workers.running.lock().remove(&self.no);
        }
    }
}

impl Worker {
    async fn run(mut self) {
        let inbox = self.inbox.clone();
        let (clock, shutdown) = (&inbox.0.clock, &inbox.0.shutdown);
        let Some(room) = room(&inbox, self.no).await else {
            self.leave();
            return;
        };
        while !shutdown.is_triggered() {
            let mut pause = Duration::MAX;
            match self.turn(&room).await {
                Ok(()) if self.leave() => return,
                Ok(()) => {
                    if let Some(next_try) = self.next_try() {
                        pause = Duration::from_millis(next_try.saturating_sub(clock.now()));
                    }
                }
                Err(error) => {
                    tracing::warn!(room = %room.room_id, %error, "events of a room can't be judged now");
                    pause = PAUSE;
                }
            }
            let call = Arc::clone(&self.call);
            tokio::select! {
                () = call.notify.notified() => {}
                Some(done) = self.done.1.recv() => self.take(done).await,
                () = clock.sleep(pause), if pause < Duration::MAX => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// The worker is over if nothing is left.
    fn leave(&mut self) -> bool {
        let workers = &self.inbox.0.workers;
        let mut running = workers.running.lock();
        if self.items.is_empty() && !self.call.is_new.load(Ordering::Acquire) {
            running.remove(&self.no);
            if let Some(through) = self.read_through.filter(|_| !self.leaves_rows) {
                workers.read.insert(self.no, through);
            }
            self.inbox.0.early.forget(self.no);
            self.is_over = true;
        }
        self.is_over
    }

    /// The time at which the next of those that failed is tried again.
    fn next_try(&self) -> Option<u64> {
        let times = self.items.values().filter_map(|item| match item.state {
            State::Later => Some(item.next_try),
            _ => None,
        });
        times.min()
    }

    /// Judges all that can be judged now, and starts fetching for the rest.
    async fn turn(&mut self, room: &RoomRules) -> Result<(), ReadError> {
        let inbox = self.inbox.clone();
        // Never closed.
        let _turn = inbox.0.at_once.acquire().await.ok();
        self.load(room).await?;
        let mut has_judged = false;
        let now = inbox.0.clock.now();
        for item in self.items.values_mut().filter(|item| item.state == State::Later && item.next_try <= now) {
            item.begin();
        }
        self.start_checks(room);
        loop {
            let mut ready: Vec<At> = self.ready().take(AT_ONCE).collect();
            // What failed for reasons of ours goes alone: it shall not spoil others' commits for ever.
            if ready.iter().any(|at| self.items.get(at).is_some_and(|item| item.goes_alone)) {
                ready.truncate(1);
            }
            if ready.is_empty() {
                break;
            }
            self.judge(&ready).await;
            has_judged = true;
        }
        if has_judged {
            inbox.join_extremities(self.no).await?;
        }
        self.start_fetches(room);
        Ok(())
    }

    fn ready(&self) -> impl Iterator<Item = At> + '_ {
        self.items.iter().filter(|(_, item)| item.state == State::Ready).map(|(at, _)| *at)
    }

    /// Reads what was staged since the last time.
    async fn load(&mut self, room: &RoomRules) -> Result<(), ReadError> {
        self.call.is_new.store(false, Ordering::Release);
        loop {
            let (no, last) = (self.no, self.last);
            let page = self.inbox.0.store.read(move |view| {
                let span = STAGED.span(&(no,));
                let span = if let Some((position, index)) = last { span.after(&(no, position, index)) } else { span };
                Ok::<_, ReadError>((view.scan(&span, PAGE)?, view.horizon()))
            });
            let (page, horizon) = page.await?;
            let mut unreadable = Vec::new();
            for ((_, position, index), row) in page.rows {
                let at = (position, index);
                self.last = Some(at);
                match Item::read(row, room) {
                    Some(item) => drop(self.items.insert(at, item)),
                    None => unreadable.push(at),
                }
            }
            self.delete(&unreadable).await;
            if !page.more {
                self.read_through = Some(horizon);
                return Ok(());
            }
        }
    }

    /// Hands events to the graph, all at once and in their order, so that its lane gathers them.
    async fn judge(&mut self, ready: &[At]) {
        let mut receipts = Vec::with_capacity(ready.len());
        for at in ready {
            let item = self.items.get(at).filter(|item| item.state == State::Ready);
            let Some((item, event)) = item.and_then(|item| Some((item, item.verified.clone()?))) else { continue };
            let rider = rider(self.no, event.pdu(), Some(*at));
            let receipt = Receipt { refused_by_policy: item.is_refused, rider: Some(rider), ..Receipt::from(event) };
            receipts.push((*at, receipt));
        }
        let judging = receipts.into_iter().map(|(at, receipt)| {
            let (graph, no) = (self.inbox.0.graph.clone(), self.no);
            async move { (at, graph.receive(no, receipt).await) }
        });
        let judged = join_all(judging).await;
        let (mut gone, mut settled) = (Vec::new(), HashSet::new());
        for (at, verdict) in judged {
            match verdict {
                Ok(Verdict::Accepted(placed) | Verdict::SoftFailed(placed) | Verdict::Duplicate(placed)) => {
                    self.forget(at);
                    settled.insert(placed.event_id);
                }
                Ok(Verdict::Rejected(error)) => {
                    if let Some(item) = self.items.get(&at) {
                        tracing::info!(event = %item.pdu.event_id(), %error, "an event of another server is rejected");
                        settled.insert(item.pdu.event_id().to_owned());
                    }
                    gone.push(at);
                }
                Ok(Verdict::Needs(needs)) => self.needs(at, needs).await,
                Err(error) => self.failed(at, (&error, ready.len() == 1), &mut gone).await,
            }
        }
        self.inbox.move_early(self.no, &settled).await;
        self.delete(&gone).await;
        self.wake(&settled);
        self.soon(&settled);
    }

    /// An event needs something: first it is fetched, then it has failed, and with it whatever of the same server needs just
    /// the same.
    async fn needs(&mut self, at: At, needs: Needs) {
        let Some(item) = self.items.get_mut(&at) else { return };
        if !item.was_fetched_for {
            item.state = State::Needs(needs);
            return;
        }
        tracing::info!(event = %item.pdu.event_id(), ?needs, "what an event needs could not be had");
        let (origin, needs) = (item.origin.clone(), State::Needs(needs));
        let same = self.items.iter().filter(|(_, item)| item.origin == origin && item.state == needs);
        let same: Vec<At> = same.map(|(at, _)| *at).collect();
        for at in same.into_iter().chain([at]) {
            self.fail(at).await;
        }
    }

    /// An event could not be judged, for reasons that may be ours: it is not to spoil others' commits, and what fails alone is
    /// not tried for ever.
    async fn failed(&mut self, at: At, (error, was_alone): (&SendError, bool), gone: &mut Vec<At>) {
        let Some(item) = self.items.get_mut(&at) else { return };
        tracing::warn!(event = %item.pdu.event_id(), %error, "an event of another server could not be judged");
        let soon = self.inbox.0.clock.now().saturating_add(PAUSE.as_millis().try_into().unwrap_or(u64::MAX));
        match error {
            SendError::Busy | SendError::Rider => {
                item.state = State::Later;
                item.next_try = soon;
            }
            SendError::Read(_) | SendError::Commit(_) if was_alone => self.fail(at).await,
            SendError::Read(_) | SendError::Commit(_) => {
                (item.state, item.next_try, item.goes_alone) = (State::Later, soon, true);
            }
            SendError::Stopped | SendError::NoState => {
                item.goes_alone = true;
                self.fail(at).await;
            }
            _ => gone.push(at),
        }
    }

    /// One try more has failed: later again, or never.
    async fn fail(&mut self, at: At) {
        let now = self.inbox.0.clock.now();
        let Some(item) = self.items.get_mut(&at) else { return };
        let id = item.pdu.event_id().to_owned();
        if item.fails(now) {
            let mut batch = Batch::new();
            let row = row(&item.pdu, &item.origin, (item.tries, item.next_try));
            batch.put(&STAGED, &(self.no, at.0, at.1), &row);
            // Lost, it is only tried more often.
            if let Err(error) = self.inbox.0.store.commit_lazy(batch).await {
                tracing::debug!(%error, "a try is not counted");
            }
        } else {
            tracing::info!(event = %id, "an event of another server is given up");
            self.delete(&[at]).await;
        }
        // Who waits for it no longer does.
        self.wake(&HashSet::from([id]));
    }

    /// Those that wait for events of which something has become are judged again.
    fn wake(&mut self, settled: &HashSet<OwnedEventId>) {
        if settled.is_empty() {
            return;
        }
        for item in self.items.values_mut() {
            let waits = match &item.state {
                State::Needs(Needs::Missing { prev, auth }) => prev.iter().chain(auth).any(|id| settled.contains(id)),
                _ => false,
            };
            if waits {
                item.state = State::Ready;
            }
        }
    }

    /// Those that were put off and may be judged by now: the same event, if another server has sent it, or it came again; and,
    /// after a moment in which it may do so, what cites it.
    fn soon(&mut self, settled: &HashSet<OwnedEventId>) {
        let soon = self.inbox.0.clock.now().saturating_add(MOMENT);
        for item in self.items.values_mut().filter(|item| item.state == State::Later) {
            if settled.contains(item.pdu.event_id()) {
                item.begin();
            } else if item.pdu.prev_events().iter().chain(item.pdu.auth_events()).any(|id| settled.contains(id)) {
                item.next_try = item.next_try.min(soon);
            }
        }
    }

    /// Removes the rows of these, which nobody will judge again.
    async fn delete(&mut self, gone: &[At]) {
        let mut batch = Batch::new();
        for at in gone {
            self.forget(*at);
            batch.delete(&STAGED, &(self.no, at.0, at.1));
        }
        if batch.is_empty() {
            return;
        }
        // Lost, they are only judged again.
        if let Err(error) = self.inbox.0.store.commit_lazy(batch).await {
            self.leaves_rows = true;
            tracing::debug!(%error, "judged events stay staged");
        }
    }

    fn forget(&mut self, at: At) {
        if let Some(item) = self.items.remove(&at) {
            self.inbox.0.staging.release(self.no, &item.origin, item.pdu.json().len());
        }
    }
}

/// What must be known of a room to read its events.
async fn room(inbox: &Inbox, no: RoomNo) -> Option<RoomRules> {
    let reader = inbox.0.graph.reader().clone();
    match inbox.0.store.read(move |view| reader.head(view, no)).await {
        Ok(head) => head.and_then(|head| {
            Some(RoomRules { rules: version::rules(&head.room_version)?, room_id: head.room_id.clone() })
        }),
        Err(error) => {
            tracing::warn!(%error, "a room with staged events can't be read");
            None
        }
    }
}
