//! Staged events: acknowledged, durable, not judged yet. How many and how large, in a room, of a server and in all, is
//! bounded.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;
use ruma::OwnedServerName;

use super::{
    Inbox, TransactionError,
    edus::{Edus, Started},
    transaction::Sorted,
};
use crate::{
    event::Pdu,
    federation::keys::{FED_TXN, FED_TXN_AT, STAGED, StagedRow, TxnRow},
    graph::{Rider, RoomNo, keys::bounded},
    rooms::guest_access,
    store::{Batch, CommitError, Position, ReadError, Store},
};

/// What may be staged in all; more is not taken, and its server asks again.
const OF_ALL: Amount = Amount { events: 100_000, bytes: 64 << 20 };
/// What may be staged of one server; the same.
const OF_A_SERVER: Amount = Amount { events: 20_000, bytes: 24 << 20 };
/// What may be staged in one room; what goes beyond is ignored: it comes again as what later events cite.
const OF_A_ROOM: Amount = Amount { events: 2_000, bytes: 16 << 20 };
/// For how long the answer to a transaction is kept, in ms.
const KEEP_ANSWERS: u64 = 24 * 60 * 60 * 1_000;
/// Rows that are read or removed at once.
const PAGE: usize = 1_000;

/// Where a staged event stands: position and index of its row.
pub(super) type At = (Position, u32);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    events: usize,
    bytes: usize,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, bytes: usize) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn has_room(self, bytes: usize, most: Self) -> bool {
        self.events < most.events && self.bytes.saturating_add(bytes) <= most.bytes
    }
}

#[derive(Default)]
struct Counts {
    all: Amount,
    rooms: HashMap<RoomNo, Amount>,
    servers: HashMap<OwnedServerName, Amount>,
}

impl Counts {
    fn add(&mut self, room: RoomNo, server: &OwnedServerName, bytes: usize) {
        self.all.add(bytes);
        self.rooms.entry(room).or_default().add(bytes);
        self.servers.entry(server.clone()).or_default().add(bytes);
    }

    fn remove(&mut self, room: RoomNo, server: &OwnedServerName, bytes: usize) {
        self.all.remove(bytes);
        removed(&mut self.rooms, &room, bytes);
        removed(&mut self.servers, server, bytes);
    }
}

fn removed<K: Eq + Hash>(amounts: &mut HashMap<K, Amount>, key: &K, bytes: usize) {
    if let Some(amount) = amounts.get_mut(key) {
        amount.remove(bytes);
        if amount.events == 0 {
            amounts.remove(key);
        }
    }
}

/// Counts what is staged.
pub(super) struct Staging {
    counts: Arc<Mutex<Counts>>,
    /// What was staged up to here is counted when it is found; what came later, when it came.
    start: Position,
    is_counted: Mutex<bool>,
}

/// What was counted for a transaction that is not committed yet: given back if it is not.
pub(super) struct Reserved {
    counts: Arc<Mutex<Counts>>,
    events: Vec<(RoomNo, OwnedServerName, usize)>,
}

impl Reserved {
    /// It was committed.
    pub(super) fn keep(mut self) {
        self.events.clear();
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        for (room, server, bytes) in self.events.drain(..) {
            counts.remove(room, &server, bytes);
        }
    }
}

impl Staging {
    pub(super) fn starting_at(start: Position) -> Self {
        Self { counts: Arc::default(), start, is_counted: Mutex::new(false) }
    }

    pub(super) fn sum(&self) -> (usize, usize) {
        let all = self.counts.lock().all;
        (all.events, all.bytes)
    }

    /// Counts the events of a transaction. Those of rooms in which too much is staged are refused, one by one; if there is no
    /// room for them otherwise, the transaction is.
    pub(super) fn reserve(&self, server: &OwnedServerName, sorted: &mut Sorted) -> Result<Reserved, TransactionError> {
        let mut reserved = Reserved { counts: Arc::clone(&self.counts), events: Vec::new() };
        let (mut good, mut full) = (Vec::new(), Vec::new());
        let mut has_room = true;
        {
            let mut counts = self.counts.lock();
            for event in std::mem::take(&mut sorted.good) {
                let bytes = event.pdu.json().len();
                let of = |amount: Option<&Amount>| amount.copied().unwrap_or_default();
                if !of(counts.rooms.get(&event.room)).has_room(bytes, OF_A_ROOM) {
                    full.push(event.pdu);
                    continue;
                }
                let of_server = of(counts.servers.get(server)).has_room(bytes, OF_A_SERVER);
                has_room &= of_server && counts.all.has_room(bytes, OF_ALL);
                counts.add(event.room, server, bytes);
                reserved.events.push((event.room, server.clone(), bytes));
                good.push(event);
            }
        }
        if !has_room {
            return Err(TransactionError::Busy);
        }
        sorted.good = good;
        full.iter().for_each(|pdu| sorted.refuse(pdu, "too many events of this room are waiting to be judged"));
        Ok(reserved)
    }

    /// Whether it is known what was staged before this process began.
    pub(super) fn is_counted(&self) -> bool {
        *self.is_counted.lock()
    }

