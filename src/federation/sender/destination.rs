//! What waits for one other server. Positions and numbers only: bodies are read when a transaction is written.

use std::{collections::VecDeque, time::Duration};

use ruma::OwnedUserId;
use tokio::time::Instant;

use super::{
    queue::{Item, Planned, Queue, Refusal, Sent},
    turns::Class,
};
use crate::{base::clock::UnixMillis, federation::keys::DestinationRow, graph::RoomNo, store::Position};

/// Events that wait for one server; with more it is brought up to date instead, by the last events of each room.
const MOST_WAITING: usize = 1_000;
/// Events of rooms in which it is not that wait for one server. What is more is not told.
const MOST_OUTSIDE: usize = 1_000;
/// How long a server may say "later" until it counts as failing: as long nothing is given up for it, and the cursor waits.
const PATIENCE: Duration = Duration::from_mins(5);

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
    /// It has sent a request since.
    pub(super) lives: bool,
}

/// The server lives, but is asked too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paused {
    since: Instant,
    until: Instant,
}

/// One other server.
#[derive(Debug, Default)]
pub(super) struct Destination {
    /// What waits for it.
    queue: Queue,
    /// Events of rooms in which it is not, oldest first, and whether a row in the store says so. They are few, and told one
    /// by one; as nothing else tells them they are never given up.
    outside: VecDeque<(Item, bool)>,
    /// It has missed events from this commit on, and first gets the last ones of each room.
    behind: Option<Position>,
    /// Since it began to be brought up to date, too much came for it: it has missed more, from this commit on.
    lost: Option<Position>,
    /// A transaction that it has not answered, and gets again first.
    unanswered: Option<Sent>,
    /// It does not answer.
    failing: Option<Failing>,
    /// It wants to be asked later.
    paused: Option<Paused>,
    /// The last events of each room are being sent; what comes now comes behind them.
    is_catching_up: bool,
    /// Those of the rooms up to this one have arrived.
    caught_up_to: Option<RoomNo>,
    /// A row in the store says from where on it has missed events.
    pub(super) is_kept: bool,
    /// A transaction is on its way.
    pub(super) is_busy: bool,
    /// It is listed among these, who wait for their turn.
    pub(super) listed: Option<Class>,
}

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The last events of the rooms that it shares, as far as they are of this commit or later, behind those of a room that
    /// have arrived.
    CatchUp(Position, Option<RoomNo>),
    /// Once more what it has not answered.
    Again(Sent),
    /// These.
    Transaction(Planned),
}

impl Destination {
    /// As it was left by an earlier process.
    pub(super) fn from_row(row: &DestinationRow, now: UnixMillis, at: Instant, longest: Duration) -> Self {
        // A clock that was set back does not put it off for ever.
        let pause = Duration::from_millis(row.next_try.saturating_sub(now)).min(longest);
        let failing =
            Failing { since: row.failing_since, tries: row.tries, tried_at: at, next_try: at + pause, lives: false };
        let unanswered = row.unanswered.as_ref().map(Sent::from_row);
        Self { behind: Some(row.resume), unanswered, failing: Some(failing), is_kept: true, ..Self::default() }
    }

