//! One look: everything that is new for a client, out of one snapshot.

use std::{collections::HashMap, sync::Arc};

use super::{
    SyncRequest, joined, left,
    reply::{Pending, StateSection, SyncReply},
    room,
};
use crate::{
    base::{clock::UnixMillis, json_writer::Object},
    ephemeral::typing::Typing,
    graph::{Head, Membership, Reader, RoomNo, UserRoom, outside::Outside},
    push::Steps,
    rooms::{events::Recipient, filter::Subject, ignored::Ignored},
    store::{Position, ReadError, View},
    sync::{
        lazy_members::Memory,
        recent::Recents,
        subscriber::{Subscriber, Touched},
        unread::{Counted, Memos},
    },
    users::account_data::{self, Entry},
};

/// Entries of account data that one response may carry.
const MOST_ACCOUNT_DATA: usize = 100_000;

/// What is looked for.
pub(super) struct Question {
    pub(super) request: Arc<SyncRequest>,
    /// Everything at or below was sent.
    pub(super) since: Option<Position>,
    /// Everything at or below is to be sent now.
    pub(super) through: Position,
    /// What was touched in between, if the subscriber knows it all.
    pub(super) touched: Option<Vec<Touched>>,
    /// Changes of typing that were sent, by this process.
    pub(super) counted: Option<u64>,
    /// Changes of typing that there are.
    pub(super) ephemeral: u64,
    pub(super) memory: Memory,
    pub(super) now: UnixMillis,
    pub(super) reader: Reader,
    pub(super) recents: Arc<Recents>,
    pub(super) memos: Arc<Memos>,
    pub(super) typing: Typing,
    pub(super) subscriber: Arc<Subscriber>,
}

/// What was found.
pub(super) struct Answer {
    pub(super) reply: SyncReply,
    pub(super) through: Position,
    pub(super) ephemeral: u64,
    pub(super) memory: Option<Memory>,
    pub(super) unread: Vec<Counted>,
    /// What counting may still cost.
    pub(super) steps: Steps,
}

impl Answer {
    pub(super) fn nothing(through: Position, ephemeral: u64) -> Self {
        Self {
            reply: SyncReply::default(),
            through,
            ephemeral,
            memory: None,
            unread: Vec::new(),
            steps: Steps::default(),
        }
    }
}

impl Question {
    pub(super) fn recipient(&self) -> Recipient {
        Recipient { user_id: self.request.user_id.clone(), device_id: self.request.device_id.clone(), now: self.now }
    }

    pub(super) fn section(&self) -> StateSection {
        self.request.state
    }
}

/// A room of the user's, with all that is read of many rooms at once.
pub(super) struct Place<'a> {
    /// Who is not listened to.
    pub(super) ignored: &'a Ignored,
    /// The user takes no invites.
    pub(super) blocks_invites: bool,
    pub(super) room: RoomNo,
    pub(super) head: &'a Head,
    pub(super) row: &'a UserRoom,
    /// What stands of the user from outside of the room.
    pub(super) outside: Option<&'a Outside>,
    /// The user's account data for it that is to be sent.
    pub(super) account_data: Vec<Entry>,
}

pub(super) fn collect(question: &Question, view: &View<'_>) -> Result<Answer, ReadError> {
    let mut answer = Answer::nothing(question.through, question.ephemeral);
    let mut memory = question.memory.clone();
    let rooms = rooms(question, view)?;
    let read_ignored = || account_data::ignored(view, &question.request.user_id);
    let ignored = question.subscriber.prepared.ignored(view.horizon(), read_ignored)?;
    let is_invited = rooms.iter().any(|(_, row)| row.membership == Membership::Invite);
    let read_blocks = || account_data::blocks_invites(view, &question.request.user_id);
    let blocks_invites = is_invited && question.subscriber.prepared.blocks_invites(view.horizon(), read_blocks)?;
    let numbers: Vec<RoomNo> = rooms.iter().map(|(room, _)| *room).collect();
    let mut heads = question.reader.heads(view, &numbers)?;
    let outside = outside(question, view, &rooms)?;
    for (outside, head) in outside.iter().zip(&mut heads).filter(|(_, head)| head.is_none()) {
        // A room that this server is not in: what is known of it stands with the user.
        *head = outside.as_ref().map(|outside| Head::new(&outside.room_id, &outside.room_version));
    }
    let (global, mut by_room) = account_data(question, view, &rooms, &heads)?;
    answer.reply.account_data = global;
    let is_wanted = |(row, head): (&UserRoom, &Head)| {
        // That the user is gone from a forgotten room their other clients still learn.
        let is_known = !row.forgotten || question.since.is_some_and(|since| row.position > since);
        is_known && question.request.filter.room.allows_room(head.room_id.as_str())
    };
    let wanted: Vec<_> = rooms
        .iter()
        .zip(heads.iter().zip(&outside))
        .filter_map(|((room, row), (head, outside))| {
            Some(((*room, row, head.as_ref().filter(|head| is_wanted((row, head)))?), outside.as_ref()))
        })
        .collect();
    let is_joined = |(_, row, _): &(RoomNo, &UserRoom, &Head)| row.membership == Membership::Join;
    let joined: Vec<_> = wanted.iter().map(|(wanted, _)| *wanted).filter(is_joined).collect();
    let mut joined = joined::read(question, view, &joined)?.into_iter();
    for ((room, row, head), outside) in wanted {
        let account_data = by_room.remove(head.room_id.as_str()).unwrap_or_default();
        let place = Place { ignored: &ignored, blocks_invites, room, head, row, outside, account_data };
        match row.membership {
            Membership::Join => {
                let Some(read) = joined.next() else { continue };
                room::joined(question, view, (place, read), &mut memory, &mut answer)?;
            }
            Membership::Invite => left::pending(question, view, &place, Pending::Invite, &mut answer.reply)?,
            Membership::Knock => left::pending(question, view, &place, Pending::Knock, &mut answer.reply)?,
            Membership::Leave | Membership::Ban => left::left(question, view, place, &mut memory, &mut answer.reply)?,
        }
    }
    answer.memory = Some(memory);
    Ok(answer)
}

