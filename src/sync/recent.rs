//! The newest part of each room, read once for everybody who syncs it.
//!
//! Every commit of a room counts up the version of its head, so what was read at one version holds for as long as a
//! snapshot shows that version: it is kept in memory under it, and a snapshot with another version reads anew. With it a
//! waiting client gets an event without one read of the event, and a first sync reads little more than heads.

use std::sync::{Arc, OnceLock};

use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedUserId, UserId};

use crate::{
    event::{Pdu, power::PowerLevels, version},
    graph::{Arrival, Event, Head, Reader, RoomNo, Root, StateKey},
    push,
    rooms::{
        content::RelatesTo,
        format::{Unsigned, client_event},
        relations::BUNDLED,
        summary::Candidates,
    },
    store::{Position, ReadError, View},
};

/// Bytes of the cache.
const CAPACITY: u64 = 64 << 20;
/// Events of each room: a first sync wants ten, unless its filter says otherwise.
const EVENTS: usize = 24;
/// Relations to those events that are looked at, to know which of them have any.
const MOST_RELATIONS: usize = 256;
/// Members of a room of which the whole state is kept.
const MOST_MEMBERS: usize = 32;
/// Bytes of state of one room that are kept, of members and of the rest; of a larger state each reader reads its own.
const MOST_STATE: usize = 24 << 10;
/// What an event takes in memory beside its body, about, in bytes.
const LEAST_EVENT: usize = 256;
/// What a room takes in memory beside the bodies of its newest events, at most, in bytes: its state may be filled in later.
const OVERHEAD: u64 = 64 << 10;
const MEMBER: &str = "m.room.member";

/// The newest parts of rooms.
#[derive(Debug)]
pub(super) struct Recents(Cache<RoomNo, Arc<Recent>, Bytes>);

/// The newest part of a room, at one version of its head.
#[derive(Debug)]
pub(super) struct Recent {
    version: u64,
    room: RoomNo,
    root: Root,
    /// How many are joined or invited.
    present: usize,
    /// Youngest first, by arrival.
    pub(super) events: Vec<RecentEvent>,
    /// All that arrived behind this position is in `events`.
    pub(super) complete_after: Position,
    /// The commit that last changed the current state.
    pub(super) state_since: Position,
    state: OnceLock<Option<Vec<Event>>>,
    members: OnceLock<Option<Vec<Event>>>,
    candidates: OnceLock<Candidates>,
    power: OnceLock<Option<PowerLevels>>,
}

/// An event, and what many want to know of it.
#[derive(Debug)]
pub(super) struct RecentEvent {
    pub(super) event: Event,
    /// Its place in the order of arrival.
    pub(super) arrival: Arrival,
    /// The room's largest depth once it was in.
    pub(super) max_depth: u64,
    /// Something is to be bundled with it, perhaps.
    pub(super) is_related_to: bool,
    thread: OnceLock<Option<String>>,
    for_rules: OnceLock<Option<push::Event>>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<RoomNo, Arc<Recent>> for Bytes {
    fn weight(&self, _: &RoomNo, recent: &Arc<Recent>) -> u64 {
        let bodies: usize = recent.events.iter().map(|one| one.event.pdu.len().saturating_mul(2)).sum();
        u64::try_from(bodies).unwrap_or(u64::MAX).saturating_add(OVERHEAD)
    }
}

impl Default for Recents {
    fn default() -> Self {
        let rooms = usize::try_from(CAPACITY / OVERHEAD).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(rooms, CAPACITY, Bytes))
    }
}

