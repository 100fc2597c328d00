//! Unread counts (client-server API, "Push Notifications", "Receiving notifications"; "Threads" for those by thread).
//!
//! They are counted when their user syncs: the events behind the user's receipts, by the user's push rules. What was
//! counted is kept as a memo now and then, so that the next count begins there; nothing is written per member when an
//! event is sent.

use std::{cell::OnceCell, collections::BTreeMap};

use ruma::UserId;

use super::{
    keys::{UNREAD, UnreadRow},
    recent::{Recent, RecentEvent},
};
use crate::{
    base::json_writer::Object,
    graph::{Head, Place, Reader, RoomNo, StateKey},
    push::{self, Matcher, RoomContext},
    rooms::{
        content,
        ignored::Ignored,
        receipts::{Receipt, Thread},
    },
    store::{Batch, Position, ReadError, View},
};

/// Events that are looked at: a count that reaches so far back says "at least".
const MOST_EVENTS: usize = 1_000;
/// Events behind which a count is worth a memo.
const WORTH_A_MEMO: usize = 32;
/// Rows that are read at once.
const PAGE: usize = 200;

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
    looked_at: usize,
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
    pub(super) memo: Option<&'a UnreadRow>,
    /// The commit of the user's last membership: without a receipt, counting begins there.
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
        matcher: impl FnOnce() -> Result<std::sync::Arc<Matcher>, ReadError>,
    ) -> Result<Counted, ReadError> {
        let hash = hash(self.receipts, self.ignored);
        let memo = self.memo.filter(|memo| memo.receipts == hash && memo.counted_to <= self.through);
        let after = match memo {
            Some(memo) => memo.counted_to,
            None if self.receipts.is_empty() => self.joined,
            None => Position::ZERO,
        };
        let threads = memo.iter().flat_map(|memo| &memo.threads);
        let threads = threads.map(|(root, notify, highlight)| (root.clone(), (*notify, *highlight))).collect();
        let mut counted = Counted { room: self.room, receipts: hash, through: self.through, threads, looked_at: 0 };
        let bars = Bars::of(self.receipts);
        let after = bars.everything.map_or(after, |bar| after.max(bar.tie.position()));
        let older = self.older(view, after)?;
        let arrived = |one: &&RecentEvent| one.arrival.position > after && one.arrival.position <= self.through;
        let arrived = self.recent.events.iter().chain(&older).filter(arrived);
        let unread: Vec<_> = arrived
            .inspect(|_| counted.looked_at = counted.looked_at.saturating_add(1))
            .filter(|one| one.sender() != self.user_id && self.ignored.hears(&one.event))
            .filter(|one| one.event.meta.redacted_by.is_none() && bars.is_unread(one))
            .collect();
        if !unread.is_empty() {
            let (matcher, display_name) = (matcher()?, self.display_name(view)?);
            for one in unread {
                let verdict = self.verdict(view, &matcher, (one, display_name.as_deref()))?;
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
            older.extend(events.filter_map(|((arrival, _), event)| Some(RecentEvent::new(event?, *arrival))));
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
        matcher: &Matcher,
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

/// What was counted of a user's rooms, in their order: one wave.
pub(super) fn counted(
    view: &View<'_>,
    user_id: &UserId,
    rooms: &[RoomNo],
) -> Result<Vec<Option<UnreadRow>>, ReadError> {
    view.multi_get(&UNREAD, rooms.iter().map(|room| (user_id.as_str(), *room)))
}

/// Memos of what took long to count; `None` if nothing did.
pub(super) fn memos(user_id: &UserId, counted: Vec<Counted>) -> Option<Batch> {
    let mut batch = Batch::new();
    for one in counted.into_iter().filter(|one| one.looked_at >= WORTH_A_MEMO) {
        let threads = one.threads.into_iter().map(|(root, (notify, highlight))| (root, notify, highlight)).collect();
        let row = UnreadRow { receipts: one.receipts, counted_to: one.through, threads };
        batch.put(&UNREAD, &(user_id.as_str(), one.room), &row);
    }
    (!batch.is_empty()).then_some(batch)
}
