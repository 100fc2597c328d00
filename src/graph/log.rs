//! The log: what every commit changed, in the order of positions. Everything that reacts to a change follows it.
//!
//! A row of it says only *that* something changed and whose it is; what it is now is read from the rows themselves.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use tokio::sync::watch;

use super::{
    bytes::{finish, first_version, put_str, take_str, take_u8, take_u64},
    event_row::{EventMeta, StoredEvent},
    keys::LOG,
    rows::StateKey,
    types::{RoomNo, Root, Seq, Slot},
};
use crate::store::{Batch, DecodeError, Page, Position, Published, ReadError, Store, Value, View};

/// What kind of thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// An event became visible in a room; the reference is its seq. Or, with reference 0, the room's state changed
    /// without an event.
    Room = 1,
    /// A local user's standing in a room changed (or they forgot it); the reference is the room's number.
    Membership = 2,
    /// A receipt in a room; the subject is the room.
    Receipt = 3,
    /// Account data of a user; the reference is the room's number, 0 for what is global.
    AccountData = 4,
    /// A user's list of devices.
    Device = 5,
    /// A user's access tokens: some end.
    Token = 6,
    /// A user's profile.
    Profile = 7,
    /// A user's device or cross-signing keys.
    Keys = 8,
    /// A message to a device of the user.
    ToDevice = 9,
    /// A user's filters, pushers or other settings that caches may hold.
    Settings = 10,
    /// An alias, or the visibility of a room in the directory.
    Directory = 11,
}

impl Stream {
    const ALL: [Self; 11] = [
        Self::Room,
        Self::Membership,
        Self::Receipt,
        Self::AccountData,
        Self::Device,
        Self::Token,
        Self::Profile,
        Self::Keys,
        Self::ToDevice,
        Self::Settings,
        Self::Directory,
    ];
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Of a room.
    Room(RoomNo),
    /// Of a user.
    User(OwnedUserId),
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What kind of thing changed.
    pub stream: Stream,
    /// Whose it is.
    pub subject: Subject,
    /// Which one, as the stream says; 0 for none.
    pub reference: u64,
}

impl Entry {
    /// Something of a room.
    pub fn room(stream: Stream, room: RoomNo) -> Self {
        Self { stream, subject: Subject::Room(room), reference: 0 }
    }

    /// Something of a user.
    pub fn user(stream: Stream, user: &UserId) -> Self {
        Self { stream, subject: Subject::User(user.to_owned()), reference: 0 }
    }

    /// Says which one.
    #[must_use]
    pub fn of(mut self, reference: u64) -> Self {
        self.reference = reference;
        self
    }
}

impl Value for Entry {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.stream as u8);
        out.extend_from_slice(&self.reference.to_be_bytes());
        match &self.subject {
            Subject::Room(room) => {
                out.push(0);
                out.extend_from_slice(&room.0.to_be_bytes());
            }
            Subject::User(user) => {
                out.push(1);
                put_str(out, user.as_str());
            }
        }
    }

    fn decode(version: u8, mut body: &[u8]) -> Result<Self, DecodeError> {
        first_version(version)?;
        let input = &mut body;
        let number = take_u8(input)?;
        let stream = Stream::ALL.into_iter().find(|stream| *stream as u8 == number);
        let stream = stream.ok_or(DecodeError("an unknown stream"))?;
        let reference = take_u64(input)?;
        let subject = match take_u8(input)? {
            0 => Subject::Room(RoomNo(take_u64(input)?)),
            1 => Subject::User(UserId::parse(take_str(input)?).map_err(|_| DecodeError("not a user id"))?),
            _ => return Err(DecodeError("an unknown kind of subject")),
        };
        finish(input)?;
        Ok(Self { stream, subject, reference })
    }
}

/// How an event changed the current state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The slot.
    pub slot: Slot,
    /// Its type and key.
    pub key: StateKey,
    /// The event that stood there before.
    pub replaces: Option<Seq>,
}

