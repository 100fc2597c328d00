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
    queue::{Item, MOST_EPHEMERAL, Planned, Queue, Refusal, Sent, Typing},
    transaction::{self, Outcome},
    turns::Class,
};
use crate::{
    federation::{
        client::{Bounds, ClientError},
        keys::{DESTINATION, DestinationRow, OUTSIDE},
    },
    graph::{Event, RoomNo, RoomServer},
    rooms::receipts::{self, Receipt},
    store::{Batch, Position, ReadError, View},
};

/// Bytes of events after which no more go into a transaction: with the rest less than what web servers take as they come.
const MOST_BYTES: usize = 900_000;
/// How long a server is left alone at least that is asked too much.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
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

impl Content {
    fn ephemeral(&self) -> Vec<Vec<u8>> {
        let rooms: Vec<_> = self.receipts.iter().map(|(room, receipts)| (&**room, receipts.clone())).collect();
        let typing = self.typing.iter().map(|(room, user_id, types)| transaction::typing(room, user_id, *types));
        let mut ephemeral: Vec<Vec<u8>> = typing.collect();
        ephemeral.extend(transaction::receipts(&rooms));
        ephemeral.truncate(MOST_EPHEMERAL);
        ephemeral
    }
}

/// What became of a plan.
enum Done {
    Arrived(Sent),
    CaughtUp,
    Unwanted(Sent),
    /// While it was brought up to date.
    RefusesEverything,
    Later(Sent, Option<Duration>),
    Failed(Sent),
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
            if let Some((server, class)) = next {
                let sender = self.clone();
                self.0.tasks.spawn("federation: a transaction", async move { sender.serve(&server, class).await });
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
    async fn serve(&self, server: &OwnedServerName, class: Class) {
        let turn = Turn { sender: self, server, class };
        let Some(plan) = turn.plan() else { return };
        let done = AssertUnwindSafe(self.carry_out(&turn, plan)).catch_unwind().await;
        match done {
            Ok(Ok(done)) => self.conclude(&turn, done).await,
            Ok(Err(error)) => {
                tracing::warn!(%server, %error, "what is to be sent can't be read");
                let unanswered = turn.change(|destination| destination.unanswered().cloned()).flatten();
                self.fail(&turn, unanswered, Duration::ZERO).await;
            }
            Err(panic) => {
                // Whatever it was about is not tried again as it was.
                self.fail(&turn, None, Duration::ZERO).await;
                drop(turn);
                // Whoever runs the task counts it.
                resume_unwind(panic);
            }
        }
    }

    async fn conclude(&self, turn: &Turn<'_>, done: Done) {
        match done {
            Done::Arrived(sent) => {
                let outside = turn.change(|destination| destination.take_outside(&sent.events)).flatten();
                turn.change(|destination| destination.arrived(&sent.events));
                self.forget(turn, outside).await;
            }
            Done::CaughtUp => {
                turn.change(Destination::caught_up);
                self.forget(turn, None).await;
            }
            Done::Unwanted(sent) => {
                let outside = turn.change(|destination| destination.take_outside(&sent.events)).flatten();
                if outside.is_some() {
                    turn.change(Destination::leaves_out);
                    tell_refusal(turn.server, Refusal::LeftOut, &sent.events);
                    return self.forget(turn, outside).await;
                }
                let refusal = turn.change(|destination| destination.refused(&sent)).unwrap_or(Refusal::Fewer);
                tell_refusal(turn.server, refusal, &sent.events);
                if refusal == Refusal::Everything {
                    self.fail(turn, None, Duration::ZERO).await;
                }
            }
            Done::RefusesEverything => self.fail(turn, None, Duration::ZERO).await,
            Done::Later(sent, wait) => {
                let wait = wait.unwrap_or(self.0.retries.first).max(SHORTEST_WAIT);
                let now = self.0.clock.instant();
                if turn.change(|destination| destination.pause(&sent, now, wait)) == Some(false) {
                    self.fail(turn, Some(sent), wait).await;
                }
            }
            Done::Failed(sent) => self.fail(turn, Some(sent), Duration::ZERO).await,
        }
    }

    async fn carry_out(&self, turn: &Turn<'_>, plan: Plan) -> Result<Done, ReadError> {
        let server = turn.server;
        let (sent, outcome) = match plan {
            Plan::CatchUp(from, after) => return self.catch_up(turn, from, after).await,
            Plan::Again(sent) => self.transmit(server, sent, None).await?,
            Plan::Transaction(planned) => self.send(server, planned).await?,
        };
        Ok(match outcome {
            Outcome::Arrived => Done::Arrived(sent),
            Outcome::Unwanted => Done::Unwanted(sent),
            Outcome::Later(wait) => Done::Later(sent, wait),
            Outcome::Failed => Done::Failed(sent),
        })
    }

    /// The last events of each room that the server has missed, and the receipts since.
    async fn catch_up(&self, turn: &Turn<'_>, from: Position, after: Option<RoomNo>) -> Result<Done, ReadError> {
        let (server, mut after, mut queue) = (turn.server, after, Queue::default());
        loop {
            let (reader, other) = (self.0.reader.clone(), server.to_owned());
            let page = self.0.store.read(move |view| catch_up::page(&reader, view, &other, from, after)).await?;
            queue.add(page.events, page.receipts);
            while !queue.is_empty() {
                let (sent, outcome) = self.send(server, queue.plan()).await?;
                match outcome {
                    Outcome::Arrived => queue.arrived(&sent.events),
                    Outcome::Unwanted => {
                        let refusal = queue.refused(&sent.events);
                        tell_refusal(server, refusal, &sent.events);
                        if refusal == Refusal::Everything {
                            return Ok(Done::RefusesEverything);
                        }
                    }
                    Outcome::Later(wait) => return Ok(Done::Later(sent, wait)),
                    Outcome::Failed => return Ok(Done::Failed(sent)),
                }
            }
            match page.next {
                Some(next) => {
                    turn.change(|destination| destination.caught_up_to(next));
                    after = Some(next);
                }
                None => return Ok(Done::CaughtUp),
            }
        }
    }

    /// Sends one new transaction; says what of the plan was in it, as not always all has room.
    async fn send(&self, server: &ServerName, planned: Planned) -> Result<(Sent, Outcome), ReadError> {
        let number = self.0.transactions.fetch_add(1, Ordering::Relaxed);
        let whole = |(room, since)| (room, (since, Position(u64::MAX)));
        let sent = Sent {
            id: format!("{}{number}", self.0.boot),
            made_at: self.0.clock.now(),
            events: planned.events,
            receipts: planned.receipts.into_iter().map(whole).collect(),
        };
        self.transmit(server, sent, Some(planned.typing)).await
    }

    /// Sends a transaction: for the first time with who types, and only if something is in it; or once more.
    async fn transmit(
        &self,
        server: &ServerName,
        mut sent: Sent,
        typing: Option<Typing>,
    ) -> Result<(Sent, Outcome), ReadError> {
        let is_first = typing.is_some();
        let (sender, other, asked) = (self.clone(), server.to_owned(), sent.clone());
        let read = move |view: &View<'_>| {
            let content = sender.read_content(view, &other, &asked, typing.as_deref().unwrap_or_default())?;
            Ok::<_, ReadError>((content, view.horizon()))
        };
        let (content, horizon) = self.0.store.read(read).await?;
        sent.events.truncate(content.taken);
        sent.receipts.values_mut().for_each(|(_, through)| *through = horizon.min(*through));
        let ephemeral = content.ephemeral();
        if is_first && content.events.is_empty() && ephemeral.is_empty() {
            return Ok((sent, Outcome::Arrived));
        }
        let body = transaction::body(&self.0.servers.own, sent.made_at, &content.events, &ephemeral);
        let answer = self.0.client.put_and_skim(server, &transaction::target(&sent.id), body, ANSWER).await;
        Ok((sent, self.read_answer(server, content.events.len(), &answer)))
    }