/// The rooms that may have news: those that were touched, or all of the user's.
fn rooms(question: &Question, view: &View<'_>) -> Result<Vec<(RoomNo, UserRoom)>, ReadError> {
    let user_id = &question.request.user_id;
    let touched = question.touched.as_ref().filter(|_| !question.request.full_state);
    let Some(touched) = touched else { return question.reader.user_rooms(view, user_id) };
    let mut rooms: Vec<RoomNo> = touched
        .iter()
        .filter_map(|what| match what {
            Touched::Room(room) | Touched::Receipts(room) | Touched::Ephemeral(room) => Some(*room),
            Touched::User => None,
        })
        .collect();
    if let (Some(since), true) = (question.since, touched.contains(&Touched::User)) {
        // Account data belongs to rooms that nothing else may have touched.
        for entry in account_data::since(view, user_id, since, MOST_ACCOUNT_DATA)? {
            if let Ok(room_id) = ruma::RoomId::parse(&*entry.room_id) {
                rooms.extend(question.reader.room_no(view, &room_id)?);
            }
        }
    }
    rooms.sort_unstable();
    rooms.dedup();
    let rows = question.reader.user_rooms_of(view, user_id, &rooms)?;
    Ok(rooms.into_iter().zip(rows).filter_map(|(room, row)| Some((room, row?))).collect())
}

/// What came from outside of the rooms, as far as it is new.
fn outside(
    question: &Question,
    view: &View<'_>,
    rooms: &[(RoomNo, UserRoom)],
) -> Result<Vec<Option<Outside>>, ReadError> {
    let is_new = |row: &UserRoom| match question.since {
        Some(since) => row.position > since,
        None => !row.forgotten,
    };
    let new: Vec<bool> = rooms.iter().map(|(_, row)| is_new(row)).collect();
    let rows = rooms.iter().zip(&new).filter(|(_, is_new)| **is_new).map(|((room, row), _)| (*room, row));
    let mut found = question.reader.outside_of(view, &question.request.user_id, rows)?.into_iter();
    Ok(new.into_iter().map(|is_new| if is_new { found.next().flatten() } else { None }).collect())
}

type ByRoom = HashMap<String, Vec<Entry>>;

/// Account data to be sent: what belongs to no room, written, and the rest by room.
fn account_data(
    question: &Question,
    view: &View<'_>,
    rooms: &[(RoomNo, UserRoom)],
    heads: &[Option<Head>],
) -> Result<(Vec<Vec<u8>>, ByRoom), ReadError> {
    let user_id = &question.request.user_id;
    let mut entries = match (question.since, &question.touched) {
        (Some(_), Some(touched)) if !touched.contains(&Touched::User) => Vec::new(),
        (Some(since), _) => account_data::since(view, user_id, since, MOST_ACCOUNT_DATA)?,
        (None, _) => {
            let wanted = rooms.iter().zip(heads).filter(|((_, row), _)| !row.forgotten);
            let ids = wanted.filter_map(|(_, head)| head.as_ref().map(|head| &*head.room_id));
            let of_rooms = account_data::rooms(view, user_id, ids)?;
            account_data::scope(view, user_id, None)?.into_iter().chain(of_rooms.into_iter().flatten()).collect()
        }
    };
    // Push rules are account data that everybody has, also before they change them.
    if question.since.is_none() && !entries.iter().any(|entry| entry.room_id.is_empty() && entry.kind == "m.push_rules")
    {
        let content = crate::push::rules::read(view, user_id)?.to_content().get().to_owned();
        let (room_id, kind) = (String::new(), "m.push_rules".to_owned());
        entries.push(Entry { room_id, kind, content, position: Position::ZERO });
    }
    let (mut global, mut by_room) = (Vec::new(), ByRoom::new());
    for entry in entries {
        let subject = Subject { kind: &entry.kind, sender: "", has_url: false };
        if !entry.room_id.is_empty() {
            by_room.entry(entry.room_id.clone()).or_default().push(entry);
        } else if question.request.filter.account_data.allows(subject) {
            global.push(write_entry(&entry));
        }
    }
    Ok((global, by_room))
}

/// An entry of account data as clients get it.
pub(super) fn write_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.content.len().saturating_add(64));
    let mut object = Object::begin(&mut out);
    object.raw("content", entry.content.as_bytes());
    object.value("type", &entry.kind);
    object.end();
    out
}
