//! Receipts: up to where users have read (client-server API, "Receipts").
//!
//! A receipt of a user, a type and a thread moves only forward in graph order: what would move it back is ignored, and
//! so is what names an event that the room does not have.

use std::collections::BTreeMap;

use ruma::{EventId, OwnedEventId, OwnedUserId, ServerName, UserId};
use thiserror::Error;

use super::{
    keys::{RECEIPT, RECEIPT_LOG, ReceiptRow},
    relations,
};
use crate::{
    base::{clock::UnixMillis, json_writer::Object},
    graph::{
        Place, Reader, RoomNo, Seq,
        log::{self, Entry, Stream},
    },
    store::{Batch, CommitError, Page, Position, ReadError, View},
};

/// Threads of one room in which a user may have a receipt of a type; the oldest makes room.
const MOST_THREADS: usize = 500;
/// Receipts of a room that are looked at, newest first, for those of one server's users.
const MOST_LOOKED_AT: usize = 2_000;
/// Receipts of one room that whoever is new to it is told: those of a room of thousands of readers are many, and stale.
pub const MOST_AT_ONCE: usize = 10_000;

/// Why a receipt is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// The event is in another thread.
    #[error("the event does not belong to this thread")]
    OtherThread,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Who learns of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReceiptType {
    /// `m.read`: everybody in the room.
    Read = 0,
    /// `m.read.private`: its user alone.
    Private = 1,
}

impl ReceiptType {
    const ALL: [Self; 2] = [Self::Read, Self::Private];

    /// The specification's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "m.read",
            Self::Private => "m.read.private",
        }
    }
}

/// What a receipt is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thread {
    /// The room, whatever its threads.
    Unthreaded,
    /// What is in no thread.
    Main,
    /// The thread of this event.
    Root(OwnedEventId),
}

impl Thread {
    /// Reads a `thread_id`; `None` if it is neither `main` nor an event id.
    pub fn parse(thread_id: &str) -> Option<Self> {
        if thread_id == "main" {
            return Some(Self::Main);
        }
        // As a part of a key it is 255 bytes at the most, like every event id.
        let root = EventId::parse(thread_id).ok().filter(|root| root.as_str().len() <= 255);
        root.map(Self::Root)
    }

    /// Its `thread_id`; empty for none.
    pub fn key(&self) -> &str {
        match self {
            Self::Unthreaded => "",
            Self::Main => "main",
            Self::Root(root) => root.as_str(),
        }
    }

    fn from_key(key: &str) -> Option<Self> {
        if key.is_empty() { Some(Self::Unthreaded) } else { Self::parse(key) }
    }
}

/// Up to where a user has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The user.
    pub user_id: OwnedUserId,
    /// Who learns of it.
    pub kind: ReceiptType,
    /// What it is about.
    pub thread: Thread,
    /// The last event that was read.
    pub event_id: OwnedEventId,
    /// The same, by its number.
    pub seq: Seq,
    /// Its place in graph order.
    pub place: Place,
    /// When, in ms since the Unix epoch.
    pub ts: UnixMillis,
    /// The commit by which it came here.
    pub position: Position,
}

/// Moves a receipt, if that is forward; says whether it did. Asserts where it was: on a conflict, call it again.
pub fn put(
    reader: &Reader,
    view: &View<'_>,
    batch: &mut Batch,
    (room, user_id): (RoomNo, &UserId),
    (kind, thread, event_id, ts): (ReceiptType, &Thread, &EventId, UnixMillis),
) -> Result<bool, ReceiptError> {
    let Some(event) = reader.event_in(view, room, event_id)?.filter(|event| event.is_accepted()) else {
        return Ok(false);
    };
    let in_thread = match thread {
        Thread::Unthreaded => true,
        Thread::Main => relations::is_in_thread(reader, view, &event, None)?,
        Thread::Root(root) => relations::is_in_thread(reader, view, &event, Some(root))?,
    };
    if !in_thread {
        return Err(ReceiptError::OtherThread);
    }
    let key = (room, user_id.as_str(), kind as u8, thread.key());
    let old = view.get(&RECEIPT, &key)?;
    let place = (event.meta.depth, event.meta.tie);
    if old.as_ref().is_some_and(|old| (old.depth, old.tie) >= place) {
        return Ok(false);
    }
    batch.assert_still(&RECEIPT, &key, old.as_ref());
    match &old {
        Some(old) => batch.delete(&RECEIPT_LOG, &(room, old.position, user_id.as_str(), kind as u8, thread.key())),
        None => make_room(view, batch, room, user_id, kind)?,
    }
    let row = ReceiptRow {
        event_id: event_id.to_string(),
        seq: event.seq,
        depth: event.meta.depth,
        tie: event.meta.tie,
        ts,
        position: Position::ZERO,
    };
    let (user, thread) = (user_id.to_string(), thread.key().to_owned());
    let logged = (user.clone(), thread.clone());
    batch.put_at(&RECEIPT, move |position| ((room, user, kind as u8, thread), ReceiptRow { position, ..row }));
    batch.put_at(&RECEIPT_LOG, move |position| ((room, position, logged.0, kind as u8, logged.1), ()));
    Ok(true)
}

