//! EDUs of other servers: who is typing and up to where was read (server-server API, "Typing Notifications", "Receipts").
//! Only of users of the server that sends them; the rest, and what is of an unknown type, is ignored.

use std::{collections::BTreeMap, time::Duration};

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    base::clock::UnixMillis,
    ephemeral::typing::Typing,
    graph::{Membership, Reader, RoomNo},
    rooms::{
        for_servers,
        receipts::{self, ReceiptError, ReceiptType, Thread},
    },
    store::{Batch, ReadError, View},
};

/// How long a notice of typing holds; servers repeat it more often than that.
const TYPING: Duration = Duration::from_secs(60);
/// Receipts of one transaction; more are not looked at.
const MOST_RECEIPTS: usize = 1_000;

/// Up to where users have read: by user and thread, the event and the time that is said.
type Moved = BTreeMap<(OwnedUserId, Thread), (OwnedEventId, Option<UnixMillis>)>;

/// What is of use of the EDUs of a transaction.
#[derive(Clone, Default)]
pub(super) struct Edus {
    /// By room and user: the last of several counts.
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    receipts: BTreeMap<OwnedRoomId, Moved>,
}

/// Somebody starts or stops typing.
pub(super) struct Started {
    room: RoomNo,
    user_id: OwnedUserId,
    is_typing: bool,
}

/// Tells who is typing.
pub(super) fn apply(typing: &Typing, started: &[Started]) {
    for Started { room, user_id, is_typing } in started {
        if *is_typing {
            typing.start(*room, user_id, TYPING);
        } else {
            typing.stop(*room, user_id);
        }
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
                let is_full = self.receipts.values().map(BTreeMap::len).sum::<usize>() >= MOST_RECEIPTS;
                if !is_full {
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
    ) -> Result<Vec<Started>, ReadError> {
        for (room_id, moved) in &self.receipts {
            let Some(room) = open_room(reader, view, room_id, origin)? else { continue };
            let users: Vec<&UserId> = moved.keys().map(|(user_id, _)| &**user_id).collect();
            let are_in = joined(reader, view, room, &users)?;
            let mut has_moved = false;
            for (((user_id, thread), (event_id, ts)), is_in) in moved.iter().zip(are_in) {
                if !is_in {
                    continue;
                }
                // Of the future nobody can have read anything.
                let ts = ts.unwrap_or(now).min(now);
                let receipt = (ReceiptType::Read, thread, &**event_id, ts);
                has_moved |= match receipts::put(reader, view, batch, (room, user_id), receipt) {
                    Ok(moved) => moved,
                    Err(ReceiptError::Read(error)) => return Err(error),
                    Err(_) => false,
                };
            }
            if has_moved {
                receipts::record(batch, room);
            }
        }
        let mut started = Vec::with_capacity(self.typing.len());
        for ((room_id, user_id), is_typing) in &self.typing {
            let Some(room) = open_room(reader, view, room_id, origin)? else { continue };
            if joined(reader, view, room, &[user_id])?.contains(&true) {
                started.push(Started { room, user_id: user_id.clone(), is_typing: *is_typing });
            }
        }
        Ok(started)
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