/// An event as it is handed to those who wait for it: shared, and the same for everybody.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its room.
    pub room: RoomNo,
    /// Its number there.
    pub seq: Seq,
    /// Its index in the room's part of its commit (the position is in `meta`).
    pub index: u32,
    /// Its body.
    pub event: StoredEvent,
    /// What became of it.
    pub meta: EventMeta,
    /// The current state once it is in.
    pub root_after: Root,
    /// How it changed the current state, if it did.
    pub change: Option<StateChange>,
    /// The event that it redacts, if that is one of ours and it may.
    pub redacts: Option<Seq>,
}

/// What a durable commit tells those who wait: one for each row of the log that it wrote.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The commit.
    pub position: Position,
    /// The row.
    pub entry: Entry,
    /// The event, if it is one.
    pub delivery: Option<Arc<Delivery>>,
}

/// Adds a row to the log, and tells everybody once it is durable.
///
/// The row's index is the place in the batch, which no other row of it has.
pub fn record(batch: &mut Batch, entry: Entry) {
    let (index, row) = (next_index(batch), entry.clone());
    batch.put_at(&LOG, move |position| ((position, index), row));
    batch.touch(move |position| Touch { position, entry, delivery: None });
}

/// Adds an event's row to the log, and hands the event to everybody who waits once it is durable.
pub(super) fn record_event(
    batch: &mut Batch,
    entry: Entry,
    delivery: impl FnOnce(Position) -> Delivery + Send + 'static,
) {
    let (index, row) = (next_index(batch), entry.clone());
    batch.put_at(&LOG, move |position| ((position, index), row));
    batch.touch(move |position| Touch { position, entry, delivery: Some(Arc::new(delivery(position))) });
}

fn next_index(batch: &Batch) -> u32 {
    u32::try_from(batch.len()).unwrap_or(u32::MAX)
}

/// The first `limit` rows behind `after`, up to the horizon of the view.
pub fn page(view: &View<'_>, after: Position, limit: usize) -> Result<Page<(Position, u32), Entry>, ReadError> {
    view.scan(&LOG.span(&()).after(&(after,)).through(&(view.horizon(),)), limit)
}

/// A row of the log, as followers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The commit.
    pub position: Position,
    /// What it says.
    pub entry: Entry,
    /// Of an event that was committed a short time ago, what is known without a look at the store.
    pub glance: Option<Glance>,
}

/// What can be known of an event at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// It is for us to send to other servers.
    pub relay: bool,
    /// Its sender is a user of this server.
    pub is_own: bool,
    /// It is a state event.
    pub is_state: bool,
    /// The current state once it is in.
    pub root_after: Root,
}

/// The youngest part of the log, in memory.
#[derive(Debug)]
pub struct Ring {
    own: OwnedServerName,
    rows: RwLock<VecDeque<Row>>,
    /// Every row behind this position is in `rows`.
    complete_after: AtomicU64,
    capacity: usize,
    /// The last position that was published.
    reached: watch::Sender<Position>,
}

impl Ring {
    /// Rows that are kept: some hours of a busy server, about 10 MB.
    pub const CAPACITY: usize = 100_000;

    /// A ring of the server `own` that fills from now on with what `store` commits.
    pub fn following(store: &Store, own: &ServerName, capacity: usize) -> Arc<Self> {
        let ring = Arc::new(Self {
            own: own.to_owned(),
            rows: RwLock::default(),
            complete_after: AtomicU64::new(u64::MAX),
            capacity,
            reached: watch::Sender::new(Position::ZERO),
        });
        let listener = Arc::clone(&ring);
        store.on_published(move |published| listener.push(published));
        // The horizon after the listener is there: between the two a row may come in twice nowhere, and be missed nowhere.
        ring.complete_after.store(store.horizon().0, Ordering::Release);
        ring
    }

