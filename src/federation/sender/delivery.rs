//! One transaction at a time to each server, and what becomes of those that fail.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, ServerName};

use super::{
    Retries, Sender, catch_up,
    destination::{Destination, Failing, Plan},
    queue::{Item, MOST_EPHEMERAL, Planned, Queue, Refusal},
    transaction::{self, Outcome},
};
use crate::{
    federation::{
        client::Bounds,
        keys::{DESTINATION, DestinationRow},
    },
    graph::{Event, RoomNo, RoomServer},
    rooms::receipts::{self, Receipt},
    store::{Batch, Position, ReadError, View},
};

/// Bytes of events after which no more go into a transaction: with the rest less than what web servers take as they come.
const MOST_BYTES: usize = 900_000;
/// Receipts of one room that are told at once.
const MOST_RECEIPTS: usize = 500;

/// An answer says of each event that it was taken, or why not.
const ANSWER: Bounds = Bounds { within: Bounds::USUAL.within, most_bytes: 64 << 10 };

/// What was read for a transaction.
#[derive(Default)]
struct Content {
    /// How many of the events are in it, also those that are no more.
    taken: usize,
    events: Vec<Bytes>,
    receipts: Vec<(OwnedRoomId, Vec<Receipt>)>,
    typing: Vec<(OwnedRoomId, OwnedUserId, bool)>,
}

/// What became of a plan.
enum Done {
    /// With these events.
    Arrived(Vec<Item>),
    CaughtUp,
    /// With these events.
    Unwanted(Vec<Item>),
    Failed,
}

