//! Staged events: acknowledged, durable, not judged yet. How many and how large, in a room, of a server and in all, is
//! bounded.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use ruma::OwnedServerName;

use super::{
    Inbox, TransactionError,
    edus::{Edus, Told},
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
/// What of that only those servers may take of which little is staged, so that a few can't shut out all others.
const FOR_THE_SMALL: Amount = Amount { events: 25_000, bytes: 16 << 20 };
/// How much little is.
const LITTLE: Amount = Amount { events: 500, bytes: 1 << 20 };
/// What may be staged in one room; what goes beyond is ignored, and is fetched again as what later events cite.
const OF_A_ROOM: Amount = Amount { events: 10_000, bytes: 32 << 20 };
/// What of one server.
const OF_A_SERVER_IN_A_ROOM: Amount = Amount { events: 1_000, bytes: 8 << 20 };
/// What of all servers together that are not in the room.
const OF_STRANGERS_IN_A_ROOM: Amount = Amount { events: 100, bytes: 1 << 20 };
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

    const fn less(self, other: Self) -> Self {
        Self { events: self.events.saturating_sub(other.events), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    fn and(self, other: Self) -> Self {
        Self { events: self.events.saturating_add(other.events), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// What is staged in a room.
#[derive(Default)]
struct OfRoom {
    all: Amount,
    /// By server, and whether that was in the room when it began.
    servers: HashMap<OwnedServerName, (Amount, bool)>,
}

impl OfRoom {
    fn has_room(&self, server: &OwnedServerName, bytes: usize, is_in: bool) -> bool {
        let own = self.servers.get(server).map(|(own, _)| *own).unwrap_or_default();
        let strangers = || {
            let amounts = self.servers.values().filter(|(_, is_in)| !is_in);
            amounts.fold(Amount::default(), |sum, (amount, _)| sum.and(*amount))
        };
        self.all.has_room(bytes, OF_A_ROOM)
            && own.has_room(bytes, OF_A_SERVER_IN_A_ROOM)
            && (is_in || strangers().has_room(bytes, OF_STRANGERS_IN_A_ROOM))
    }
}

#[derive(Default)]
struct Counts {
    all: Amount,
    rooms: HashMap<RoomNo, OfRoom>,
    servers: HashMap<OwnedServerName, Amount>,
}

impl Counts {
    fn has_room(&self, server: &OwnedServerName, bytes: usize) -> bool {
        let own = self.servers.get(server).copied().unwrap_or_default();
        let most = if own.has_room(bytes, LITTLE) { OF_ALL } else { OF_ALL.less(FOR_THE_SMALL) };
        own.has_room(bytes, OF_A_SERVER) && self.all.has_room(bytes, most)
    }

    fn add(&mut self, room: RoomNo, (server, is_in): (&OwnedServerName, bool), bytes: usize) {
        self.all.add(bytes);
        self.servers.entry(server.clone()).or_default().add(bytes);
        let of_room = self.rooms.entry(room).or_default();
        of_room.all.add(bytes);
        of_room.servers.entry(server.clone()).or_insert((Amount::default(), is_in)).0.add(bytes);
    }

    fn remove(&mut self, room: RoomNo, server: &OwnedServerName, bytes: usize) {
        self.all.remove(bytes);
        if let Entry::Occupied(mut own) = self.servers.entry(server.clone()) {
            own.get_mut().remove(bytes);
            if own.get().events == 0 {
                own.remove();
            }
        }
        let Entry::Occupied(mut of_room) = self.rooms.entry(room) else { return };
        of_room.get_mut().all.remove(bytes);
        if let Entry::Occupied(mut own) = of_room.get_mut().servers.entry(server.clone()) {
            own.get_mut().0.remove(bytes);
            if own.get().0.events == 0 {
                own.remove();
            }
        }
        if of_room.get().all.events == 0 {
            of_room.remove();
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
                let of_room = counts.rooms.get(&event.room);
                if of_room.is_some_and(|of_room| !of_room.has_room(server, bytes, event.is_in)) {
                    full.push(event.pdu);
                    continue;
                }
                has_room &= counts.has_room(server, bytes);
                counts.add(event.room, (server, event.is_in), bytes);
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
                    counts.add(room, (&server, true), bytes);
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

    /// Commits a transaction: its events, its receipts and its answer. Says what of its EDUs is not in the commit.
    pub(super) async fn commit(
        &self,
        (server, txn_id): (&OwnedServerName, &str),
        sorted: &Sorted,
        edus: &Edus,
    ) -> Result<Told, TransactionError> {
        let (reader, edus, clock) = (self.0.graph.reader().clone(), edus.clone(), self.0.clock.clone());
        let from = server.clone();
        let read = self.0.store.read(move |view| {
            let mut batch = Batch::new();
            let told = edus.prepare(&reader, view, &mut batch, (&from, clock.now()))?;
            Ok::<_, ReadError>((told, batch))
        });
        let (told, mut batch) = read.await?;
        // What has changed nothing is as good as not recorded: the same is answered again.
        if sorted.good.is_empty() && batch.is_empty() {
            return Ok(told);
        }
        let (server_key, txn) = txn_key(server, txn_id);
        batch.assert_absent(&FED_TXN, &(&*server_key, &*txn));
        batch.put(&FED_TXN, &(&*server_key, &*txn), &TxnRow { answer: sorted.answer() });
        batch.put(&FED_TXN_AT, &(self.0.clock.now(), &*server_key, &*txn), &());
        for (index, event) in (0_u32..).zip(&sorted.good) {
            let (room, row) = (event.room, row(&event.pdu, server, (0, 0)));
            batch.put_at(&STAGED, move |position| ((room, position, index), row));
        }
        self.0.store.commit(batch).await?;
        Ok(told)
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

#[cfg(test)]
mod tests {
    use ruma::{ServerName, server_name};

    use super::*;

    const ROOM: RoomNo = RoomNo(1);
    const BYTES: usize = 500;

    /// How many events a server gets into a room.
    fn fill(counts: &mut Counts, room: RoomNo, server: &ServerName, is_in: bool) -> usize {
        let server = server.to_owned();
        let mut taken = 0;
        while counts.rooms.get(&room).is_none_or(|of_room| of_room.has_room(&server, BYTES, is_in))
            && counts.has_room(&server, BYTES)
        {
            counts.add(room, (&server, is_in), BYTES);
            taken += 1;
        }
        taken
    }

    #[test]
    fn nobody_shuts_others_out_of_a_room() {
        let mut counts = Counts::default();
        let (one, other) = (server_name!("a.b"), server_name!("c.d"));
        assert_eq!(fill(&mut counts, ROOM, one, true), OF_A_SERVER_IN_A_ROOM.events);
        assert_eq!(fill(&mut counts, ROOM, other, true), OF_A_SERVER_IN_A_ROOM.events);
        let strangers: usize = (0..5)
            .map(|at| fill(&mut counts, ROOM, &OwnedServerName::try_from(format!("s{at}.x")).unwrap(), false))
            .sum();
        assert_eq!(strangers, OF_STRANGERS_IN_A_ROOM.events);
        assert!(fill(&mut counts, ROOM, server_name!("e.f"), true) > 0);
        for (server, count) in [(one, OF_A_SERVER_IN_A_ROOM.events), (other, OF_A_SERVER_IN_A_ROOM.events)] {
            (0..count).for_each(|_| counts.remove(ROOM, &server.to_owned(), BYTES));
        }
        assert!(!counts.servers.contains_key(one) && !counts.rooms[&ROOM].servers.contains_key(one));
    }

    #[test]
    fn some_room_is_left_for_those_who_send_little() {
        let mut counts = Counts::default();
        let most = OF_ALL.less(FOR_THE_SMALL).events;
        for at in 0..40 {
            let server = OwnedServerName::try_from(format!("s{at}.x")).unwrap();
            for room in 0..25 {
                fill(&mut counts, RoomNo(room), &server, true);
            }
        }
        assert!(counts.all.events >= most && counts.all.events < OF_ALL.events, "{}", counts.all.events);
        assert!(counts.has_room(&server_name!("small.x").to_owned(), BYTES));
        assert!(!counts.has_room(&OwnedServerName::try_from("s0.x").unwrap(), BYTES));
    }
}