    fn read_content(
        &self,
        view: &View<'_>,
        server: &ServerName,
        sent: &Sent,
        typing: &[((RoomNo, OwnedUserId), bool)],
    ) -> Result<Content, ReadError> {
        let mut content = Content::default();
        let wanted: Vec<_> = sent.events.iter().map(|item| (item.room, item.seq)).collect();
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
        let types = typing.iter().map(|((room, _), _)| *room);
        let numbers: Vec<RoomNo> = sent.receipts.keys().copied().chain(types).collect();
        if numbers.is_empty() {
            return Ok(content);
        }
        // Who was removed meanwhile learns nothing more of what is done in a room, nor who came back of what was before.
        let parts = self.0.reader.parts_of(view, server, &numbers)?.into_iter();
        let mut heads = self.0.reader.heads(view, &numbers)?.into_iter().zip(parts).map(|(head, part)| {
            let joined = part.filter(|part| part.left == RoomServer::STILL)?.joined;
            Some((head?, joined))
        });
        let known: Vec<_> = sent.receipts.iter().zip(heads.by_ref()).collect();
        let known: Vec<_> = known.into_iter().filter_map(|(told, head)| Some((told, head?))).collect();
        let rooms: Vec<_> = known
            .iter()
            .map(|((room, (since, through)), (_, joined))| (**room, ((*since).max(*joined), *through)))
            .collect();
        let told = receipts::public_between(view, &rooms, &self.0.servers.own, MOST_RECEIPTS)?;
        for ((_, (head, _)), found) in known.into_iter().zip(told) {
            content.receipts.push((head.room_id, found));
        }
        for (((_, user_id), types), head) in typing.iter().zip(heads) {
            let Some((head, _)) = head else { continue };
            content.typing.push((head.room_id, user_id.clone(), *types));
        }
        Ok(content)
    }

