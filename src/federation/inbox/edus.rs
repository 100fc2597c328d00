//! EDUs of other servers: who is typing and up to where was read (server-server API, "Typing Notifications", "Receipts").
//! Only of users of the server that sends them; the rest, and what is of an unknown type, is ignored.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Inbox, TRIES};
use crate::{
    base::clock::UnixMillis,
    graph::{Membership, Reader, RoomNo},
    rooms::{
        for_servers,
        receipts::{self, ReceiptError, ReceiptType, Thread},
    },
    store::{Batch, CommitError, ReadError, View},
};

/// How long a notice of typing holds; servers repeat it more often than that.
const TYPING: Duration = Duration::from_secs(60);
/// Receipts of one transaction; more are not looked at.
const MOST_RECEIPTS: usize = 1_000;

/// Receipts that wait for their events, in all and in a room.
const MOST_EARLY: usize = 10_000;
const MOST_EARLY_OF_A_ROOM: usize = 100;

/// Up to where users have read: by user and thread, the event and the time that is said.
type Moved = BTreeMap<(OwnedUserId, Thread), (OwnedEventId, Option<UnixMillis>)>;

/// What is of use of the EDUs of a transaction.
#[derive(Clone, Default)]
pub(super) struct Edus {
    /// By room and user: the last of several counts.
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    receipts: BTreeMap<OwnedRoomId, Moved>,
    /// How many receipts were read.
    count: usize,
}

/// What of the EDUs of a transaction is not in its commit.
#[derive(Default)]
pub(super) struct Told {
    typing: Vec<Started>,
    /// Receipts for events that are not here (yet).
    early: Vec<(RoomNo, Early)>,
}

/// Somebody starts or stops typing.
struct Started {
    room: RoomNo,
    user_id: OwnedUserId,
    is_typing: bool,
}

/// A receipt for an event that is not here yet: often it comes in the same transaction, and is judged a moment later.
pub(super) struct Early {
    user_id: OwnedUserId,
    thread: Thread,
    event_id: OwnedEventId,
    ts: UnixMillis,
}

/// Receipts that wait for their events, in memory: a receipt is no event, and the next one makes up for it.
#[derive(Default)]
pub(super) struct EarlyReceipts(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    rooms: HashMap<RoomNo, VecDeque<Early>>,
    count: usize,
}

impl EarlyReceipts {
    fn keep(&self, room: RoomNo, early: Early) {
        let mut waiting = self.0.lock();
        let waiting = &mut *waiting;
        if waiting.count >= MOST_EARLY {
            return;
        }
        let of_room = waiting.rooms.entry(room).or_default();
        waiting.count = waiting.count.saturating_add(1);
        of_room.push_back(early);
        if of_room.len() > MOST_EARLY_OF_A_ROOM {
            of_room.pop_front();
            waiting.count = waiting.count.saturating_sub(1);
        }
    }

    /// Takes those for some events.
    fn take(&self, room: RoomNo, events: &HashSet<OwnedEventId>) -> Vec<Early> {
        let mut waiting = self.0.lock();
        let Some(of_room) = waiting.rooms.remove(&room) else { return Vec::new() };
        let (taken, left): (Vec<Early>, Vec<Early>) =
            of_room.into_iter().partition(|early| events.contains(&early.event_id));
        if !left.is_empty() {
            waiting.rooms.insert(room, left.into());
        }
        waiting.count = waiting.count.saturating_sub(taken.len());
        taken
    }

    /// Forgets those of a room: nothing is staged there any more that they could be for.
    pub(super) fn forget(&self, room: RoomNo) {
        let mut waiting = self.0.lock();
        let count = waiting.rooms.remove(&room).map_or(0, |of_room| of_room.len());
        waiting.count = waiting.count.saturating_sub(count);
    }
}

impl Inbox {
    /// Tells who is typing, and keeps what waits for events.
    pub(super) fn apply(&self, told: Told) {
        for Started { room, user_id, is_typing } in &told.typing {
            if *is_typing {
                self.0.typing.start(*room, user_id, TYPING);
            } else {
                self.0.typing.stop(*room, user_id);
            }
        }
        for (room, early) in told.early {
            self.0.early.keep(room, early);
        }
    }

    /// Moves the receipts that have waited for these events.
    pub(super) async fn move_early(&self, room: RoomNo, events: &HashSet<OwnedEventId>) {
        let taken = Arc::new(self.0.early.take(room, events));
        if taken.is_empty() {
            return;
        }
        for _ in 0..TRIES {
            let (reader, receipts) = (self.0.graph.reader().clone(), Arc::clone(&taken));
            let read = self.0.store.read(move |view| {
                let (mut batch, mut has_moved) = (Batch::new(), false);
                for Early { user_id, thread, event_id, ts } in &*receipts {
                    let receipt = (ReceiptType::Read, thread, &**event_id, *ts);
                    has_moved |= moved(receipts::put(&reader, view, &mut batch, (room, user_id), receipt))?;
                }
                if has_moved {
                    receipts::record(&mut batch, room);
                }
                Ok::<_, ReadError>(batch)
            });
            let Ok(batch) = read.await else { return };
            if batch.is_empty() {
                return;
            }
            match self.0.store.commit(batch).await {
                // Somebody's receipt moved meanwhile.
                Err(CommitError::Conflict) => {}
                _ => return,
            }
        }
    }
}