impl Sender {
    /// Gives each server its turn, for ever.
    pub(super) async fn dispatch(self) {
        loop {
            let (next, timer) = {
                let mut state = self.0.state.lock();
                let next = if state.is_over || !state.is_loaded { None } else { state.next(self.0.clock.instant()) };
                (next, state.timers.first().map(|(at, _)| *at))
            };
            if let Some((server, is_probe)) = next {
                let sender = self.clone();
                self.0.tasks.spawn("federation: a transaction", async move { sender.serve(&server, is_probe).await });
                continue;
            }
            match timer {
                None => self.0.due.notified().await,
                Some(at) => {
                    // What is over has waited for a place among those on their way.
                    let at = at.max(self.0.clock.instant() + Duration::from_millis(1));
                    tokio::select! {
                        () = self.0.due.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// Sends what is next for a server.
    async fn serve(&self, server: &OwnedServerName, is_probe: bool) {
        let turn = Turn { sender: self, server, is_probe };
        let Some(plan) = turn.plan() else { return };
        let done = AssertUnwindSafe(self.carry_out(server, plan)).catch_unwind().await;
        let (done, panic) = match done {
            Ok(Ok(done)) => (done, None),
            Ok(Err(error)) => {
                tracing::warn!(%server, %error, "what is to be sent can't be read");
                (Done::Failed, None)
            }
            Err(panic) => (Done::Failed, Some(panic)),
        };
        match done {
            Done::Arrived(events) => {
                turn.change(|destination| destination.arrived(&events));
                self.forget(&turn).await;
            }
            Done::CaughtUp => {
                turn.change(Destination::caught_up);
                self.forget(&turn).await;
            }
            Done::Unwanted(events) => {
                let mut refusal = Refusal::Fewer;
                turn.change(|destination| refusal = destination.refused(&events));
                tell_refusal(server, refusal, &events);
                if refusal == Refusal::Everything {
                    self.fail(&turn).await;
                }
            }
            Done::Failed => self.fail(&turn).await,
        }
        if let Some(panic) = panic {
            drop(turn);
            // Whoever runs the task counts it.
            resume_unwind(panic);
        }
    }

    async fn carry_out(&self, server: &ServerName, plan: Plan) -> Result<Done, ReadError> {
        match plan {
            Plan::CatchUp(from) => self.catch_up(server, from).await,
            Plan::Transaction(planned) => {
                let (events, outcome) = self.send(server, planned).await?;
                Ok(match outcome {
                    Outcome::Arrived => Done::Arrived(events),
                    Outcome::Unwanted => Done::Unwanted(events),
                    Outcome::Failed => Done::Failed,
                })
            }
        }
    }

    /// The last events of each room that the server has missed, and the receipts since.
    async fn catch_up(&self, server: &ServerName, from: Position) -> Result<Done, ReadError> {
        let (mut after, mut queue) = (None, Queue::default());
        loop {
            let (reader, other) = (self.0.reader.clone(), server.to_owned());
            let page = self.0.store.read(move |view| catch_up::page(&reader, view, &other, from, after)).await?;
            queue.add(page.events, page.receipts);
            while !queue.is_empty() {
                let (events, outcome) = self.send(server, queue.plan()).await?;
                match outcome {
                    Outcome::Arrived => queue.arrived(&events),
                    Outcome::Unwanted => {
                        let refusal = queue.refused(&events);
                        tell_refusal(server, refusal, &events);
                        if refusal == Refusal::Everything {
                            return Ok(Done::Failed);
                        }
                    }
                    Outcome::Failed => return Ok(Done::Failed),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(Done::CaughtUp),
            }
        }
    }

    /// Sends one transaction; says which of its events were in it, as not always all have room.
    async fn send(&self, server: &ServerName, mut planned: Planned) -> Result<(Vec<Item>, Outcome), ReadError> {
        let (sender, other, asked) = (self.clone(), server.to_owned(), planned.clone());
        let content = self.0.store.read(move |view| sender.read_content(view, &other, &asked)).await?;
        planned.events.truncate(content.taken);
        Ok((planned.events, self.transmit(server, content).await))
    }

    fn read_content(&self, view: &View<'_>, server: &ServerName, planned: &Planned) -> Result<Content, ReadError> {
        let mut content = Content::default();
        let wanted: Vec<_> = planned.events.iter().map(|item| (item.room, item.seq)).collect();
        let mut bytes = 0_usize;
        for event in self.0.reader.events(view, &wanted)? {
            let pdu = event.map(|event: Event| event.body.pdu);
            bytes = bytes.saturating_add(pdu.as_ref().map_or(0, Bytes::len));
            if bytes > MOST_BYTES && content.taken > 0 {
                break;
            }
            content.taken += 1;
            content.events.extend(pdu);
        }
        let typing = planned.typing.iter().map(|((room, _), _)| *room);
        let numbers: Vec<RoomNo> = planned.receipts.keys().copied().chain(typing).collect();
        if numbers.is_empty() {
            return Ok(content);
        }
        // Who was removed meanwhile learns nothing more of what is done in a room, nor who came back of what was before.
        let parts = self.0.reader.parts_of(view, server, &numbers)?.into_iter();
        let mut heads = self.0.reader.heads(view, &numbers)?.into_iter().zip(parts).map(|(head, part)| {
            let joined = part.filter(|part| part.left == RoomServer::STILL)?.joined;
            Some((head?, joined))
        });
        let known: Vec<_> = planned.receipts.iter().zip(heads.by_ref()).collect();
        let known: Vec<_> = known.into_iter().filter_map(|(told, head)| Some((told, head?))).collect();
        let rooms: Vec<_> = known.iter().map(|((room, since), (_, joined))| (**room, (**since).max(*joined))).collect();
        let told = receipts::public_since(view, &rooms, MOST_RECEIPTS)?;
        for ((_, (head, _)), found) in known.into_iter().zip(told) {
            let ours = found.into_iter().filter(|receipt| receipt.user_id.server_name() == self.0.servers.own);
            content.receipts.push((head.room_id, ours.collect()));
        }
        for (((_, user_id), types), head) in planned.typing.iter().zip(heads) {
            let Some((head, _)) = head else { continue };
            content.typing.push((head.room_id, user_id.clone(), *types));
        }
        Ok(content)
    }

    /// Sends one transaction.
    async fn transmit(&self, server: &ServerName, content: Content) -> Outcome {
        let rooms: Vec<_> = content.receipts.iter().map(|(room, receipts)| (&**room, receipts.clone())).collect();
        let typing = content.typing.iter().map(|(room, user_id, types)| transaction::typing(room, user_id, *types));
        let mut ephemeral: Vec<Vec<u8>> = typing.collect();
        ephemeral.extend(transaction::receipts(&rooms));
        ephemeral.truncate(MOST_EPHEMERAL);
        if content.events.is_empty() && ephemeral.is_empty() {
            return Outcome::Arrived;
        }
        let number = self.0.transactions.fetch_add(1, Ordering::Relaxed);
        let target = transaction::target(&format!("{}{number}", self.0.boot));
        let body = transaction::body(&self.0.servers.own, self.0.clock.now(), &content.events, &ephemeral);
        let answer = self.0.client.put_and_skim(server, &target, body, ANSWER).await;
        match &answer {
            Ok(body) => {
                for (event_id, error) in transaction::refused(body) {
                    tracing::debug!(%server, event_id, error, "an event is not taken");
                }
            }
            Err(error) => tracing::debug!(%error, "a transaction fails"),
        }
        let outcome = transaction::outcome(&answer);
        match outcome {
            Outcome::Arrived => {
                self.0.arrived.fetch_add(1, Ordering::Relaxed);
                let events = u64::try_from(content.events.len()).unwrap_or_default();
                self.0.sent_events.fetch_add(events, Ordering::Relaxed);
            }
            Outcome::Unwanted | Outcome::Failed => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Notes that a server does not answer, in the store as well: only then the cursor may go on.
    async fn fail(&self, turn: &Turn<'_>) {
        let Retries { first, longest } = self.0.retries;
        let (now, at) = (self.0.clock.now(), self.0.clock.instant());
        let mut row = None;
        {
            let mut state = self.0.state.lock();
            let followed = state.followed;
            if let Some(destination) = state.destinations.get_mut(turn.server) {
                let before = destination.failing();
                let tries = before.map_or(1, |failing| failing.tries.saturating_add(1));
                let pause = jittered(backoff(first, longest, tries), self.0.random.u64());
                let since = before.map_or(now, |failing| failing.since);
                let failing = Failing { since, tries, tried_at: at, next_try: at + pause };
                let resume = destination.failed(failing, followed);
                let next_try = now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                row = Some(DestinationRow { failing_since: since, tries, next_try, resume });
                if tries == 1 {
                    tracing::info!(server = %turn.server, "the server does not answer; it is tried again from time to time");
                }
            }
        }
        let Some(row) = row else { return };
        let mut batch = Batch::new();
        batch.put(&DESTINATION, &(turn.server.as_str(),), &row);
        match self.0.store.commit_lazy(batch).await {
            Ok(_) => turn.change(|destination| destination.is_kept = true),
            Err(error) => tracing::warn!(server = %turn.server, %error, "that the server does not answer is not kept"),
        }
    }

    /// Forgets that a server failed once nothing waits for it any more.
    async fn forget(&self, turn: &Turn<'_>) {
        let mut is_over = false;
        turn.change(|destination| {
            is_over = destination.is_kept && destination.is_up_to_date();
            destination.is_kept &= !is_over;
        });
        if !is_over {
            return;
        }
        let mut batch = Batch::new();
        batch.delete(&DESTINATION, &(turn.server.as_str(),));
        if let Err(error) = self.0.store.commit_lazy(batch).await {
            tracing::warn!(server = %turn.server, %error, "that the server answers again is not kept");
        }
    }
}

fn tell_refusal(server: &ServerName, refusal: Refusal, events: &[Item]) {
    match refusal {
        Refusal::Fewer => {}
        Refusal::LeftOut => tracing::warn!(%server, ?events, "the server refuses this for good; it is left out"),
        Refusal::Everything => tracing::warn!(%server, "the server refuses one thing after the other"),
    }
}

/// A server's turn. When it is over, also by a panic, the next one may come.
struct Turn<'a> {
    sender: &'a Sender,
    server: &'a OwnedServerName,
    is_probe: bool,
}

impl Turn<'_> {
    /// What to do in it, if there is something.
    fn plan(&self) -> Option<Plan> {
        let mut state = self.sender.0.state.lock();
        let is_over = state.is_over;
        let destination = state.destinations.get_mut(self.server).filter(|destination| !destination.is_busy);
        destination.filter(|_| !is_over).map(Destination::plan)
    }

    fn change(&self, change: impl FnOnce(&mut Destination)) {
        if let Some(destination) = self.sender.0.state.lock().destinations.get_mut(self.server) {
            change(destination);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let inner = &self.sender.0;
        let mut state = inner.state.lock();
        state.on_the_way = state.on_the_way.saturating_sub(1);
        state.probes = state.probes.saturating_sub(usize::from(self.is_probe));
        if let Some(destination) = state.destinations.get_mut(self.server) {
            destination.is_busy = false;
        }
        state.note(self.server, inner.clock.instant());
        drop(state);
        inner.due.notify_one();
        inner.done.notify_waiters();
    }
}

/// The pause after so many failures in a row.
fn backoff(first: Duration, longest: Duration, tries: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1))).min(longest)
}

/// Between three and five quarters of a pause, so that those who failed together are not tried together.
fn jittered(pause: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 512).unwrap_or_default();
    (pause / 4).saturating_mul(3).saturating_add((pause / 1_024).saturating_mul(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_doubled_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(10), Duration::from_hours(1));
        let pauses = [1, 2, 3, 9, 10, 100].map(|tries| backoff(first, longest, tries).as_secs());
        assert_eq!(pauses, [10, 20, 40, 2_560, 3_600, 3_600]);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let pause = Duration::from_secs(1_000);
        for random in [0, 1, 255, 511, u64::MAX] {
            let jittered = jittered(pause, random).as_secs();
            assert!((750..=1_250).contains(&jittered), "{jittered}");
        }
        assert_ne!(jittered(pause, 3), jittered(pause, 4));
    }
}
