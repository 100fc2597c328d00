//! Unread counts (client-server API, "Push Notifications", "Receiving notifications"; "Threads" for those by thread).
//!
//! They are counted when their user syncs: the events behind the user's join and receipts, by the user's push rules. What
//! was counted is kept as a memo, in memory each time and stored now and then, so that the next count begins there; nothing
//! is written per member when an event is sent.

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc};

use quick_cache::sync::Cache;
use ruma::{OwnedUserId, UserId};

use super::{
    keys::{UNREAD, UnreadRow},
    recent::{Recent, RecentEvent},
};
use crate::{
    base::json_writer::Object,
    graph::{Head, Place, Reader, RoomNo, StateKey},
    push::{self, Matcher, RoomContext, Steps},
    rooms::{
        content,
        ignored::Ignored,
        receipts::{Receipt, Thread},
        visibility::Eyes,
    },
    store::{Batch, Position, ReadError, View},
};

/// Events that are looked at: a count that reaches so far back says "at least".
const MOST_EVENTS: usize = 1_000;
/// Events behind which a count is worth a memo.
const WORTH_A_MEMO: usize = 32;
/// Rows that are read at once.
const PAGE: usize = 200;
/// Memos that are kept in memory,
const MOST_MEMOS: usize = 50_000;
/// and threads of one of them.
const MOST_THREADS: usize = 100;
const REDACTION: &str = "m.room.redaction";

/// Notifications and highlights.
type Counts = (u32, u32);

/// What was counted in a room.
#[derive(Debug)]
pub(super) struct Counted {
    room: RoomNo,
    receipts: u64,
    through: Position,
    /// By the root of the thread; empty for what is in none.
    threads: BTreeMap<String, Counts>,
    /// Events that were looked at since a memo was stored.
    unstored: usize,
}

/// What was counted of a user's unread events in a room, in memory or stored.
#[derive(Debug)]
pub(super) struct Memo {
    row: UnreadRow,
    unstored: usize,
}

/// The newest memos, in memory: a delivery looks at what it delivers and at nothing before.
#[derive(Debug)]
pub(super) struct Memos(Cache<(OwnedUserId, RoomNo), Arc<Memo>>);

impl Default for Memos {
    fn default() -> Self {
        Self(Cache::new(MOST_MEMOS))
    }
}

impl Memos {
    /// What was counted of a user's rooms up to `through` or before, in their order: from memory, or else stored, in one
    /// wave.
    pub(super) fn counted(
        &self,
        view: &View<'_>,
        user_id: &UserId,
        (rooms, through): (&[RoomNo], Position),
    ) -> Result<Vec<Option<Arc<Memo>>>, ReadError> {
        let kept = |room: &RoomNo| self.0.get(&(user_id.to_owned(), *room));
        let mut memos: Vec<_> =
            rooms.iter().map(kept).map(|memo| memo.filter(|memo| memo.row.counted_to <= through)).collect();
        let lacking: Vec<_> = rooms.iter().zip(&memos).filter(|(_, memo)| memo.is_none()).collect();
        let lacking: Vec<_> = lacking.into_iter().map(|(room, _)| (user_id.as_str(), *room)).collect();
        let mut stored = view.multi_get(&UNREAD, lacking)?.into_iter();
        for memo in memos.iter_mut().filter(|memo| memo.is_none()) {
            *memo = stored.next().flatten().map(|row| Arc::new(Memo { row, unstored: 0 }));
        }
        Ok(memos)
    }

