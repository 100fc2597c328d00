//! Events of a room as one user gets them: which they may see, and how each is written.

use std::collections::HashMap;

use ruma::{OwnedDeviceId, OwnedUserId, RoomId};

use super::{
    format::{self, Unsigned},
    relations,
    visibility::Eyes,
};
use crate::{
    base::clock::UnixMillis,
    graph::{Event, Membership, Reader, RoomNo, Root, Seq, StateKey},
    store::{ReadError, View},
};

/// Whom events are written for.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device, which gets back the transaction ids of what it sent.
    pub device_id: Option<OwnedDeviceId>,
    /// The time of day, for ages; in ms.
    pub now: UnixMillis,
}

/// An event that a user may see.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The event.
    pub event: Event,
    /// The user's membership at it.
    pub membership: Membership,
}

/// How much is bundled with an event (client-server API, "Aggregations of child events").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// Nothing: for state.
    Nothing,
    /// The newest edit: for events that are themselves bundled.
    Edits,
    /// Everything.
    All,
}

/// Leaves of these events, in their order, those that the user may see.
pub fn visible(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    events: impl IntoIterator<Item = Event>,
) -> Result<Vec<Seen>, ReadError> {
    let events: Vec<Event> = events.into_iter().collect();
    eyes.prepare(reader, view, events.iter().map(|event| event.meta.root_before))?;
    let mut seen = Vec::new();
    for event in events {
        if let Some(membership) = eyes.look_at(reader, view, &event)? {
            seen.push(Seen { event, membership });
        }
    }
    Ok(seen)
}

/// Writes events of one room, in their order. `room_id` is for responses that do not say the room otherwise.
///
/// The reads are waves over all of the events: replaced state, redactions, relations.
pub fn write(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    recipient: &Recipient,
    (seen, room_id, bundle): (&[Seen], Option<&RoomId>, Bundle),
) -> Result<Vec<Vec<u8>>, ReadError> {
    let replaced = replaced_state(reader, view, seen)?;
    let redactions = redactions(reader, view, eyes, seen.iter().map(|seen| &seen.event))?;
    let bundles = relations::bundles(reader, view, eyes, recipient, (seen, bundle))?;
    let mut written = Vec::with_capacity(seen.len());
    for (index, Seen { event, membership }) in seen.iter().enumerate() {
        let replaced = replaced.get(index).and_then(Option::as_ref);
        let prev = match replaced {
            // One's own invite one has seen, also if all that is here of it is that it was in the state.
            Some(replaced) if replaced.is_state("m.room.member", recipient.user_id.as_str()) => Some(replaced),
            Some(replaced) if eyes.look_at(reader, view, replaced)?.is_some() => Some(replaced),
            _ => None,
        };
        let unsigned = Unsigned {
            age: Some(format::age(event, recipient.now)),
            transaction_id: transaction_id(event, recipient),
            membership: Some(*membership),
            prev_content: prev.map(|prev| prev.content()),
            prev_sender: prev.map(|prev| &*prev.sender),
            replaces_state: replaced.map(|replaced| &*replaced.event_id),
            redacted_because: redactions.get(&event.seq).map(Vec::as_slice),
            relations: bundles.get(index).and_then(Option::as_deref),
        };
        written.push(format::client_event(&event.client_json(), room_id, &unsigned));
    }
    Ok(written)
}

/// Writes state events: what they replaced and what relates to them is left out.
pub fn write_state(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    recipient: &Recipient,
    events: &[Event],
    room_id: Option<&RoomId>,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let redactions = redactions(reader, view, eyes, events)?;
    let written = events.iter().map(|event| {
        let unsigned = Unsigned {
            age: Some(format::age(event, recipient.now)),
            transaction_id: transaction_id(event, recipient),
            redacted_because: redactions.get(&event.seq).map(Vec::as_slice),
            ..Unsigned::default()
        };
        format::client_event(&event.client_json(), room_id, &unsigned)
    });
    Ok(written.collect())
}

/// The transaction id by which this device of this user sent the event.
pub fn transaction_id<'a>(event: &'a Event, recipient: &Recipient) -> Option<&'a str> {
    let echo = event.meta.local_echo.as_ref()?;
    let own = event.sender == recipient.user_id
        && recipient.device_id.as_ref().is_some_and(|device_id| *device_id == *echo.device_id);
    own.then_some(&*echo.transaction_id)
}

/// For each event the state event that it replaced, if it is one and there was one: a wave for each distinct state.
fn replaced_state(reader: &Reader, view: &View<'_>, seen: &[Seen]) -> Result<Vec<Option<Event>>, ReadError> {
    let mut keys: HashMap<(RoomNo, Root), Vec<(usize, StateKey)>> = HashMap::new();
    for (index, Seen { event, .. }) in seen.iter().enumerate() {
        if let Some(state_key) = &event.state_key {
            let at = keys.entry((event.room, event.meta.root_before)).or_default();
            at.push((index, StateKey::new(event.kind.clone(), state_key.clone())));
        }
    }
    let mut wanted: Vec<(usize, (RoomNo, Seq))> = Vec::new();
    for ((room, root), keys) in keys {
        let (indexes, keys): (Vec<usize>, Vec<StateKey>) = keys.into_iter().unzip();
        let seqs = reader.state_seqs(view, room, root, &keys)?;
        wanted.extend(indexes.into_iter().zip(seqs).filter_map(|(index, seq)| Some((index, (room, seq?)))));
    }
    let events = reader.events(view, &wanted.iter().map(|(_, at)| *at).collect::<Vec<_>>())?;
    let mut replaced = vec![None; seen.len()];
    for ((index, _), event) in wanted.into_iter().zip(events) {
        if let Some(place) = replaced.get_mut(index) {
            *place = event;
        }
    }
    Ok(replaced)
}

/// The client form of the redactions of those of these events that were redacted, as far as the user may see them: who has
/// left does not learn why something was redacted afterwards.
fn redactions<'a>(
    reader: &Reader,
    view: &View<'_>,
    eyes: &mut Eyes,
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<HashMap<Seq, Vec<u8>>, ReadError> {
    let redacted = events.into_iter().filter_map(|event| Some((event.seq, (event.room, event.meta.redacted_by?))));
    let (targets, wanted): (Vec<Seq>, Vec<_>) = redacted.unzip();
    let redactions = reader.events(view, &wanted)?;
    eyes.prepare(reader, view, redactions.iter().flatten().map(|redaction| redaction.meta.root_before))?;
    let mut written = HashMap::with_capacity(targets.len());
    for (target, redaction) in targets.into_iter().zip(redactions) {
        let Some(redaction) = redaction else { continue };
        if eyes.look_at(reader, view, &redaction)?.is_some() {
            written.insert(target, format::client_event(&redaction.client_json(), None, &Unsigned::default()));
        }
    }
    Ok(written)
}
