//! What waits to be sent to one server, in its order, and what of it is on its way.

use std::collections::{BTreeMap, VecDeque};

use ruma::{OwnedUserId, ServerName};

use crate::{
    base::clock::UnixMillis,
    federation::keys::TransactionRow,
    graph::{RoomNo, Seq},
    store::Position,
};

/// The most events of a transaction (server-server API, "Transactions").
pub(super) const MOST_EVENTS: usize = 50;
/// The most ephemeral messages of a transaction.
pub(super) const MOST_EPHEMERAL: usize = 100;
/// Rooms and users whose ephemeral news wait for one server. What is more is not told.
const MOST_NEWS: usize = 1_000;
/// Who refuses so many one after the other, each by itself, does not refuse these but everything.
const MOST_REFUSALS: u32 = 2;

/// An event that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// The commit that brought it.
    pub(super) position: Position,
    /// Its room.
    pub(super) room: RoomNo,
    /// Its number there.
    pub(super) seq: Seq,
}

impl Item {
    /// Its key in [`OUTSIDE`](crate::federation::keys::OUTSIDE).
    pub(super) fn outside_key(self, server: &ServerName) -> (&str, Position, RoomNo, Seq) {
        (server.as_str(), self.position, self.room, self.seq)
    }
}

/// What goes into one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Planned {
    /// Events, oldest first.
    pub(super) events: Vec<Item>,
    /// Rooms whose receipts are told, and since which commit.
    pub(super) receipts: BTreeMap<RoomNo, Position>,
    /// Who types.
    pub(super) typing: Typing,
}

/// Users, and whether they type in a room.
pub(super) type Typing = Vec<((RoomNo, OwnedUserId), bool)>;

/// A transaction that was sent. As long as it has no answer it is sent again as it was, and no other (server-server API,
/// `PUT /send`): the other server may have taken it, and then knows it by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its id.
    pub(super) id: String,
    /// When it was made.
    pub(super) made_at: UnixMillis,
    /// Its events.
    pub(super) events: Vec<Item>,
    /// Rooms whose receipts are told, and of which commits: from the first to the last of two.
    pub(super) receipts: BTreeMap<RoomNo, (Position, Position)>,
}

impl Sent {
    /// As it was kept.
    pub(super) fn from_row(row: &TransactionRow) -> Self {
        let item =
            |(position, room, seq): &(Position, RoomNo, Seq)| Item { position: *position, room: *room, seq: *seq };
        Self {
            id: row.id.clone(),
            made_at: row.made_at,
            events: row.events.iter().map(item).collect(),
            receipts: row.receipts.iter().map(|(room, since, through)| (*room, (*since, *through))).collect(),
        }
    }

    /// As it is kept.
    pub(super) fn to_row(&self) -> TransactionRow {
        TransactionRow {
            id: self.id.clone(),
            made_at: self.made_at,
            events: self.events.iter().map(|item| (item.position, item.room, item.seq)).collect(),
            receipts: self.receipts.iter().map(|(room, (since, through))| (*room, *since, *through)).collect(),
        }
    }

    /// The commit of the oldest of what is in it.
    pub(super) fn since(&self) -> Option<Position> {
        let receipts = self.receipts.values().map(|(since, _)| *since);
        self.events.iter().map(|item| item.position).chain(receipts).min()
    }
}

/// What a refusal means for the next transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is smaller.
    Fewer,
    /// It is without what was refused.
    LeftOut,
    /// There is none: nothing is taken.
    Everything,
}

/// What waits, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Oldest first. Those that are on their way stay until they are acknowledged.
    events: VecDeque<Item>,
    /// Rooms in which users of ours have read, and since which commit that is to be told.
    receipts: BTreeMap<RoomNo, Position>,
    /// Those of them that are on their way: what is read meanwhile is told afterwards.
    receipts_sent: BTreeMap<RoomNo, Position>,
    /// Who types where (or does so no more).
    typing: BTreeMap<(RoomNo, OwnedUserId), bool>,
    /// The server does not take as much at once as usual: so many events, and nothing else.
    fewer: Option<usize>,
    /// How much it has refused since it took something, each by itself.
    refusals: u32,
    /// The oldest of that. Only once it takes something else it is known that the fault was not the server's.
    left_out: Option<Position>,
}

