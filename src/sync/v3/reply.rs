//! The body of a `/sync` response, written room by room as the rooms are read: nothing holds more than one of them.

use crate::base::json_writer::{Array, Object, string};

/// One event, as JSON.
pub type Json = Vec<u8>;

/// A response in the making.
#[derive(Debug, Default)]
pub struct SyncReply {
    join: Vec<u8>,
    invite: Vec<u8>,
    knock: Vec<u8>,
    leave: Vec<u8>,
    /// Account data that belongs to no room.
    pub account_data: Vec<Json>,
}

/// The timeline of a room in a response.
#[derive(Debug, Default)]
pub struct TimelineReply {
    /// Oldest first.
    pub events: Vec<Json>,
    /// Events between the last response and the first of these are left out.
    pub limited: bool,
    /// Where paging back from the first of these begins.
    pub prev_batch: Option<String>,
}

/// Which of the two state sections a response carries (`use_state_after`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateSection {
    /// `state`: up to the start of the timeline.
    Before,
    /// `state_after`: up to its end.
    After,
    /// The same under the name that it had as a proposal (MSC4222), for clients that ask by that name.
    AfterUnstable,
}

/// A room that the user has joined.
#[derive(Debug)]
pub struct JoinedReply {
    /// What happened.
    pub timeline: TimelineReply,
    /// What changed beside the timeline.
    pub state: Vec<Json>,
    /// Which section `state` is.
    pub section: StateSection,
    /// Receipts and typing.
    pub ephemeral: Vec<Json>,
    /// The user's account data for the room.
    pub account_data: Vec<Json>,
    /// `summary`, already an object.
    pub summary: Option<Json>,
    /// `unread_notifications`, already an object.
    pub unread: Option<Json>,
    /// `unread_thread_notifications`, already an object.
    pub unread_threads: Option<Json>,
}

impl JoinedReply {
    /// Whether a client learns anything from it.
    pub fn is_empty(&self) -> bool {
        self.timeline.events.is_empty()
            && !self.timeline.limited
            && self.state.is_empty()
            && self.ephemeral.is_empty()
            && self.account_data.is_empty()
            && self.summary.is_none()
            && self.unread.is_none()
            && self.unread_threads.is_none()
    }
}

/// A room that the user has left, or was kicked or banned from.
#[derive(Debug)]
pub struct LeftReply {
    /// What happened up to the leave.
    pub timeline: TimelineReply,
    /// What changed beside the timeline.
    pub state: Vec<Json>,
    /// Which section `state` is.
    pub section: StateSection,
    /// The user's account data for the room.
    pub account_data: Vec<Json>,
}

/// A room that the user is invited to or has knocked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// `invite`, with `invite_state`.
    Invite,
    /// `knock`, with `knock_state`.
    Knock,
}

impl SyncReply {
    /// Whether a client learns nothing from it.
    pub fn is_empty(&self) -> bool {
        [&self.join, &self.invite, &self.knock, &self.leave].into_iter().all(Vec::is_empty)
            && self.account_data.is_empty()
    }

    /// How long the body is about to be, in bytes.
    pub fn len(&self) -> usize {
        [&self.join, &self.invite, &self.knock, &self.leave].into_iter().map(Vec::len).sum()
    }

    /// Adds a joined room.
    pub fn joined(&mut self, room_id: &str, room: &JoinedReply) {
        let mut object = member(&mut self.join, room_id);
        timeline(&mut object, &room.timeline);
        state(&mut object, room.section, &room.state);
        events(&mut object, "ephemeral", &room.ephemeral);
        events(&mut object, "account_data", &room.account_data);
        for (name, value) in [
            ("summary", &room.summary),
            ("unread_notifications", &room.unread),
            ("unread_thread_notifications", &room.unread_threads),
        ] {
            if let Some(value) = value {
                object.raw(name, value);
            }
        }
        object.end();
    }

    /// Adds a left room.
    pub fn left(&mut self, room_id: &str, room: &LeftReply) {
        let mut object = member(&mut self.leave, room_id);
        timeline(&mut object, &room.timeline);
        state(&mut object, room.section, &room.state);
        events(&mut object, "account_data", &room.account_data);
        object.end();
    }

    /// Adds a room that the user is not in yet.
    pub fn pending(&mut self, room_id: &str, pending: Pending, stripped_state: &[Json]) {
        let (out, name) = match pending {
            Pending::Invite => (&mut self.invite, "invite_state"),
            Pending::Knock => (&mut self.knock, "knock_state"),
        };
        let mut object = member(out, room_id);
        events(&mut object, name, stripped_state);
        object.end();
    }

    /// The whole body.
    pub fn finish(self, next_batch: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len().saturating_add(256));
        let mut object = Object::begin(&mut out);
        object.value("next_batch", next_batch);
        if !self.account_data.is_empty() {
            events(&mut object, "account_data", &self.account_data);
        }
        let sections = [("join", self.join), ("invite", self.invite), ("knock", self.knock), ("leave", self.leave)];
        if sections.iter().any(|(_, members)| !members.is_empty()) {
            object.object("rooms", |rooms| {
                for (name, members) in sections {
                    if !members.is_empty() {
                        let out = rooms.key(name);
                        out.push(b'{');
                        out.extend_from_slice(&members);
                        out.push(b'}');
                    }
                }
            });
        }
        object.end();
        out
    }
}

/// Begins `"room_id": {` in a section.
fn member<'a>(section: &'a mut Vec<u8>, room_id: &str) -> Object<'a> {
    if !section.is_empty() {
        section.push(b',');
    }
    string(section, room_id);
    section.push(b':');
    Object::begin(section)
}

fn timeline(object: &mut Object<'_>, timeline: &TimelineReply) {
    object.object("timeline", |object| {
        object.array("events", |array| all(array, &timeline.events));
        object.value("limited", &timeline.limited);
        if let Some(prev_batch) = &timeline.prev_batch {
            object.value("prev_batch", prev_batch);
        }
    });
}

fn state(object: &mut Object<'_>, section: StateSection, state: &[Json]) {
    let name = match section {
        StateSection::Before => "state",
        StateSection::After => "state_after",
        StateSection::AfterUnstable => "org.matrix.msc4222.state_after",
    };
    events(object, name, state);
}

fn events(object: &mut Object<'_>, name: &str, events: &[Json]) {
    object.object(name, |object| object.array("events", |array| all(array, events)));
}

fn all(array: &mut Array<'_>, events: &[Json]) {
    for event in events {
        array.raw(event);
    }
}
