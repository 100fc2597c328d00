//! The rows of a draft.

use bytes::Bytes;

use super::{
    draft::{Draft, Drafted},
    relations::RelationChange,
};
use crate::{
    base::clock::UnixMillis,
    graph::{
        Delivery, Head, RoomNo,
        event_row::{EventMeta, StoredEvent},
        keys::{
            AUTH, BY_TIME, EVENT, EVENT_ID, EVENT_META, GAP, HEAD, MISSING, NEXT_INDEXES, NODE, ORIGINAL, RELATION,
            RESOLVED, ROOM_LOG, ROOM_ROOT, SLOT, SLOT_NAME, THREAD, TIMELINE, bounded,
        },
        log::{Entry, Stream, record, record_event},
        rows::{AuthEvents, EventAt, Gap, Logged, Original},
        types::{Root, Seq, Status, Tie},
    },
    store::{Batch, Position},
};

/// What of a head is known only once its commit has a position.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    placed: bool,
    relayed: bool,
    switched: bool,
}

impl Stamps {
    /// The head as it was committed at `position`.
    pub(super) fn stamp(self, mut head: Head, position: Position) -> Head {
        if self.placed {
            head.last_position = position;
        }
        if self.relayed {
            head.last_relayed_position = position;
        }
        if self.switched {
            head.indexes_since = position;
        }
        head
    }
}

/// All rows of a draft, and the assertion of the head that it was built on. `None` if it changes nothing.
pub(super) fn rows(draft: &mut Draft<'_, '_>) -> (Option<Batch>, Stamps) {
    if draft.events.is_empty() {
        return (None, Stamps::default());
    }
    let mut batch = Batch::new();
    let room = draft.room.no;
    draft.head.version += 1;
    match &draft.taken {
        Some(taken) => batch.assert_is(&HEAD, &(room,), &taken.reserved),
        None if draft.room.head.version == 0 => batch.assert_absent(&HEAD, &(room,)),
        None => batch.assert_is(&HEAD, &(room,), &draft.room.head),
    }
    let switched = draft.taken.as_ref().and_then(|taken| taken.indexes);
    if let Some(row) = switched {
        batch.put(&NEXT_INDEXES, &(room,), &row);
    }
    for (index, event) in draft.events.iter().enumerate() {
        event_rows(
            &mut batch,
            room,
            u8::try_from(index).unwrap_or(u8::MAX),
            event,
            draft.now + draft.env.keep_redacted,
        );
    }
    released_rows(&mut batch, draft);
    redacted_rows(&mut batch, draft);
    state_rows(&mut batch, draft);
    relation_rows(&mut batch, draft);
    std::mem::take(&mut draft.indexes).write(room, draft.head.index_generation, &mut batch);
    let stamps = Stamps {
        placed: draft.events.iter().any(|event| event.in_graph),
        relayed: draft.events.iter().any(|event| event.relay && event.in_graph),
        switched: switched.is_some(),
    };
    let head = draft.head.clone();
    batch.put_at(&HEAD, move |position| ((room,), stamps.stamp(head, position)));
    (Some(batch), stamps)
}

fn meta_of(event: &Drafted, tie: Tie) -> EventMeta {
    EventMeta {
        status: event.status,
        root_before: event.root_before,
        depth: event.depth,
        tie,
        redacted_by: event.redacted_by,
        local_echo: event.local_echo.clone(),
        relay: event.relay,
        partial: false,
    }
}

fn event_rows(batch: &mut Batch, room: RoomNo, index: u8, event: &Drafted, expires: UnixMillis) {
    let seq = event.seq;
    batch.put(&EVENT, &(room, seq), &event.body);
    batch.put(&EVENT_ID, &(&*bounded(event.body.event_id.as_str()),), &EventAt { room, seq });
    if let Some(original) = &event.original {
        put_original(batch, room, seq, original, expires);
    }
    if let Some(auth) = &event.auth {
        batch.put(&AUTH, &(room, seq), &AuthEvents(auth.clone()));
    }
    let meta = meta_of(event, Tie::default());
    if !event.in_graph {
        batch.put(&EVENT_META, &(room, seq), &meta);
        return;
    }
    if event.is_old {
        return old_rows(batch, room, index, event, meta);
    }
    let Some(delivered) = &event.delivery else {
        if event.relay && event.status == Status::Held {
            // Nobody here sees it yet, but others are to be sent it.
            record(batch, Entry::room(Stream::Room, room).of(u64::from(seq.0)));
        }
        batch.put_at(&EVENT_META, move |position| ((room, seq), EventMeta { tie: Tie::live(position, index), ..meta }));
        return;
    };
    let delivery = Delivery {
        room,
        seq,
        index: u32::from(index),
        event: event.body.clone(),
        meta,
        root_after: delivered.root_after,
        change: delivered.change.clone(),
        redacts: event.redacts,
    };
    deliver(batch, delivery, delivered.max_depth);
}

/// The rows of an event of further back: in the graph's order, for those who read history.
fn old_rows(batch: &mut Batch, room: RoomNo, index: u8, event: &Drafted, meta: EventMeta) {
    let (seq, depth) = (event.seq, event.depth);
    batch.put_at(&EVENT_META, move |position| {
        ((room, seq), EventMeta { tie: Tie::backfilled(position, index), ..meta })
    });
    if event.status == Status::Accepted {
        batch.put_at(&TIMELINE, move |position| ((room, depth, Tie::backfilled(position, index)), seq));
        batch.put(&BY_TIME, &(room, event.body.origin_server_ts, seq), &());
    }
}