    fn push(&self, published: &Published) {
        let mut rows = self.rows.write();
        for touch in &published.touches {
            if let Some(touch) = touch.downcast_ref::<Touch>() {
                let glance = touch.delivery.as_deref().map(|delivery| Glance {
                    relay: delivery.meta.relay,
                    is_own: delivery.event.sender.server_name() == self.own,
                    is_state: delivery.event.state_key.is_some(),
                    root_after: delivery.root_after,
                });
                rows.push_back(Row { position: touch.position, entry: touch.entry.clone(), glance });
            }
        }
        while rows.len() > self.capacity {
            let Some(dropped) = rows.pop_front() else { break };
            self.complete_after.fetch_max(dropped.position.0, Ordering::AcqRel);
        }
        drop(rows);
        if !published.touches.is_empty() {
            self.reached.send_replace(published.position);
        }
    }

    /// Waits until something behind `position` is published; not for what was there before this ring.
    pub async fn news_after(&self, position: Position) {
        // An error would mean that the sender is gone, and this ring holds it.
        let _ = self.reached.subscribe().wait_for(|reached| *reached > position).await;
    }

    /// All rows behind `position` that were published so far; `None` when the ring does not reach back so far, and the
    /// stored log must be read ([`page`]).
    pub fn since(&self, position: Position) -> Option<Vec<Row>> {
        let rows = self.rows.read();
        if position.0 < self.complete_after.load(Ordering::Acquire) {
            return None;
        }
        let start = rows.partition_point(|row| row.position <= position);
        Some(rows.range(start..).cloned().collect())
    }

    /// Whole commits behind `position`, of about `limit` rows; `None` as for [`Ring::since`].
    pub fn next(&self, position: Position, limit: usize) -> Option<Vec<Row>> {
        let rows = self.rows.read();
        if position.0 < self.complete_after.load(Ordering::Acquire) {
            return None;
        }
        let start = rows.partition_point(|row| row.position <= position);
        let last = rows.range(start..).take(limit).next_back().map(|row| row.position);
        Some(rows.range(start..).take_while(|row| Some(row.position) <= last).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{engine::memory::Memory, value};

    fn user(name: &str) -> OwnedUserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn rows_are_read_as_they_are_written() {
        for stream in Stream::ALL {
            let entries = [Entry::room(stream, RoomNo(7)).of(3), Entry::user(stream, &user("@a:b"))];
            for entry in entries {
                assert_eq!(value::from_bytes::<Entry>(&value::to_bytes(&entry)).unwrap(), entry);
            }
        }
    }

    #[tokio::test]
    async fn what_is_recorded_is_in_the_log_in_the_ring_and_told() {
        let store = Store::open(Memory::new());
        let ring = Ring::following(&store, ruma::server_name!("a.b"), 3);
        let mut batch = Batch::new();
        record(&mut batch, Entry::user(Stream::Device, &user("@a:b")));
        record(&mut batch, Entry::user(Stream::Token, &user("@a:b")));
        let first = store.commit(batch).await.unwrap().unwrap();
        let mut batch = Batch::new();
        record(&mut batch, Entry::room(Stream::Receipt, RoomNo(1)));
        let second = store.commit(batch).await.unwrap().unwrap();

        let streams = |rows: Vec<Row>| rows.into_iter().map(|row| row.entry.stream).collect::<Vec<_>>();
        assert_eq!(streams(ring.since(Position::ZERO).unwrap()), [Stream::Device, Stream::Token, Stream::Receipt]);
        assert_eq!(streams(ring.since(first).unwrap()), [Stream::Receipt]);
        assert!(ring.since(second).unwrap().is_empty());
        assert_eq!(
            streams(ring.next(Position::ZERO, 1).unwrap()),
            [Stream::Device, Stream::Token],
            "commits are whole"
        );
        assert_eq!(streams(ring.next(Position::ZERO, 3).unwrap()).len(), 3);
        ring.news_after(first).await;
        let stored = store.read_blocking(|view| page(view, first, 10)).unwrap();
        assert_eq!(stored.rows.into_iter().map(|row| row.1.stream).collect::<Vec<_>>(), [Stream::Receipt]);

        let mut batch = Batch::new();
        record(&mut batch, Entry::room(Stream::Receipt, RoomNo(2)));
        store.commit(batch).await.unwrap();
        assert!(ring.since(Position::ZERO).is_none(), "a row of the first commit was dropped");
        assert_eq!(ring.since(first).unwrap().len(), 2);
    }
}