    /// What an answer to a transaction of so many events means.
    fn read_answer(&self, server: &ServerName, events: usize, answer: &Result<Bytes, ClientError>) -> Outcome {
        match answer {
            Ok(body) => {
                for (event_id, error) in transaction::refused(body) {
                    tracing::debug!(%server, event_id, error, "an event is not taken");
                }
            }
            Err(error) => tracing::debug!(%error, "a transaction fails"),
        }
        let outcome = transaction::outcome(answer);
        match outcome {
            Outcome::Arrived => {
                self.0.arrived.fetch_add(1, Ordering::Relaxed);
                let events = u64::try_from(events).unwrap_or_default();
                self.0.sent_events.fetch_add(events, Ordering::Relaxed);
            }
            Outcome::Unwanted | Outcome::Later(_) | Outcome::Failed => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Notes that a server does not answer, in the store as well: only then the cursor may go on.
    /// `unanswered` is what it gets first when it is tried again, after `wait` at least.
    async fn fail(&self, turn: &Turn<'_>, unanswered: Option<Sent>, wait: Duration) {
        let Retries { first, longest } = self.0.retries;
        let (now, at) = (self.0.clock.now(), self.0.clock.instant());
        let (mut row, mut outside) = (None, Vec::new());
        {
            let mut state = self.0.state.lock();
            let followed = state.followed;
            if let Some(destination) = state.destinations.get_mut(turn.server) {
                let before = destination.failing();
                let tries = before.map_or(1, |failing| failing.tries.saturating_add(1));
                let pause = jittered(backoff(first, longest, tries), self.0.random.u64()).max(wait.min(longest));
                let since = before.map_or(now, |failing| failing.since);
                let failing = Failing { since, tries, tried_at: at, next_try: at + pause, lives: false };
                let kept = unanswered.as_ref().map(Sent::to_row);
                let resume = destination.failed(failing, unanswered, followed);
                let next_try = now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                outside = destination.outside_to_keep();
                row = Some(DestinationRow { failing_since: since, tries, next_try, resume, unanswered: kept });
                if tries == 1 {
                    tracing::info!(server = %turn.server, "the server does not answer; it is tried again from time to time");
                }
            }
        }
        let Some(row) = row else { return };
        let mut batch = Batch::new();
        batch.put(&DESTINATION, &(turn.server.as_str(),), &row);
        outside.iter().for_each(|item| batch.put(&OUTSIDE, &item.outside_key(turn.server), &()));
        match self.0.store.commit_lazy(batch).await {
            Ok(_) => {
                turn.change(|destination| {
                    destination.is_kept = true;
                    destination.keeps_outside(&outside);
                });
            }
            Err(error) => tracing::warn!(server = %turn.server, %error, "that the server does not answer is not kept"),
        }
    }

    /// Forgets that a server failed once nothing waits for it any more, and what it has got of rooms in which it is not.
    async fn forget(&self, turn: &Turn<'_>, outside: Option<(Item, bool)>) {
        let mut is_over = false;
        turn.change(|destination| {
            is_over = destination.is_kept && destination.is_up_to_date();
            destination.is_kept &= !is_over;
        });
        let mut batch = Batch::new();
        if is_over {
            batch.delete(&DESTINATION, &(turn.server.as_str(),));
        }
        if let Some((item, true)) = outside {
            batch.delete(&OUTSIDE, &item.outside_key(turn.server));
        }
        if batch.is_empty() {
            return;
        }
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
    class: Class,
}

impl Turn<'_> {
    /// What to do in it, if there is something.
    fn plan(&self) -> Option<Plan> {
        let mut state = self.sender.0.state.lock();
        let is_over = state.is_over;
        let destination = state.destinations.get_mut(self.server).filter(|destination| !destination.is_busy);
        destination.filter(|_| !is_over).map(Destination::plan)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Destination) -> T) -> Option<T> {
        self.sender.0.state.lock().destinations.get_mut(self.server).map(change)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let inner = &self.sender.0;
        let mut state = inner.state.lock();
        state.turns.end(self.class);
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
