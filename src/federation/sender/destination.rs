//! What waits for one other server. Positions and numbers only: bodies are read when a transaction is written.

use std::time::Duration;

use ruma::OwnedUserId;
use tokio::time::Instant;

use super::queue::{Item, Planned, Queue, Refusal};
use crate::{base::clock::UnixMillis, federation::keys::DestinationRow, graph::RoomNo, store::Position};

/// Events that wait for one server; with more it is brought up to date instead, by the last events of each room.
const MOST_WAITING: usize = 1_000;

/// The server could not be reached, or did not want what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failing {
    /// Since when.
    pub(super) since: UnixMillis,
    /// How often in a row.
    pub(super) tries: u32,
    /// When it was tried last.
    pub(super) tried_at: Instant,
    /// When it is tried next.
    pub(super) next_try: Instant,
}

/// One other server.
#[derive(Debug, Default)]
pub(super) struct Destination {
    /// What waits for it.
    queue: Queue,
    /// It has missed events from this commit on, and first gets the last ones of each room.
    behind: Option<Position>,
    /// Since it began to be brought up to date, too much came for it: it has missed more, from this commit on.
    lost: Option<Position>,
    /// It does not answer.
    failing: Option<Failing>,
    /// The last events of each room are being sent; what comes now comes behind them.
    is_catching_up: bool,
    /// A row in the store says from where on it has missed events.
    pub(super) is_kept: bool,
    /// A transaction is on its way.
    pub(super) is_busy: bool,
    /// It is listed among those that wait for their turn.
    pub(super) is_ready: bool,
}

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The last events of the rooms that it shares, as far as they are of this commit or later.
    CatchUp(Position),
    /// These.
    Transaction(Planned),
}

impl Destination {
    /// As it was left by an earlier process.
    pub(super) fn from_row(row: &DestinationRow, now: UnixMillis, at: Instant, longest: Duration) -> Self {
        // A clock that was set back does not put it off for ever.
        let pause = Duration::from_millis(row.next_try.saturating_sub(now)).min(longest);
        let failing = Failing { since: row.failing_since, tries: row.tries, tried_at: at, next_try: at + pause };
        Self { behind: Some(row.resume), failing: Some(failing), is_kept: true, ..Self::default() }
    }