/// Whether a receipt has moved; what is wrong with it is as if it were not there.
fn moved(put: Result<bool, ReceiptError>) -> Result<bool, ReadError> {
    match put {
        Ok(moved) => Ok(moved),
        Err(ReceiptError::Read(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

impl Edus {
    /// Reads what a server sent. What is odd is as if it were not there.
    pub(super) fn read(edus: &[&RawValue], origin: &ServerName) -> Self {
        #[derive(Deserialize)]
        struct Edu<'a> {
            edu_type: String,
            #[serde(borrow)]
            content: &'a RawValue,
        }
        let mut read = Self::default();
        for edu in edus.iter().filter_map(|edu| serde_json::from_str::<Edu<'_>>(edu.get()).ok()) {
            match edu.edu_type.as_str() {
                "m.typing" => read.typing(edu.content, origin),
                "m.receipt" => read.receipts(edu.content, origin),
                other => tracing::debug!(kind = other, "an EDU of another server is ignored"),
            }
        }
        read
    }

    fn typing(&mut self, content: &RawValue, origin: &ServerName) {
        #[derive(Deserialize)]
        struct Content {
            room_id: OwnedRoomId,
            user_id: OwnedUserId,
            typing: bool,
        }
        let Ok(content) = serde_json::from_str::<Content>(content.get()) else { return };
        if content.user_id.server_name() == origin {
            self.typing.insert((content.room_id, content.user_id), content.typing);
        }
    }

    fn receipts(&mut self, content: &RawValue, origin: &ServerName) {
        #[derive(Deserialize)]
        struct Receipt {
            event_ids: Vec<OwnedEventId>,
            #[serde(default)]
            data: Data,
        }
        #[derive(Default, Deserialize)]
        struct Data {
            ts: Option<UnixMillis>,
            thread_id: Option<String>,
        }
        let rooms: BTreeMap<String, BTreeMap<String, Box<RawValue>>> =
            serde_json::from_str(content.get()).unwrap_or_default();
        for (room_id, kinds) in rooms {
            let Ok(room_id) = OwnedRoomId::try_from(room_id) else { continue };
            let of_users = kinds.get(ReceiptType::Read.as_str()).map_or("{}", |users| users.get());
            let users: BTreeMap<String, Box<RawValue>> = serde_json::from_str(of_users).unwrap_or_default();
            for (user_id, receipt) in users {
                let user_id = OwnedUserId::try_from(user_id).ok().filter(|user_id| user_id.server_name() == origin);
                let receipt: Option<Receipt> = serde_json::from_str(receipt.get()).ok();
                let (Some(user_id), Some(mut receipt)) = (user_id, receipt) else { continue };
                let thread = match receipt.data.thread_id.as_deref() {
                    None => Some(Thread::Unthreaded),
                    Some(thread_id) => Thread::parse(thread_id),
                };
                let (Some(thread), Some(event_id)) = (thread, receipt.event_ids.pop()) else { continue };
                if self.count < MOST_RECEIPTS {
                    self.count = self.count.saturating_add(1);
                    let of_room = self.receipts.entry(room_id.clone()).or_default();
                    of_room.insert((user_id, thread), (event_id, receipt.data.ts));
                }
            }
        }
    }

    /// Puts the receipts into the commit of the transaction, and says who is typing where. Both only of users who are in a
    /// room that lets their server in.
    pub(super) fn prepare(
        &self,
        reader: &Reader,
        view: &View<'_>,
        batch: &mut Batch,
        (origin, now): (&OwnedServerName, UnixMillis),
    ) -> Result<Told, ReadError> {
        let mut told = Told::default();
        for (room_id, of_room) in &self.receipts {
            let Some(room) = open_room(reader, view, room_id, origin)? else { continue };
            let users: Vec<&UserId> = of_room.keys().map(|(user_id, _)| &**user_id).collect();
            let are_in = joined(reader, view, room, &users)?;
            let mut has_moved = false;
            for (((user_id, thread), (event_id, ts)), is_in) in of_room.iter().zip(are_in) {
                if !is_in {
                    continue;
                }
                // Of the future nobody can have read anything.
                let ts = ts.unwrap_or(now).min(now);
                if reader.locate(view, event_id)?.is_none() {
                    let (user_id, thread, event_id) = (user_id.clone(), thread.clone(), event_id.clone());
                    told.early.push((room, Early { user_id, thread, event_id, ts }));
                    continue;
                }
                let receipt = (ReceiptType::Read, thread, &**event_id, ts);
                has_moved |= moved(receipts::put(reader, view, batch, (room, user_id), receipt))?;
            }
            if has_moved {
                receipts::record(batch, room);
            }
        }
        for ((room_id, user_id), is_typing) in &self.typing {
            let Some(room) = open_room(reader, view, room_id, origin)? else { continue };
            if joined(reader, view, room, &[user_id])?.contains(&true) {
                told.typing.push(Started { room, user_id: user_id.clone(), is_typing: *is_typing });
            }
        }
        Ok(told)
    }
}

/// A room in which this server is, and which lets the other one in.
fn open_room(
    reader: &Reader,
    view: &View<'_>,
    room_id: &OwnedRoomId,
    server: &ServerName,
) -> Result<Option<RoomNo>, ReadError> {
    let Some((room, head)) = reader.room(view, room_id)? else { return Ok(None) };
    if head.is_left || head.is_blocked || !for_servers::acl_allows(reader, view, (room, &head), server)? {
        return Ok(None);
    }
    Ok(Some(room))
}

fn joined(reader: &Reader, view: &View<'_>, room: RoomNo, users: &[&UserId]) -> Result<Vec<bool>, ReadError> {
    let wanted: Vec<_> = users.iter().map(|user_id| (room, *user_id)).collect();
    let members = reader.members_of(view, &wanted)?.into_iter();
    Ok(members.map(|member| member.is_some_and(|member| member.membership == Membership::Join)).collect())
}