    /// A staged event is no more.
    pub(super) fn release(&self, room: RoomNo, server: &OwnedServerName, bytes: usize) {
        self.counts.lock().remove(room, server, bytes);
    }

    /// The rooms in which something is staged. The first time, what was there before this process began is counted.
    pub(super) async fn rooms(&self, store: &Store) -> Result<BTreeSet<RoomNo>, ReadError> {
        let (mut rooms, mut after): (BTreeSet<RoomNo>, Option<(RoomNo, Position, u32)>) = Default::default();
        let mut old = Vec::new();
        loop {
            let page = store.read(move |view| {
                let span = STAGED.span(&());
                view.scan(&if let Some(after) = after { span.after(&after) } else { span }, PAGE)
            });
            let page = page.await?;
            for ((room, position, index), row) in page.rows {
                rooms.insert(room);
                after = Some((room, position, index));
                if position <= self.start {
                    old.push((room, row.origin, row.pdu.len()));
                }
            }
            if !page.more {
                break;
            }
        }
        if !std::mem::replace(&mut *self.is_counted.lock(), true) {
            let mut counts = self.counts.lock();
            for (room, origin, bytes) in old {
                if let Ok(server) = OwnedServerName::try_from(origin) {
                    counts.add(room, &server, bytes);
                }
            }
        }
        Ok(rooms)
    }
}

/// What goes into the commit that takes an event: its staged row, if it has one, is no more; and where it keeps guests out,
/// somebody must look for ours.
pub(super) fn rider(room: RoomNo, event: &Pdu, staged: Option<At>) -> Rider {
    let keeps_out =
        event.is_state(guest_access::GUEST_ACCESS, "") && !guest_access::is_open(event.content().get().as_bytes());
    let number = blake3::hash(event.event_id().as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default();
    let number = u64::from_be_bytes(number);
    Arc::new(move |_, batch| {
        if let Some((position, index)) = staged {
            batch.delete(&STAGED, &(room, position, index));
        }
        if keeps_out {
            guest_access::note_due(batch, room, number);
        }
    })
}

/// The row of a staged event.
pub(super) fn row(pdu: &Pdu, origin: &OwnedServerName, (tries, next_try): (u8, u64)) -> StagedRow {
    StagedRow {
        event_id: pdu.event_id().to_string(),
        pdu: pdu.json().to_vec(),
        origin: origin.to_string(),
        tries,
        next_try,
    }
}

impl Inbox {
    /// The recorded answer to a transaction.
    pub(super) async fn recorded(&self, server: &OwnedServerName, txn_id: &str) -> Result<Option<String>, ReadError> {
        let key = txn_key(server, txn_id);
        Ok(self.0.store.read(move |view| view.get(&FED_TXN, &key)).await?.map(|row| row.answer))
    }

    /// Commits a transaction: its events, its receipts and its answer. Says what is to be told of typing.
    pub(super) async fn commit(
        &self,
        (server, txn_id): (&OwnedServerName, &str),
        sorted: &Sorted,
        edus: &Edus,
    ) -> Result<Vec<Started>, TransactionError> {
        let (reader, edus, clock) = (self.0.graph.reader().clone(), edus.clone(), self.0.clock.clone());
        let from = server.clone();
        let read = self.0.store.read(move |view| {
            let mut batch = Batch::new();
            let typing = edus.prepare(&reader, view, &mut batch, (&from, clock.now()))?;
            Ok::<_, ReadError>((typing, batch))
        });
        let (typing, mut batch) = read.await?;
        let (server_key, txn) = txn_key(server, txn_id);
        batch.assert_absent(&FED_TXN, &(&*server_key, &*txn));
        batch.put(&FED_TXN, &(&*server_key, &*txn), &TxnRow { answer: sorted.answer() });
        batch.put(&FED_TXN_AT, &(self.0.clock.now(), &*server_key, &*txn), &());
        for (index, event) in (0_u32..).zip(&sorted.good) {
            let (room, row) = (event.room, row(&event.pdu, server, (0, 0)));
            batch.put_at(&STAGED, move |position| ((room, position, index), row));
        }
        self.0.store.commit(batch).await?;
        Ok(typing)
    }

    /// Throws old answers away.
    pub(super) async fn throw_away(&self) -> Result<(), CommitError> {
        let until = self.0.clock.now().saturating_sub(KEEP_ANSWERS);
        loop {
            let old = self.0.store.read(move |view| view.scan(&FED_TXN_AT.span(&()).before(&(until,)), PAGE)).await;
            let old = match old {
                Ok(old) => old,
                Err(error) => {
                    tracing::warn!(%error, "old answers to other servers can't be read");
                    return Ok(());
                }
            };
            let mut batch = Batch::new();
            for ((at, server, txn), ()) in &old.rows {
                batch.delete(&FED_TXN, &(server, txn));
                batch.delete(&FED_TXN_AT, &(*at, server, txn));
            }
            if !batch.is_empty() {
                self.0.store.commit_lazy(batch).await?;
            }
            if !old.more {
                return Ok(());
            }
        }
    }
}

fn txn_key(server: &OwnedServerName, txn_id: &str) -> (String, String) {
    (bounded(server.as_str()).into_owned(), bounded(txn_id).into_owned())
}