    /// Whether something waits that may be sent at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let has_work = self.has_work();
        !self.is_busy && has_work && self.failing.is_none_or(|failing| failing.next_try <= now)
    }

    fn has_work(&self) -> bool {
        self.behind.is_some() || self.lost.is_some() || !self.queue.is_empty()
    }

    /// Nothing is known about it that would have to be remembered, but perhaps in the store.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_busy && self.is_up_to_date()
    }

    /// Everything has arrived.
    pub(super) fn is_up_to_date(&self) -> bool {
        !self.has_work() && self.failing.is_none()
    }

    /// It does not answer, and since when that is so.
    pub(super) fn failing(&self) -> Option<Failing> {
        self.failing
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// From which commit on it may lack something that no row of the store says.
    pub(super) fn holds(&self) -> Option<Position> {
        if self.is_kept {
            return None;
        }
        self.lacks()
    }

    /// From which commit on something may not have arrived.
    fn lacks(&self) -> Option<Position> {
        [self.behind, self.lost, self.queue.since()].into_iter().flatten().min()
    }

    /// It will be brought up to date with everything that comes now.
    fn is_away(&self) -> bool {
        self.lost.is_some() || (self.behind.is_some() && !self.is_catching_up)
    }

    /// An event for it, younger than all before.
    pub(super) fn push(&mut self, item: Item) {
        if self.is_away() {
            return;
        }
        self.queue.push(item);
        if self.queue.waiting() > MOST_WAITING {
            self.lost = self.queue.oldest_event();
            self.queue.give_up_events();
        }
    }

    /// Users of ours have read in a room.
    pub(super) fn push_receipts(&mut self, room: RoomNo, since: Position) {
        if !self.is_away() {
            self.queue.push_receipts(room, since);
        }
    }

    /// A user of ours begins, goes on or ceases to type. Not told to who does not answer.
    pub(super) fn push_typing(&mut self, room: RoomNo, user_id: OwnedUserId, types: bool) {
        if self.failing.is_none() {
            self.queue.push_typing(room, user_id, types);
        }
    }

    /// Takes what is to be sent next. What became of it must be told before `is_busy` is taken back.
    pub(super) fn plan(&mut self) -> Plan {
        self.is_busy = true;
        if self.behind.is_none() {
            self.behind = self.lost.take();
        }
        if let Some(from) = self.behind {
            self.is_catching_up = true;
            return Plan::CatchUp(from);
        }
        Plan::Transaction(self.queue.plan())
    }

    /// Everything up to the events that it had missed has arrived.
    pub(super) fn caught_up(&mut self) {
        (self.behind, self.is_catching_up) = (None, false);
        self.failing = None;
    }

    /// What was under way has arrived, with these of its events.
    pub(super) fn arrived(&mut self, events: &[Item]) {
        self.queue.arrived(events);
        self.failing = None;
    }

    /// It will never take what was under way, with these of its events.
    pub(super) fn refused(&mut self, events: &[Item]) -> Refusal {
        self.queue.refused(events)
    }

    /// Nothing of what was under way may have arrived. `through`: up to where the log was followed. Says from where on it
    /// lacks events.
    pub(super) fn failed(&mut self, failing: Failing, through: Position) -> Position {
        // Only what nobody catches up with was under way: it lacks what comes from now on.
        let from = self.lacks().unwrap_or(Position(through.0.saturating_add(1)));
        *self = Self {
            behind: Some(from),
            failing: Some(failing),
            is_kept: self.is_kept,
            is_busy: true,
            ..Self::default()
        };
        from
    }

    /// It has shown that it lives: it may be tried again from `at` on, and with short pauses.
    pub(super) fn lives(&mut self, at: Instant) {
        if let Some(failing) = &mut self.failing {
            failing.tries = 0;
            failing.next_try = failing.next_try.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::graph::Seq;

    const ROOM: RoomNo = RoomNo(1);

    fn item(position: u64) -> Item {
        Item { position: Position(position), room: ROOM, seq: Seq(u32::try_from(position).unwrap()) }
    }

    fn failing(tries: u32) -> Failing {
        let now = Instant::now();
        Failing { since: 1, tries, tried_at: now, next_try: now + Duration::from_secs(10) }
    }

    fn with(positions: std::ops::Range<u64>) -> Destination {
        let mut destination = Destination::default();
        positions.for_each(|position| destination.push(item(position)));
        destination
    }

    fn planned(destination: &mut Destination) -> Vec<Item> {
        match destination.plan() {
            Plan::Transaction(planned) => planned.events,
            other @ Plan::CatchUp(_) => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_stay_until_they_are_acknowledged_and_hold_the_cursor() {
        let mut one = with(1..70);
        let first = planned(&mut one);
        assert_eq!((first.len(), one.holds()), (50, Some(Position(1))));
        one.push(item(70));
        one.arrived(&first);
        assert_eq!(one.holds(), Some(Position(51)));
        let second = planned(&mut one);
        assert_eq!(second.len(), 20);
        one.arrived(&second);
        assert!(one.is_up_to_date() && one.holds().is_none());
    }

    #[test]
    fn who_fails_misses_everything_from_the_first_unacknowledged_event() {
        let mut one = with(5..8);
        planned(&mut one);
        assert_eq!(one.failed(failing(1), Position(9)), Position(5));
        (one.is_busy, one.is_kept) = (false, true);
        one.push(item(10));
        one.push_typing(ROOM, user_id!("@a:b").to_owned(), true);
        one.push_receipts(ROOM, Position(10));
        assert_eq!((one.waiting(), one.holds()), (0, None));
        assert!(!one.is_due(Instant::now()) && one.is_due(Instant::now() + Duration::from_mins(1)));
        assert_eq!(one.plan(), Plan::CatchUp(Position(5)));
        one.push(item(11));
        assert_eq!(one.failed(failing(2), Position(11)), Position(5), "still from there");
        one.is_busy = false;
        one.plan();
        one.push(item(12));
        one.caught_up();
        assert_eq!(planned(&mut one), [item(12)], "what came meanwhile");
    }

    #[test]
    fn who_is_sent_only_news_and_fails_misses_what_comes_from_now_on() {
        let mut one = Destination::default();
        one.push_typing(ROOM, user_id!("@a:b").to_owned(), true);
        one.plan();
        assert_eq!(one.failed(failing(1), Position(9)), Position(10));
    }

    #[test]
    fn too_much_is_caught_up_with() {
        let mut one = with(1..3);
        let first = planned(&mut one);
        (3..3_000).for_each(|position| one.push(item(position)));
        assert_eq!((one.waiting(), one.holds()), (0, Some(Position(1))));
        one.arrived(&first);
        assert_eq!(one.plan(), Plan::CatchUp(Position(1)));
        one.push(item(3_000));
        one.caught_up();
        assert_eq!(planned(&mut one), [item(3_000)]);
    }

    #[test]
    fn who_has_everything_is_idle_once_nothing_is_under_way() {
        let mut one = with(1..2);
        let events = planned(&mut one);
        one.arrived(&events);
        assert!(one.is_up_to_date() && !one.is_idle());
        one.is_busy = false;
        assert!(one.is_idle());
    }

    #[test]
    fn who_refuses_everything_has_missed_it() {
        let mut one = with(3..5);
        for means in [Refusal::Fewer, Refusal::LeftOut, Refusal::Everything] {
            let events = planned(&mut one);
            assert_eq!(one.refused(&events), means);
        }
        assert_eq!(one.failed(failing(1), Position(9)), Position(3));
    }

    #[test]
    fn a_sign_of_life_shortens_the_wait() {
        let mut one = with(1..2);
        one.plan();
        one.failed(failing(7), Position(1));
        one.is_busy = false;
        let soon = Instant::now() + Duration::from_secs(1);
        one.lives(soon);
        assert!(one.is_due(soon) && one.failing().is_some_and(|failing| failing.tries == 0));
    }
}