impl Queue {
    /// What a server is brought up to date with.
    pub(super) fn add(&mut self, events: Vec<Item>, receipts: BTreeMap<RoomNo, Position>) {
        self.events.extend(events);
        self.receipts.extend(receipts);
    }

    /// An event, younger than all before.
    pub(super) fn push(&mut self, item: Item) {
        self.events.push_back(item);
    }

    /// Users of ours have read in a room.
    pub(super) fn push_receipts(&mut self, room: RoomNo, since: Position) {
        if self.receipts.len() < MOST_NEWS || self.receipts.contains_key(&room) {
            self.receipts.entry(room).or_insert(since);
        }
    }

    /// A user of ours begins, goes on or ceases to type.
    pub(super) fn push_typing(&mut self, room: RoomNo, user_id: OwnedUserId, types: bool) {
        if self.typing.len() < MOST_NEWS {
            self.typing.insert((room, user_id), types);
        }
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> usize {
        self.events.len()
    }

    /// Nothing waits, and nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.receipts.is_empty() && self.receipts_sent.is_empty() && self.typing.is_empty()
    }

    /// The commit of the oldest event.
    pub(super) fn oldest_event(&self) -> Option<Position> {
        self.events.front().map(|item| item.position)
    }

    /// From which commit on something has not arrived.
    pub(super) fn since(&self) -> Option<Position> {
        let receipts = self.receipts.values().chain(self.receipts_sent.values()).copied();
        self.oldest_event().into_iter().chain(self.left_out).chain(receipts).min()
    }

    /// Gives up all events: the server is brought up to date instead.
    pub(super) fn give_up_events(&mut self) {
        self.events.clear();
    }

    /// The next transaction.
    pub(super) fn plan(&mut self) -> Planned {
        let most = self.fewer.unwrap_or(MOST_EVENTS).clamp(1, MOST_EVENTS);
        let events: Vec<Item> = self.events.iter().take(most).copied().collect();
        if self.fewer.is_some() && !events.is_empty() {
            return Planned { events, ..Planned::default() };
        }
        while self.receipts_sent.len() < MOST_EPHEMERAL / 2
            && let Some((room, since)) = self.receipts.pop_first()
        {
            self.receipts_sent.insert(room, since);
        }
        let mut typing = Vec::new();
        while typing.len() < MOST_EPHEMERAL / 2
            && let Some(next) = self.typing.pop_first()
        {
            typing.push(next);
        }
        Planned { events, receipts: self.receipts_sent.clone(), typing }
    }

    /// Whether these events are the next ones, and what is on its way.
    pub(super) fn is_sending(&self, events: &[Item]) -> bool {
        if events.is_empty() { !self.receipts_sent.is_empty() } else { self.events.front() == events.first() }
    }

    /// What is on its way, with these events, waits here no more.
    pub(super) fn hand_over(&mut self, events: &[Item]) {
        // They may have been given up meanwhile.
        for item in events {
            if self.events.front() == Some(item) {
                self.events.pop_front();
            }
        }
        self.receipts_sent.clear();
    }

    /// It has arrived, with these of its events, which are the first ones.
    pub(super) fn arrived(&mut self, events: &[Item]) {
        self.hand_over(events);
        (self.refusals, self.left_out) = (0, None);
        self.fewer = self.fewer.map(|fewer| fewer.saturating_mul(2)).filter(|fewer| *fewer < MOST_EVENTS);
    }