/// Writes the log's row of a commit in which receipts of a room moved.
pub fn record(batch: &mut Batch, room: RoomNo) {
    log::record(batch, Entry::room(Stream::Receipt, room));
}

/// Removes the oldest receipt in a thread if the user has too many.
fn make_room(
    view: &View<'_>,
    batch: &mut Batch,
    room: RoomNo,
    user_id: &UserId,
    kind: ReceiptType,
) -> Result<(), ReadError> {
    let rows = view.scan(&RECEIPT.span(&(room, user_id.as_str(), kind as u8)), MOST_THREADS)?.rows;
    if rows.len() < MOST_THREADS {
        return Ok(());
    }
    let threads = rows.into_iter().filter(|((.., thread), _)| thread.starts_with('$'));
    if let Some(((.., thread), row)) = threads.min_by_key(|(_, row)| row.position) {
        batch.delete(&RECEIPT, &(room, user_id.as_str(), kind as u8, &thread));
        batch.delete(&RECEIPT_LOG, &(room, row.position, user_id.as_str(), kind as u8, &thread));
    }
    Ok(())
}

/// All receipts of one user in each of these rooms, in their order: one wave.
pub fn of_user(view: &View<'_>, rooms: &[RoomNo], user_id: &UserId) -> Result<Vec<Vec<Receipt>>, ReadError> {
    let spans: Vec<_> = rooms.iter().map(|room| RECEIPT.span(&(*room, user_id.as_str()))).collect();
    let pages = view.multi_scan(&spans, usize::MAX)?.into_iter();
    Ok(pages.map(|page| page.rows.into_iter().filter_map(receipt).collect()).collect())
}

/// The receipts of each of these rooms that `reader` may know of, in their order, up to [`MOST_AT_ONCE`] of a room: one wave.
pub fn all(view: &View<'_>, rooms: &[RoomNo], reader: &UserId) -> Result<Vec<Vec<Receipt>>, ReadError> {
    let spans: Vec<_> = rooms.iter().map(|room| RECEIPT.span(&(*room,))).collect();
    let pages = view.multi_scan(&spans, MOST_AT_ONCE)?.into_iter();
    let known = |row| receipt(row).filter(|receipt| receipt.is_for(reader));
    Ok(pages.map(|page| page.rows.into_iter().filter_map(known).collect()).collect())
}

/// The receipts of each of these rooms that `reader` may know of and that moved in `(after, through]`, in their order and
/// in that of arrival: two waves.
pub fn since(
    view: &View<'_>,
    rooms: &[RoomNo],
    reader: &UserId,
    (after, through): (Position, Position),
) -> Result<Vec<Vec<Receipt>>, ReadError> {
    let span = |room: &RoomNo| RECEIPT_LOG.span(&(*room,)).after(&(*room, after)).through(&(*room, through));
    let pages = view.multi_scan(&rooms.iter().map(span).collect::<Vec<_>>(), usize::MAX)?;
    found(view, &pages, |receipt| receipt.is_for(reader))
}

/// The receipts that rows of the log name, of which `wanted` says that they are wanted.
fn found(
    view: &View<'_>,
    pages: &[Page<LogKey, ()>],
    wanted: impl Fn(&Receipt) -> bool,
) -> Result<Vec<Vec<Receipt>>, ReadError> {
    let keys = |page: &Page<LogKey, ()>| -> Vec<ReceiptKey> {
        page.rows
            .iter()
            .map(|((room, _, user, kind, thread), ())| (*room, user.clone(), *kind, thread.clone()))
            .collect()
    };
    let keys: Vec<Vec<ReceiptKey>> = pages.iter().map(keys).collect();
    let mut found = view.multi_get(&RECEIPT, keys.iter().flatten().cloned())?.into_iter();
    let of_room = |keys: Vec<ReceiptKey>| {
        let receipts = keys.into_iter().zip(found.by_ref()).filter_map(|(key, row)| receipt((key, row?)));
        receipts.filter(&wanted).collect()
    };
    Ok(keys.into_iter().map(of_room).collect())
}