impl Recents {
    /// The newest parts of these rooms, in their order: those that are not in memory are read together, in five waves.
    pub(super) fn of(
        &self,
        view: &View<'_>,
        reader: &Reader,
        rooms: &[(RoomNo, &Head)],
    ) -> Result<Vec<Arc<Recent>>, ReadError> {
        let kept = |(room, head): &(RoomNo, &Head)| self.0.get(room).filter(|recent| recent.version == head.version);
        let mut found: Vec<Option<Arc<Recent>>> = rooms.iter().map(kept).collect();
        let lacking: Vec<_> =
            rooms.iter().zip(&found).filter(|(_, recent)| recent.is_none()).map(|(room, _)| *room).collect();
        let mut read = read(view, reader, &lacking)?.into_iter().map(Arc::new);
        for place in found.iter_mut().filter(|place| place.is_none()) {
            if let Some(recent) = read.next() {
                let is_newer = self.0.peek(&recent.room).is_none_or(|kept| kept.version < recent.version);
                if is_newer {
                    self.0.insert(recent.room, Arc::clone(&recent));
                }
                *place = Some(recent);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

fn read(view: &View<'_>, reader: &Reader, rooms: &[(RoomNo, &Head)]) -> Result<Vec<Recent>, ReadError> {
    let everything: Vec<_> = rooms.iter().map(|(room, _)| (*room, Position::ZERO)).collect();
    let pages = reader.log_back_many(view, &everything, Position(u64::MAX), EVENTS)?;
    let numbers = |room: RoomNo| move |(_, logged): &(Arrival, crate::graph::Logged)| (room, logged.seq);
    let wanted: Vec<_> =
        rooms.iter().zip(&pages).flat_map(|((room, _), page)| page.rows.iter().map(numbers(*room))).collect();
    let mut events = reader.events(view, &wanted)?.into_iter();
    let ranges = rooms.iter().zip(&pages).filter_map(|((room, _), page)| {
        let numbers = || page.rows.iter().map(|(_, logged)| logged.seq);
        Some((*room, numbers().min()?, numbers().max()?))
    });
    let mut related = reader.related(view, &ranges.collect::<Vec<_>>(), &BUNDLED, MOST_RELATIONS)?.into_iter();
    let changed = reader.last_roots(view, &rooms.iter().map(|(room, _)| *room).collect::<Vec<_>>())?;
    let read = rooms.iter().zip(pages).zip(changed).map(|(((room, head), page), changed)| {
        let oldest = page.rows.last().map(|(arrival, _)| arrival.position);
        let related = if page.rows.is_empty() { None } else { related.next().flatten() };
        let is_related = |event: &Event| related.as_ref().is_none_or(|related| related.contains(&event.seq));
        let found =
            page.rows.iter().filter_map(|(arrival, logged)| Some((*arrival, *logged, events.next().flatten()?)));
        Recent {
            version: head.version,
            room: *room,
            root: head.root,
            present: usize::try_from(head.joined_members.saturating_add(head.invited_members)).unwrap_or(usize::MAX),
            events: found
                .map(|(arrival, logged, event)| RecentEvent {
                    is_related_to: is_related(&event),
                    ..RecentEvent::new(event, (arrival, logged.max_depth))
                })
                .collect(),
            complete_after: oldest.filter(|_| page.more).unwrap_or(Position::ZERO),
            state_since: changed.map_or(Position::ZERO, |(position, _)| position),
            state: OnceLock::new(),
            members: OnceLock::new(),
            candidates: OnceLock::new(),
            power: OnceLock::new(),
        }
    });
    Ok(read.collect())
}

impl Recent {
    /// The current state once everything up to `position` was in, if it is known to be that of now.
    pub(super) fn root_at(&self, position: Position) -> Option<Root> {
        (position >= self.state_since).then_some(self.root)
    }

    /// The current state but for its members, if `root` is the current one and it is not too large to be kept.
    pub(super) fn state_but_members(
        &self,
        view: &View<'_>,
        reader: &Reader,
        root: Root,
    ) -> Result<Option<&[Event]>, ReadError> {
        if root != self.root {
            return Ok(None);
        }
        let read = || {
            let seqs = reader.state_but_type(view, self.room, root, MEMBER)?;
            let numbers: Vec<_> = seqs.into_iter().map(|(_, seq)| (self.room, seq)).collect();
            if numbers.len() > MOST_STATE / LEAST_EVENT {
                return Ok(None);
            }
            Ok(small(reader.events(view, &numbers)?))
        };
        kept(&self.state, read).map(Option::as_deref)
    }

    /// The whole current state, if `root` is the current one and the room has few members.
    pub(super) fn small_state(
        &self,
        view: &View<'_>,
        reader: &Reader,
        root: Root,
    ) -> Result<Option<Vec<Event>>, ReadError> {
        if self.present > MOST_MEMBERS {
            return Ok(None);
        }
        let members = kept(&self.members, || {
            let seqs = reader.state_of_type(view, self.room, self.root, MEMBER)?;
            if seqs.len() > MOST_MEMBERS {
                return Ok(None);
            }
            let numbers: Vec<_> = seqs.into_iter().map(|seq| (self.room, seq)).collect();
            Ok(small(reader.events(view, &numbers)?))
        })?;
        let Some(members) = members else { return Ok(None) };
        Ok(self.state_but_members(view, reader, root)?.map(|others| others.iter().chain(members).cloned().collect()))
    }

    /// By whom or what the room is named.
    pub(super) fn candidates(&self, view: &View<'_>, reader: &Reader) -> Result<&Candidates, ReadError> {
        kept(&self.candidates, || Candidates::of(reader, view, self.room, self.root))
    }

    /// Whether a user may notify the whole room under a key (`room` for `@room`), by the current power levels.
    pub(super) fn may_notify(
        &self,
        view: &View<'_>,
        reader: &Reader,
        head: &Head,
        (sender, key): (&str, &str),
    ) -> Result<bool, ReadError> {
        let power = kept(&self.power, || {
            let keys = [StateKey::new("m.room.create", ""), StateKey::new("m.room.power_levels", "")];
            let mut found = reader.state_events(view, self.room, self.root, &keys)?.into_iter();
            let rules = version::rules(&head.room_version);
            let mut next = || {
                let event = found.next().flatten()?;
                Pdu::from_stored(event.event_id.clone(), event.body.pdu, rules?).ok()
            };
            let (create, levels) = (next(), next());
            Ok(rules.zip(create).map(|(rules, create)| PowerLevels::new(&create, levels.as_ref(), rules)))
        })?;
        let (Some(power), Ok(sender)) = (power, UserId::parse(sender)) else { return Ok(false) };
        Ok(power.of(&sender) >= power.to_notify(key))
    }
}

/// Events of a state, if they are few enough to be kept.
fn small(events: Vec<Option<Event>>) -> Option<Vec<Event>> {
    let events: Vec<Event> = events.into_iter().flatten().collect();
    let bytes: usize = events.iter().map(|event| event.pdu.len().saturating_add(LEAST_EVENT)).sum();
    (bytes <= MOST_STATE).then_some(events)
}

/// What is in the cell, by `read` if nothing is.
fn kept<T>(cell: &OnceLock<T>, read: impl FnOnce() -> Result<T, ReadError>) -> Result<&T, ReadError> {
    match cell.get() {
        Some(kept) => Ok(kept),
        None => {
            let read = read()?;
            Ok(cell.get_or_init(|| read))
        }
    }
}

impl RecentEvent {
    /// An event that something may relate to.
    pub(super) fn new(event: Event, (arrival, max_depth): (Arrival, u64)) -> Self {
        Self { event, arrival, max_depth, is_related_to: true, thread: OnceLock::new(), for_rules: OnceLock::new() }
    }

    /// The root of the thread that it is in.
    pub(super) fn thread(&self) -> Option<&str> {
        let read = || {
            let relation = RelatesTo::of(self.event.content())?;
            (relation.rel_type == "m.thread").then_some(relation.event_id)
        };
        self.thread.get_or_init(read).as_deref()
    }

    /// The event as push rules see it.
    pub(super) fn for_rules(&self, head: &Head) -> Option<&push::Event> {
        let read = || {
            let json = client_event(&self.event.client_json(), Some(&head.room_id), &Unsigned::default());
            push::Event::parse(std::str::from_utf8(&json).ok()?)
        };
        self.for_rules.get_or_init(read).as_ref()
    }

    /// Who sent it.
    pub(super) fn sender(&self) -> &OwnedUserId {
        &self.event.sender
    }
}