    /// The server will never take it like this, with these of its events.
    pub(super) fn refused(&mut self, events: &[Item]) -> Refusal {
        if events.len() > 1 || !(events.is_empty() || self.receipts_sent.is_empty()) {
            self.fewer = Some((events.len() / 2).max(1));
            for (room, since) in std::mem::take(&mut self.receipts_sent) {
                let waiting = self.receipts.entry(room).or_insert(since);
                *waiting = since.min(*waiting);
            }
            return Refusal::Fewer;
        }
        self.left_out = self.since();
        self.hand_over(events);
        (self.refusals, self.fewer) = (self.refusals.saturating_add(1), Some(1));
        if self.refusals < MOST_REFUSALS { Refusal::LeftOut } else { Refusal::Everything }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    const ROOM: RoomNo = RoomNo(1);

    fn item(position: u64) -> Item {
        Item { position: Position(position), room: ROOM, seq: Seq(u32::try_from(position).unwrap()) }
    }

    fn with(positions: std::ops::Range<u64>) -> Queue {
        let mut queue = Queue::default();
        positions.for_each(|position| queue.push(item(position)));
        queue
    }

    #[test]
    fn events_stay_until_they_are_acknowledged() {
        let mut queue = with(1..70);
        let first = queue.plan().events;
        assert_eq!((first.len(), queue.since()), (50, Some(Position(1))));
        queue.push(item(70));
        queue.arrived(&first);
        assert_eq!(queue.since(), Some(Position(51)));
        let second = queue.plan().events;
        assert_eq!(second.len(), 20);
        queue.arrived(&second);
        assert!(queue.is_empty() && queue.since().is_none());
    }

    #[test]
    fn receipts_and_typing_are_told_once_and_the_last_word_counts() {
        let (mut queue, user) = (Queue::default(), user_id!("@a:b").to_owned());
        queue.push_receipts(ROOM, Position(3));
        queue.push_receipts(ROOM, Position(4));
        queue.push_typing(ROOM, user.clone(), true);
        queue.push_typing(ROOM, user.clone(), false);
        let planned = queue.plan();
        let receipts = BTreeMap::from([(ROOM, Position(3))]);
        assert_eq!(planned, Planned { events: vec![], receipts, typing: vec![((ROOM, user), false)] });
        queue.arrived(&[]);
        assert!(queue.is_empty());
    }

    #[test]
    fn receipts_that_come_while_others_are_on_their_way_wait() {
        let mut queue = Queue::default();
        queue.push_receipts(ROOM, Position(3));
        queue.plan();
        queue.push_receipts(ROOM, Position(4));
        assert_eq!(queue.since(), Some(Position(3)));
        queue.arrived(&[]);
        assert_eq!((queue.since(), queue.is_empty()), (Some(Position(4)), false));
        assert_eq!(queue.plan().receipts, BTreeMap::from([(ROOM, Position(4))]));
    }

    #[test]
    fn what_is_refused_is_tried_in_halves_and_then_in_doubles() {
        let mut queue = with(1..100);
        queue.push_receipts(ROOM, Position(3));
        for expected in [50, 25, 12, 6, 3] {
            let planned = queue.plan();
            assert_eq!((planned.events.len(), planned.receipts.is_empty()), (expected, expected != 50));
            assert_eq!(queue.refused(&planned.events), Refusal::Fewer);
        }
        let poison = queue.plan().events;
        assert_eq!((&*poison, queue.refused(&poison)), (&[item(1)][..], Refusal::LeftOut));
        assert_eq!(queue.since(), Some(Position(1)), "perhaps it is not the event");
        for expected in [1, 2, 4, 8, 16, 32] {
            let planned = queue.plan();
            assert_eq!((planned.events.len(), planned.receipts.is_empty()), (expected, true));
            queue.arrived(&planned.events);
        }
        let planned = queue.plan();
        assert_eq!((planned.events.len(), planned.receipts.len()), (35, 1));
    }

    #[test]
    fn who_refuses_one_after_the_other_refuses_everything() {
        let mut queue = with(5..9);
        for (expected, means) in
            [(4, Refusal::Fewer), (2, Refusal::Fewer), (1, Refusal::LeftOut), (1, Refusal::Everything)]
        {
            let events = queue.plan().events;
            assert_eq!((events.len(), queue.refused(&events)), (expected, means));
        }
        assert_eq!(queue.since(), Some(Position(5)), "and has missed all of it");
    }
}