    /// Keeps what was counted, and gives what is to be stored of it: what took long to count, or long was not stored.
    pub(super) fn keep(&self, user_id: &UserId, counted: Vec<Counted>) -> Option<Batch> {
        let mut batch = Batch::new();
        for one in counted {
            let (room, mut unstored) = (one.room, one.unstored);
            let row = one.into_row();
            if unstored >= WORTH_A_MEMO {
                batch.put(&UNREAD, &(user_id.as_str(), room), &row);
                unstored = 0;
            }
            let key = (user_id.to_owned(), room);
            if row.threads.len() <= MOST_THREADS {
                self.0.insert(key, Arc::new(Memo { row, unstored }));
            } else {
                self.0.remove(&key);
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Whose events of which room are counted, up to where.
pub(super) struct Count<'a> {
    pub(super) reader: &'a Reader,
    pub(super) user_id: &'a UserId,
    pub(super) room: RoomNo,
    pub(super) head: &'a Head,
    pub(super) recent: &'a Recent,
    /// The user's own receipts in the room.
    pub(super) receipts: &'a [Receipt],
    /// What was counted before.
    pub(super) memo: Option<&'a Memo>,
    /// The commit by which the user joined: counting begins there, or behind a receipt.
    pub(super) joined: Position,
    /// Whose messages do not count.
    pub(super) ignored: &'a Ignored,
    pub(super) through: Position,
}

impl Count<'_> {
    /// Counts.
    pub(super) fn run(
        &self,
        view: &View<'_>,
        (eyes, steps): (&mut Eyes, &mut Steps),
        matcher: impl Fn() -> Result<Arc<Matcher>, ReadError>,
    ) -> Result<Counted, ReadError> {
        let hash = hash(self.receipts, self.ignored);
        let holds =
            |memo: &&Memo| memo.row.receipts == hash && (self.joined..=self.through).contains(&memo.row.counted_to);
        let read_to = Bars::of(self.receipts).everything.map_or(Position::ZERO, |bar| bar.tie.position());
        if let Some(memo) = self.memo.filter(holds) {
            let after = memo.row.counted_to.max(read_to);
            let older = self.older(view, after)?;
            let found = self.behind(&older, after);
            // What was redacted since may have been counted.
            if !found.iter().any(|one| one.event.kind == REDACTION) {
                let threads = memo.row.threads.iter();
                let threads = threads.map(|(root, notify, highlight)| (root.clone(), (*notify, *highlight))).collect();
                let (room, receipts, through) = (self.room, hash, self.through);
                let counted = Counted { room, receipts, through, threads, unstored: memo.unstored };
                return self.count(view, (eyes, steps), (counted, &found), matcher);
            }
        }
        let after = self.joined.max(read_to);
        let older = self.older(view, after)?;
        let found = self.behind(&older, after);
        let (room, receipts, through, threads) = (self.room, hash, self.through, BTreeMap::new());
        let counted = Counted { room, receipts, through, threads, unstored: 0 };
        self.count(view, (eyes, steps), (counted, &found), matcher)
    }

    /// Those of the recent events and of `older` that arrived behind `after`.
    fn behind<'a>(&'a self, older: &'a [RecentEvent], after: Position) -> Vec<&'a RecentEvent> {
        let arrived = |one: &&RecentEvent| one.arrival.position > after && one.arrival.position <= self.through;
        self.recent.events.iter().chain(older).filter(arrived).collect()
    }

    /// Adds to `counted` what of these events is unread.
    fn count(
        &self,
        view: &View<'_>,
        (eyes, steps): (&mut Eyes, &mut Steps),
        (mut counted, found): (Counted, &[&RecentEvent]),
        matcher: impl Fn() -> Result<Arc<Matcher>, ReadError>,
    ) -> Result<Counted, ReadError> {
        counted.unstored = counted.unstored.saturating_add(found.len());
        let bars = Bars::of(self.receipts);
        let unread: Vec<&RecentEvent> = found
            .iter()
            .copied()
            .filter(|one| one.sender() != self.user_id && self.ignored.hears(&one.event))
            .filter(|one| one.event.meta.redacted_by.is_none() && bars.is_unread(one))
            .collect();
        if unread.is_empty() {
            return Ok(counted);
        }
        let (matcher, display_name) = (matcher()?, self.display_name(view)?);
        eyes.prepare(self.reader, view, unread.iter().map(|one| one.event.meta.root_before))?;
        for one in unread {
            if eyes.look_at(self.reader, view, &one.event)?.is_some() {
                let verdict = self.verdict(view, (&matcher, steps), (one, display_name.as_deref()))?;
                counted.add(one, verdict);
            }
        }
        Ok(counted)
    }

    /// The events that arrived behind `after` and before the recent ones, youngest first.
    fn older(&self, view: &View<'_>, after: Position) -> Result<Vec<RecentEvent>, ReadError> {
        let mut older: Vec<RecentEvent> = Vec::new();
        if after >= self.recent.complete_after {
            return Ok(older);
        }
        let mut last = self.recent.events.last().map(|one| one.arrival);
        while older.len() < MOST_EVENTS {
            let bound = last.map_or(self.through, |last| last.position.min(self.through));
            let page = self.reader.log_back(view, self.room, after, bound, PAGE)?;
            let rows: Vec<_> =
                page.rows.iter().filter(|(arrival, _)| last.is_none_or(|last| *arrival < last)).collect();
            let numbers: Vec<_> = rows.iter().map(|(_, logged)| (self.room, logged.seq)).collect();
            let events = rows.iter().zip(self.reader.events(view, &numbers)?);
            older.extend(
                events.filter_map(|((arrival, logged), event)| {
                    Some(RecentEvent::new(event?, (*arrival, logged.max_depth)))
                }),
            );
            match rows.last() {
                Some((arrival, _)) if page.more => last = Some(*arrival),
                _ => break,
            }
        }
        Ok(older)
    }

    /// How the user is called in the room.
    fn display_name(&self, view: &View<'_>) -> Result<Option<String>, ReadError> {
        let own = StateKey::new("m.room.member", self.user_id.as_str());
        let member = self.reader.state_events(view, self.room, self.head.root, &[own])?.pop().flatten();
        Ok(member.and_then(|member| content::text(member.content(), "displayname")))
    }

    fn verdict(
        &self,
        view: &View<'_>,
        (matcher, steps): (&Matcher, &mut Steps),
        (one, display_name): (&RecentEvent, Option<&str>),
    ) -> Result<push::Verdict, ReadError> {
        let Some(event) = one.for_rules(self.head) else { return Ok(push::Verdict::default()) };
        let failure = OnceCell::new();
        let may_notify = |sender: &str, key: &str| {
            let may = self.recent.may_notify(view, self.reader, self.head, (sender, key));
            may.unwrap_or_else(|error| {
                let _ = failure.set(error);
                false
            })
        };
        let verdict = matcher.evaluate(
            event,
            &RoomContext {
                room_id: &self.head.room_id,
                user_id: self.user_id,
                display_name,
                members: u64::from(self.head.joined_members),
                may_notify: &may_notify,
            },
            steps,
        );
        failure.into_inner().map_or(Ok(verdict), Err)
    }
}

/// How far the user has read, in graph order.
struct Bars<'a> {
    everything: Option<Place>,
    main: Option<Place>,
    threads: BTreeMap<&'a str, Place>,
}

impl<'a> Bars<'a> {
    fn of(receipts: &'a [Receipt]) -> Self {
        let mut bars = Self { everything: None, main: None, threads: BTreeMap::new() };
        for receipt in receipts {
            match &receipt.thread {
                Thread::Unthreaded => bars.everything = bars.everything.max(Some(receipt.place)),
                Thread::Main => bars.main = bars.main.max(Some(receipt.place)),
                Thread::Root(root) => {
                    let bar = bars.threads.entry(root.as_str()).or_insert(receipt.place);
                    *bar = receipt.place.max(*bar);
                }
            }
        }
        bars
    }

