//! Unread counts (client-server API, "Push Notifications", "Receiving notifications"; "Threads" for those by thread).
//!
//! They are counted when their user syncs: the events behind the user's receipts, by the user's push rules. What was
//! counted is kept as a memo now and then, so that the next count begins there; nothing is written per member when an
//! event is sent.

use std::{cell::OnceCell, collections::BTreeMap};

use ruma::{OwnedUserId, RoomId, UserId};

use super::keys::{UNREAD, UnreadRow};
use crate::{
    base::json_writer::Object,
    event::{Pdu, power::PowerLevels, version},
    graph::{Event, Head, Place, Reader, RoomNo, StateKey},
    push::{self, Matcher, RoomContext},
    rooms::{
        content::{self, RelatesTo},
        format::{Unsigned, client_event},
        receipts::{self, Receipt, Thread},
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
    /// The commit of the user's last membership: without a receipt, counting begins there.
    pub(super) joined: Position,
    pub(super) through: Position,
}

impl Count<'_> {
    /// Whether the user's receipts have moved since.
    pub(super) fn has_read_since(&self, view: &View<'_>, since: Position) -> Result<bool, ReadError> {
        let receipts = receipts::of_user(view, self.room, self.user_id)?;
        Ok(receipts.iter().any(|receipt| receipt.position > since))
    }

    /// Counts.
    pub(super) fn run(
        &self,
        view: &View<'_>,
        matcher: impl FnOnce() -> Result<std::sync::Arc<Matcher>, ReadError>,
    ) -> Result<Counted, ReadError> {
        let receipts = receipts::of_user(view, self.room, self.user_id)?;
        let hash = hash(&receipts);
        let memo = view.get(&UNREAD, &(self.user_id.as_str(), self.room))?;
        let memo = memo.filter(|memo| memo.receipts == hash && memo.counted_to <= self.through);
        let after = match &memo {
            Some(memo) => memo.counted_to,
            None if receipts.is_empty() => self.joined,
            None => Position::ZERO,
        };
        let threads = memo.into_iter().flat_map(|memo| memo.threads);
        let threads = threads.map(|(root, notify, highlight)| (root, (notify, highlight))).collect();
        let mut counted = Counted { room: self.room, receipts: hash, through: self.through, threads, looked_at: 0 };
        let events = self.unread(view, &receipts, after, &mut counted)?;
        if !events.is_empty() {
            let (matcher, context) = (matcher()?, Context::read(self, view)?);
            for event in events {
                counted.add(&event, context.verdict(&matcher, &event));
            }
        }
        Ok(counted)
    }

    /// Others' events behind the receipts that arrived behind `after`.
    fn unread(
        &self,
        view: &View<'_>,
        receipts: &[Receipt],
        after: Position,
        counted: &mut Counted,
    ) -> Result<Vec<Event>, ReadError> {
        let bars = Bars::of(receipts);
        let after = bars.everything.map_or(after, |bar| after.max(bar.tie.position()));
        let mut found = Vec::new();
        let mut last = None;
        while counted.looked_at < MOST_EVENTS {
            let bound = last.map_or(self.through, |arrival: crate::graph::Arrival| arrival.position);
            let page = self.reader.log_back(view, self.room, after, bound, PAGE)?;
            let rows: Vec<_> =
                page.rows.iter().filter(|(arrival, _)| last.is_none_or(|last| *arrival < last)).collect();
            let numbers: Vec<_> = rows.iter().map(|(_, logged)| (self.room, logged.seq)).collect();
            counted.looked_at = counted.looked_at.saturating_add(rows.len());
            let events = self.reader.events(view, &numbers)?.into_iter().flatten();
            found.extend(events.filter(|event| {
                event.sender != self.user_id && event.meta.redacted_by.is_none() && bars.is_unread(event)
            }));
            match rows.last() {
                Some((arrival, _)) if page.more => last = Some(*arrival),
                _ => break,
            }
        }
        Ok(found)
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

    fn is_unread(&self, event: &Event) -> bool {
        let place = Place { depth: event.meta.depth, tie: event.meta.tie };
        let own = match thread_of(event) {
            Some(root) => self.threads.get(root.as_str()).copied(),
            None => self.main,
        };
        Some(place) > self.everything && Some(place) > own
    }
}

/// The root of the thread that an event is in.
fn thread_of(event: &Event) -> Option<String> {
    let relation = RelatesTo::of(event.content())?;
    (relation.rel_type == "m.thread").then_some(relation.event_id)
}

/// What rules may ask about the room, read once a count.
struct Context {
    room_id: ruma::OwnedRoomId,
    user_id: OwnedUserId,
    display_name: Option<String>,
    members: u64,
    create: Option<Pdu>,
    levels: Option<Pdu>,
    rules: Option<&'static version::Rules>,
    power: OnceCell<Option<PowerLevels>>,
}

impl Context {
    fn read(count: &Count<'_>, view: &View<'_>) -> Result<Self, ReadError> {
        let own = StateKey::new("m.room.member", count.user_id.as_str());
        let keys = [StateKey::new("m.room.create", ""), StateKey::new("m.room.power_levels", ""), own];
        let mut found = count.reader.state_events(view, count.room, count.head.root, &keys)?.into_iter();
        let (create, levels, member) = (found.next().flatten(), found.next().flatten(), found.next().flatten());
        let rules = version::rules(&count.head.room_version);
        let pdu = |event: Option<Event>| {
            let event = event?;
            Pdu::from_stored(event.event_id.clone(), event.pdu.clone(), rules?).ok()
        };
        Ok(Self {
            room_id: count.head.room_id.clone(),
            user_id: count.user_id.to_owned(),
            display_name: member.and_then(|member| content::text(member.content(), "displayname")),
            members: u64::from(count.head.joined_members),
            create: pdu(create),
            levels: pdu(levels),
            rules,
            power: OnceCell::new(),
        })
    }

    fn verdict(&self, matcher: &Matcher, event: &Event) -> push::Verdict {
        let json = client_event(&event.client_json(), Some(&self.room_id), &Unsigned::default());
        let parsed = std::str::from_utf8(&json).ok().and_then(push::Event::parse);
        let Some(parsed) = parsed else { return push::Verdict::default() };
        let may_notify = |sender: &str, key: &str| self.may_notify(sender, key);
        let room_id: &RoomId = &self.room_id;
        matcher.evaluate(
            &parsed,
            &RoomContext {
                room_id,
                user_id: &self.user_id,
                display_name: self.display_name.as_deref(),
                members: self.members,
                may_notify: &may_notify,
            },
        )
    }

    fn may_notify(&self, sender: &str, key: &str) -> bool {
        let power =
            self.power.get_or_init(|| Some(PowerLevels::new(self.create.as_ref()?, self.levels.as_ref(), self.rules?)));
        let (Some(power), Ok(sender)) = (power, UserId::parse(sender)) else { return false };
        power.of(&sender) >= power.to_notify(key)
    }
}

impl Counted {
    fn add(&mut self, event: &Event, verdict: push::Verdict) {
        if verdict.notify {
            let counts = self.threads.entry(thread_of(event).unwrap_or_default()).or_default();
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

fn hash(receipts: &[Receipt]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for receipt in receipts {
        hasher.update(&[receipt.kind as u8]).update(&receipt.seq.0.to_be_bytes());
        hasher.update(format!("{:?}", receipt.thread).as_bytes());
    }
    hasher.finalize().as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
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