    /// Whether something waits that may be sent at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_busy && self.has_work() && self.not_before().is_none_or(|at| at <= now)
    }

    /// Among whom it waits for its turn.
    pub(super) fn class(&self) -> Class {
        self.failing.map_or(Class::Answers, |failing| if failing.lives { Class::Lives } else { Class::Fails })
    }

    /// When it is sent something next at the earliest, if not now.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.failing.map(|failing| failing.next_try).max(self.paused.map(|paused| paused.until))
    }

    fn has_work(&self) -> bool {
        self.unanswered.is_some()
            || !self.outside.is_empty()
            || self.behind.is_some()
            || self.lost.is_some()
            || !self.queue.is_empty()
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
        let outside = self.outside.iter().find(|(_, is_kept)| !is_kept).map(|(item, _)| item.position);
        outside.into_iter().chain(if self.is_kept { None } else { self.lacks() }).min()
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

    /// An event of a room in which it is not, younger than all of these before. Says whether the store must keep it.
    pub(super) fn push_outside(&mut self, item: Item) -> bool {
        let is_new = self.outside.len() < MOST_OUTSIDE && !self.has_outside(item);
        if is_new {
            self.outside.push_back((item, false));
        }
        is_new && self.failing.is_some()
    }

    /// What follows the log after a crash comes upon events that are kept already.
    fn has_outside(&self, item: Item) -> bool {
        self.outside.iter().any(|(known, _)| *known == item)
    }

    /// Those events of rooms in which it is not that only memory knows.
    pub(super) fn outside_to_keep(&self) -> Vec<Item> {
        self.outside.iter().filter(|(_, is_kept)| !is_kept).map(|(item, _)| *item).collect()
    }

    /// The store has kept these.
    pub(super) fn keeps_outside(&mut self, kept: &[Item]) {
        self.outside.iter_mut().for_each(|(item, is_kept)| *is_kept |= kept.contains(item));
    }

    /// An event that an earlier process has kept.
    pub(super) fn restore_outside(&mut self, item: Item) {
        if !self.has_outside(item) {
            self.outside.push_back((item, true));
        }
    }

    /// What was answered was an event of a room in which it is not: that one, and whether the store keeps it.
    pub(super) fn take_outside(&mut self, events: &[Item]) -> Option<(Item, bool)> {
        let (item, _) = self.outside.front()?;
        if events == [*item] { self.outside.pop_front() } else { None }
    }

    /// It has answered, though not that it takes it.
    pub(super) fn leaves_out(&mut self) {
        self.unanswered = None;
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
        if let Some(sent) = &self.unanswered {
            return Plan::Again(sent.clone());
        }
        if let Some((item, _)) = self.outside.front() {
            return Plan::Transaction(Planned { events: vec![*item], ..Planned::default() });
        }
        if self.behind.is_none() {
            self.behind = self.lost.take();
        }
        if let Some(from) = self.behind {
            self.is_catching_up = true;
            return Plan::CatchUp(from, self.caught_up_to);
        }
        Plan::Transaction(self.queue.plan())
    }

    /// Everything up to the events that it had missed has arrived.
    pub(super) fn caught_up(&mut self) {
        (self.behind, self.is_catching_up, self.caught_up_to) = (None, false, None);
        self.answered();
    }

    /// The last events of all rooms up to this one have arrived: they are not sent again if the server wants the rest later.
    pub(super) fn caught_up_to(&mut self, room: RoomNo) {
        self.caught_up_to = Some(room);
        self.answered();
    }

    fn answered(&mut self) {
        (self.unanswered, self.failing, self.paused) = (None, None, None);
    }

    /// What was under way has arrived, with these of its events.
    pub(super) fn arrived(&mut self, events: &[Item]) {
        self.queue.arrived(events);
        self.answered();
    }

    /// It will never take what was under way. That is an answer as well.
    pub(super) fn refused(&mut self, sent: &Sent) -> Refusal {
        self.unanswered = None;
        if self.queue.is_sending(&sent.events) {
            return self.queue.refused(&sent.events);
        }
        self.misses(sent);
        Refusal::Fewer
    }

    /// What was in a transaction is said by the last events of the rooms, as it waits no more since that one failed.
    fn misses(&mut self, sent: &Sent) {
        self.behind = [self.behind, sent.since()].into_iter().flatten().min();
        self.caught_up_to = None;
    }

    /// It wants what was under way later, and then the same. Says whether that is waited for.
    pub(super) fn pause(&mut self, sent: &Sent, now: Instant, wait: Duration) -> bool {
        let since = self.paused.map_or(now, |paused| paused.since);
        let until = now + wait.min(2 * PATIENCE);
        let is_patient = self.failing.is_none() && until <= since + PATIENCE;
        if is_patient {
            self.paused = Some(Paused { since, until });
            self.unanswered = Some(sent.clone());
        }
        is_patient
    }

    /// What it has not answered, if something.
    pub(super) fn unanswered(&self) -> Option<&Sent> {
        self.unanswered.as_ref()
    }

    /// It does not answer, and gets `unanswered` first when it is tried again. `through`: up to where the log was followed.
    /// Says from where on it lacks events besides.
    pub(super) fn failed(&mut self, failing: Failing, unanswered: Option<Sent>, through: Position) -> Position {
        match (&unanswered, self.unanswered.take()) {
            (Some(sent), _) => self.queue.hand_over(&sent.events),
            (None, Some(given_up)) => self.misses(&given_up),
            (None, None) => {}
        }
        // If that was all, it lacks what comes from now on.
        let from = self.lacks().unwrap_or(Position(through.0.saturating_add(1)));
        *self = Self {
            behind: Some(from),
            unanswered,
            outside: std::mem::take(&mut self.outside),
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
            (failing.tries, failing.lives) = (0, true);
            failing.next_try = failing.next_try.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ruma::user_id;

    use super::*;
    use crate::graph::Seq;

    const ROOM: RoomNo = RoomNo(1);

    fn item(position: u64) -> Item {
        Item { position: Position(position), room: ROOM, seq: Seq(u32::try_from(position).unwrap()) }
    }

    fn failing(tries: u32) -> Failing {
        let now = Instant::now();
        Failing { since: 1, tries, tried_at: now, next_try: now + Duration::from_secs(10), lives: false }
    }

    fn with(positions: std::ops::Range<u64>) -> Destination {
        let mut destination = Destination::default();
        positions.for_each(|position| destination.push(item(position)));
        destination
    }

    fn sent(events: Vec<Item>) -> Sent {
        Sent { id: "t".to_owned(), made_at: 1, events, receipts: BTreeMap::new() }
    }

    fn planned(destination: &mut Destination) -> Vec<Item> {
        match destination.plan() {
            Plan::Transaction(planned) => planned.events,
            other => panic!("{other:?}"),
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
        assert_eq!(one.failed(failing(1), None, Position(9)), Position(5));
        (one.is_busy, one.is_kept) = (false, true);
        one.push(item(10));
        one.push_typing(ROOM, user_id!("@a:b").to_owned(), true);
        one.push_receipts(ROOM, Position(10));
        assert_eq!((one.waiting(), one.holds()), (0, None));
        assert!(!one.is_due(Instant::now()) && one.is_due(Instant::now() + Duration::from_mins(1)));
        assert_eq!(one.plan(), Plan::CatchUp(Position(5), None));
        one.caught_up_to(RoomNo(3));
        assert_eq!(one.plan(), Plan::CatchUp(Position(5), Some(RoomNo(3))), "it goes on where it was");
        one.push(item(11));
        assert_eq!(one.failed(failing(2), None, Position(11)), Position(5), "still from there");
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
        assert_eq!(one.failed(failing(1), None, Position(9)), Position(10));
    }

    #[test]
    fn too_much_is_caught_up_with() {
        let mut one = with(1..3);
        let first = planned(&mut one);
        (3..3_000).for_each(|position| one.push(item(position)));
        assert_eq!((one.waiting(), one.holds()), (0, Some(Position(1))));
        one.arrived(&first);
        assert_eq!(one.plan(), Plan::CatchUp(Position(1), None));
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
            assert_eq!(one.refused(&sent(events)), means);
        }
        assert_eq!(one.failed(failing(1), None, Position(9)), Position(3));
    }

    #[test]
    fn what_was_not_answered_comes_first_and_then_only_what_was_not_in_it() {
        let mut one = with(5..70);
        one.push_receipts(ROOM, Position(7));
        let first = sent(planned(&mut one));
        assert_eq!(one.failed(failing(1), Some(first.clone()), Position(70)), Position(55), "the 51st event");
        one.is_busy = false;
        assert_eq!(one.plan(), Plan::Again(first.clone()));
        one.arrived(&first.events);
        assert!(one.failing().is_none());
        assert_eq!(one.plan(), Plan::CatchUp(Position(55), None));
    }

    #[test]
    fn what_was_not_answered_and_then_refused_is_caught_up_with() {
        let mut one = with(5..7);
        let first = sent(planned(&mut one));
        assert_eq!(one.failed(failing(1), Some(first.clone()), Position(9)), Position(10));
        assert_eq!(one.refused(&first), Refusal::Fewer);
        assert_eq!(one.plan(), Plan::CatchUp(Position(5), None));
    }

    #[test]
    fn who_wants_it_later_gets_it_later_but_not_for_ever() {
        let (mut one, now) = (with(5..70), Instant::now());
        let first = sent(planned(&mut one));
        let minute = Duration::from_mins(1);
        assert!(one.pause(&first, now, minute));
        one.is_busy = false;
        assert_eq!((one.waiting(), one.holds(), one.failing()), (65, Some(Position(5)), None));
        assert!(!one.is_due(now) && one.is_due(now + minute));
        assert_eq!(one.plan(), Plan::Again(first.clone()));
        assert!(!one.pause(&first, now + minute, Duration::MAX));
        assert!(one.pause(&first, now + 4 * minute, minute));
        assert!(!one.pause(&first, now + 5 * minute, minute));
        one.arrived(&first.events);
        assert_eq!((one.waiting(), one.not_before()), (15, None));
    }

    #[test]
    fn a_sign_of_life_shortens_the_wait() {
        let mut one = with(1..2);
        one.plan();
        one.failed(failing(7), None, Position(1));
        one.is_busy = false;
        let soon = Instant::now() + Duration::from_secs(1);
        one.lives(soon);
        assert!(one.is_due(soon) && one.failing().is_some_and(|failing| failing.tries == 0));
    }
}