    fn is_unread(&self, one: &RecentEvent) -> bool {
        let place = Place { depth: one.event.meta.depth, tie: one.event.meta.tie };
        let own = match one.thread() {
            Some(root) => self.threads.get(root).copied(),
            None => self.main,
        };
        Some(place) > self.everything && Some(place) > own
    }
}

impl Counted {
    fn into_row(self) -> UnreadRow {
        let threads = self.threads.into_iter().map(|(root, (notify, highlight))| (root, notify, highlight)).collect();
        UnreadRow { receipts: self.receipts, counted_to: self.through, threads }
    }

    fn add(&mut self, one: &RecentEvent, verdict: push::Verdict) {
        if verdict.notify {
            let counts = self.threads.entry(one.thread().unwrap_or_default().to_owned()).or_default();
            counts.0 = counts.0.saturating_add(1);
            counts.1 = counts.1.saturating_add(u32::from(verdict.highlight));
        }
    }

    /// `unread_notifications`, and `unread_thread_notifications` if they are wanted by thread.
    pub(super) fn write(&self, by_thread: bool) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let main = |root: &&String| !by_thread || root.is_empty();
        let sum =
            self.threads.iter().filter(|(root, _)| main(root)).fold((0_u32, 0_u32), |sum, (_, counts)| {
                (sum.0.saturating_add(counts.0), sum.1.saturating_add(counts.1))
            });
        let threads = by_thread.then(|| {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            for (root, counts) in self.threads.iter().filter(|(root, _)| !root.is_empty()) {
                object.raw(root, &written(*counts));
            }
            object.end();
            out
        });
        (Some(written(sum)), threads)
    }
}

fn written((notify, highlight): Counts) -> Vec<u8> {
    format!(r#"{{"notification_count":{notify},"highlight_count":{highlight}}}"#).into_bytes()
}

/// Of all that decides, beside the events, what is counted.
fn hash(receipts: &[Receipt], ignored: &Ignored) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for receipt in receipts {
        hasher.update(&[receipt.kind as u8]).update(&receipt.seq.0.to_be_bytes());
        hasher.update(format!("{:?}", receipt.thread).as_bytes());
    }
    for user_id in ignored.user_ids() {
        hasher.update(user_id.as_bytes()).update(&[0]);
    }
    hasher.finalize().as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}