/// The rows of an event that clients see from now on.
fn deliver(batch: &mut Batch, mut delivery: Delivery, max_depth: u64) {
    let (room, seq, index) = (delivery.room, delivery.seq, delivery.index);
    let tie_at = move |position| Tie::live(position, u8::try_from(index).unwrap_or(u8::MAX));
    let (meta, depth) = (delivery.meta.clone(), delivery.meta.depth);
    batch.put_at(&EVENT_META, move |position| ((room, seq), EventMeta { tie: tie_at(position), ..meta }));
    batch.put_at(&TIMELINE, move |position| ((room, depth, tie_at(position)), seq));
    batch.put_at(&ROOM_LOG, move |position| ((room, position, index), Logged { seq, max_depth }));
    batch.put(&BY_TIME, &(room, delivery.event.origin_server_ts, seq), &());
    record_event(batch, Entry::room(Stream::Room, room).of(u64::from(seq.0)), move |position| {
        delivery.meta.tie = tie_at(position);
        delivery
    });
}

fn put_original(batch: &mut Batch, room: RoomNo, seq: Seq, original: &Bytes, expires: UnixMillis) {
    batch.put(&ORIGINAL, &(room, seq), &Original { expires, pdu: original.to_vec() });
}

/// Redactions that waited for their target are delivered now, behind the events of the draft.
fn released_rows(batch: &mut Batch, draft: &Draft<'_, '_>) {
    for (offset, released) in draft.released.iter().enumerate() {
        let index = u32::try_from(draft.events.len() + offset).unwrap_or(u32::MAX);
        let delivery = Delivery {
            room: draft.room.no,
            seq: released.seq,
            index,
            event: released.body.clone(),
            meta: released.meta.clone(),
            root_after: released.root_after,
            change: None,
            redacts: Some(released.target),
        };
        deliver(batch, delivery, released.max_depth);
    }
}

fn redacted_rows(batch: &mut Batch, draft: &Draft<'_, '_>) {
    let (room, expires) = (draft.room.no, draft.now + draft.env.keep_redacted);
    for (seq, redacted) in &draft.redacted {
        let body: &StoredEvent = &redacted.body;
        batch.put(&EVENT, &(room, *seq), body);
        batch.put(&EVENT_META, &(room, *seq), &redacted.meta);
        put_original(batch, room, *seq, &redacted.original, expires);
    }
}

fn state_rows(batch: &mut Batch, draft: &Draft<'_, '_>) {
    let room = draft.room.no;
    for (name, node) in &draft.nodes.nodes {
        batch.put(&NODE, &(room, *name), &**node);
    }
    for (key, slot) in &draft.new_slots {
        batch.put(&SLOT, &(room, &*bounded(&key.kind), &*bounded(&key.state_key)), slot);
        batch.put(&SLOT_NAME, &(room, *slot), key);
    }
    for (name, root) in &draft.resolved {
        batch.put(&RESOLVED, &(room, *name), root);
    }
    let root: Root = draft.head.root;
    if root != draft.room.head.root {
        batch.put_at(&ROOM_ROOT, move |position| ((room, position), root));
        if draft.events.iter().all(|event| event.delivery.is_none()) {
            record(batch, Entry::room(Stream::Room, room));
        }
    }
}

fn relation_rows(batch: &mut Batch, draft: &Draft<'_, '_>) {
    let room = draft.room.no;
    // The tie of an event of the draft, once there is a position.
    let tie_of = |seq: Seq| {
        let index = draft.events.iter().rposition(|event| event.seq == seq).unwrap_or(usize::MAX);
        let is_old = draft.events.get(index).is_some_and(|event| event.is_old);
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        move |position| if is_old { Tie::backfilled(position, index) } else { Tie::live(position, index) }
    };
    for change in &draft.relation_changes {
        match *change {
            RelationChange::Added { target, hash, seq } => {
                let tie = tie_of(seq);
                batch.put_at(&RELATION, move |position| ((room, target, hash, tie(position)), seq));
            }
            RelationChange::Removed { target, hash, tie } => batch.delete(&RELATION, &(room, target, hash, tie)),
            RelationChange::Found { target, hash, tie, seq } => batch.put(&RELATION, &(room, target, hash, tie), &seq),
        }
    }
    for (root, thread) in &draft.threads {
        if let Some(stored) = thread.stored {
            batch.delete(&THREAD, &(room, stored, *root));
        }
        let root = *root;
        match (thread.last, thread.last_stored) {
            (Some(last), _) => {
                let tie = tie_of(last);
                batch.put_at(&THREAD, move |position| ((room, tie(position), root), ()));
            }
            (None, Some(tie)) => batch.put(&THREAD, &(room, tie, root), &()),
            (None, None) => {}
        }
    }
    for ((depth, seq), missing) in &draft.gaps {
        if missing.is_empty() {
            batch.delete(&GAP, &(room, *depth, *seq));
        } else {
            batch.put(&GAP, &(room, *depth, *seq), &Gap { missing: missing.clone(), last_try: 0 });
        }
    }
    for missing in &draft.missing {
        batch.put(&MISSING, &(room, &*bounded(missing.event_id.as_str()), missing.citing), &());
    }
    for found in &draft.found {
        batch.delete(&MISSING, &(room, &*bounded(found.event_id.as_str()), found.citing));
    }
}
