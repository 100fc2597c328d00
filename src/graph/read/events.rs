//! Events by number and by id.

use std::ops::Deref;

use ruma::EventId;

use super::Reader;
use crate::{
    graph::{
        event_row::{EventMeta, StoredEvent},
        keys::{EVENT, EVENT_ID, EVENT_META, ORIGINAL, bounded},
        rows::{EventAt, Original},
        types::{RoomNo, Seq, Status},
    },
    store::{ReadError, View},
};

/// An event as it is stored: its body (to which this dereferences) and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its room.
    pub room: RoomNo,
    /// Its number there.
    pub seq: Seq,
    /// Its body.
    pub body: StoredEvent,
    /// What became of it.
    pub meta: EventMeta,
}

impl Event {
    /// Whether clients may be shown it, if its history visibility lets them.
    pub fn is_accepted(&self) -> bool {
        self.meta.status == Status::Accepted
    }
}

impl Deref for Event {
    type Target = StoredEvent;
    fn deref(&self) -> &StoredEvent {
        &self.body
    }
}

impl Reader {
    /// Where an event is.
    pub fn locate(&self, view: &View<'_>, event_id: &EventId) -> Result<Option<EventAt>, ReadError> {
        view.get(&EVENT_ID, &(&*bounded(event_id.as_str()),))
    }

    /// Where many events are, in their order: one wave.
    pub fn locate_many(
        &self,
        view: &View<'_>,
        event_ids: &[impl AsRef<EventId>],
    ) -> Result<Vec<Option<EventAt>>, ReadError> {
        view.multi_get(&EVENT_ID, event_ids.iter().map(|id| (bounded(id.as_ref().as_str()).into_owned(),)))
    }

    /// What became of an event.
    pub fn meta(&self, view: &View<'_>, room: RoomNo, seq: Seq) -> Result<Option<EventMeta>, ReadError> {
        view.get(&EVENT_META, &(room, seq))
    }

    /// What became of many events, in their order: one wave.
    pub fn metas(&self, view: &View<'_>, events: &[(RoomNo, Seq)]) -> Result<Vec<Option<EventMeta>>, ReadError> {
        view.multi_get(&EVENT_META, events.iter().copied())
    }

    /// An event.
    pub fn event(&self, view: &View<'_>, room: RoomNo, seq: Seq) -> Result<Option<Event>, ReadError> {
        Ok(self.events(view, &[(room, seq)])?.pop().flatten())
    }

    /// Many events, in their order: one wave for the metas, one for the bodies that are not in memory. A body that was
    /// purged is absent.
    pub fn events(&self, view: &View<'_>, events: &[(RoomNo, Seq)]) -> Result<Vec<Option<Event>>, ReadError> {
        let metas = self.metas(view, events)?;
        let mut found: Vec<Option<Event>> = Vec::with_capacity(events.len());
        let mut lacking = Vec::new();
        for (index, ((room, seq), meta)) in events.iter().zip(metas).enumerate() {
            let Some(meta) = meta else {
                found.push(None);
                continue;
            };
            let (room, seq) = (*room, *seq);
            match self.cache.event(room, seq, meta.redacted_by.is_some()) {
                Some(body) => found.push(Some(Event { room, seq, body, meta })),
                None => {
                    found.push(None);
                    lacking.push((index, (room, seq), meta));
                }
            }
        }
        if lacking.is_empty() {
            return Ok(found);
        }
        let bodies = view.multi_get(&EVENT, lacking.iter().map(|(_, key, _)| *key))?;
        for ((index, (room, seq), meta), body) in lacking.into_iter().zip(bodies) {
            if let (Some(body), Some(place)) = (body, found.get_mut(index)) {
                self.cache.keep_event(room, seq, meta.redacted_by.is_some(), &body);
                *place = Some(Event { room, seq, body, meta });
            }
        }
        Ok(found)
    }

    /// An event by its id, whatever its room.
    pub fn event_by_id(&self, view: &View<'_>, event_id: &EventId) -> Result<Option<Event>, ReadError> {
        match self.locate(view, event_id)? {
            Some(at) => self.event(view, at.room, at.seq),
            None => Ok(None),
        }
    }

    /// An event by its id, if it is of this room.
    pub fn event_in(&self, view: &View<'_>, room: RoomNo, event_id: &EventId) -> Result<Option<Event>, ReadError> {
        match self.locate(view, event_id)? {
            Some(at) if at.room == room => self.event(view, at.room, at.seq),
            _ => Ok(None),
        }
    }

    /// What a redacted event was before, while that is kept.
    pub fn original(&self, view: &View<'_>, room: RoomNo, seq: Seq) -> Result<Option<Original>, ReadError> {
        view.get(&ORIGINAL, &(room, seq))
    }
}