/// The receipts of a server's users in each of these rooms that everybody there learns of and that moved at or between these
/// commits, in their order and in that of arrival, the last `limit` of a room: two waves. Of a room the newest
/// `MOST_LOOKED_AT` are looked at.
pub fn public_between(
    view: &View<'_>,
    rooms: &[(RoomNo, (Position, Position))],
    server: &ServerName,
    limit: usize,
) -> Result<Vec<Vec<Receipt>>, ReadError> {
    let span = |(room, (since, through)): &(RoomNo, (Position, Position))| {
        let span = RECEIPT_LOG.span(&(*room,)).after(&(*room, Position(since.0.saturating_sub(1))));
        span.through(&(*room, *through)).reversed()
    };
    let mut pages = view.multi_scan(&rooms.iter().map(span).collect::<Vec<_>>(), MOST_LOOKED_AT)?;
    for page in &mut pages {
        let is_of = |user: &str| user.split_once(':').is_some_and(|(_, of)| of == server.as_str());
        page.rows.retain(|((_, _, user, kind, _), ())| *kind == ReceiptType::Read as u8 && is_of(user));
        page.rows.truncate(limit);
        page.rows.reverse();
    }
    found(view, &pages, |_| true)
}

type ReceiptKey = (RoomNo, String, u8, String);
type LogKey = (RoomNo, Position, String, u8, String);

fn receipt(((_, user, kind, thread), row): (ReceiptKey, ReceiptRow)) -> Option<Receipt> {
    Some(Receipt {
        user_id: UserId::parse(user).ok()?,
        kind: ReceiptType::ALL.into_iter().find(|known| *known as u8 == kind)?,
        thread: Thread::from_key(&thread)?,
        event_id: EventId::parse(row.event_id).ok()?,
        seq: row.seq,
        place: Place { depth: row.depth, tie: row.tie },
        ts: row.ts,
        position: row.position,
    })
}

impl Receipt {
    fn is_for(&self, reader: &UserId) -> bool {
        self.kind == ReceiptType::Read || self.user_id == *reader
    }
}

/// Receipts of one room as `m.receipt` events for clients, without `room_id`: one for each thread, since a user may have
/// read the same event in two of them.
pub fn to_events(receipts: &[Receipt]) -> Vec<Vec<u8>> {
    type Users<'a> = BTreeMap<&'a UserId, &'a Receipt>;
    let mut threads: BTreeMap<&Thread, BTreeMap<&EventId, BTreeMap<ReceiptType, Users<'_>>>> = BTreeMap::new();
    for receipt in receipts {
        let event = threads.entry(&receipt.thread).or_default().entry(&receipt.event_id).or_default();
        event.entry(receipt.kind).or_default().insert(&receipt.user_id, receipt);
    }
    let written = threads.into_values().map(|events| {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.object("content", |content| {
            for (event_id, kinds) in events {
                content.object(event_id.as_str(), |event| {
                    for (kind, users) in kinds {
                        event.object(kind.as_str(), |kind| {
                            for (user_id, receipt) in users {
                                kind.object(user_id.as_str(), |user| receipt.write(user));
                            }
                        });
                    }
                });
            }
        });
        object.value("type", "m.receipt");
        object.end();
        out
    });
    written.collect()
}

impl Receipt {
    fn write(&self, user: &mut Object<'_>) {
        user.value("ts", &self.ts);
        if self.thread != Thread::Unthreaded {
            user.value("thread_id", self.thread.key());
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, user_id};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::graph::Tie;

    fn receipt(user: &UserId, kind: ReceiptType, thread: Thread, event_id: &EventId) -> Receipt {
        Receipt {
            user_id: user.to_owned(),
            kind,
            thread,
            event_id: event_id.to_owned(),
            seq: Seq(1),
            place: Place { depth: 1, tie: Tie(1) },
            ts: 5,
            position: Position(1),
        }
    }

    #[test]
    fn receipts_of_two_threads_are_two_events() {
        let (alice, bob) = (user_id!("@alice:a"), user_id!("@bob:a"));
        let event = event_id!("$e");
        let events = to_events(&[
            receipt(alice, ReceiptType::Read, Thread::Unthreaded, event),
            receipt(bob, ReceiptType::Private, Thread::Unthreaded, event),
            receipt(alice, ReceiptType::Read, Thread::Main, event),
            receipt(alice, ReceiptType::Read, Thread::Root(event_id!("$root").to_owned()), event),
        ]);
        let events: Vec<Json> = events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect();
        let of = |content: Json| json!({"content": {"$e": content}, "type": "m.receipt"});
        assert_eq!(
            events,
            [
                of(json!({"m.read": {"@alice:a": {"ts": 5}}, "m.read.private": {"@bob:a": {"ts": 5}}})),
                of(json!({"m.read": {"@alice:a": {"ts": 5, "thread_id": "main"}}})),
                of(json!({"m.read": {"@alice:a": {"ts": 5, "thread_id": "$root"}}})),
            ]
        );
    }

    #[test]
    fn thread_ids_are_main_or_event_ids() {
        for (text, thread) in [
            ("main", Some(Thread::Main)),
            ("$a", Some(Thread::Root(event_id!("$a").to_owned()))),
            ("", None),
            ("other", None),
        ] {
            assert_eq!(Thread::parse(text), thread, "{text}");
        }
        assert_eq!(Thread::parse(&format!("${}", "x".repeat(300))), None);
    }
}
