//! The published directory: rooms that this server shows to everybody (client-server API, "Published Room Directory").

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::{aliases, content, visibility::HistoryVisibility};
use crate::{
    base::json_writer::Object,
    graph::{Head, Reader, RoomNo, StateKey},
    store::{ReadError, View},
};

/// Rooms that are looked at for a page.
const MOST_ROOMS: usize = 10_000;
/// Entries with longer texts, in bytes, are read anew each time.
const LONGEST_KEPT: usize = 4_096;
/// The state that an entry is made of.
const STATE: [&str; 8] = [
    "m.room.name",
    "m.room.topic",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.join_rules",
    "m.room.create",
];

/// A room, as the directory shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The room.
    pub room_id: String,
    /// How many are joined.
    pub joined: u64,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its main alias.
    pub canonical_alias: Option<String>,
    /// The URL of its picture.
    pub avatar_url: Option<String>,
    /// Anybody may read it.
    pub world_readable: bool,
    /// Guests may join.
    pub guest_can_join: bool,
    /// How one joins.
    pub join_rule: Option<String>,
    /// What kind of room it is.
    pub room_type: Option<String>,
}

/// Which rooms are wanted.
#[derive(Clone, Debug, Default)]
pub struct DirectoryFilter {
    /// In the name, the topic or the main alias, whatever its case.
    pub term: Option<String>,
    /// Only these types (`None` for ordinary rooms), if given.
    pub types: Option<Vec<Option<String>>>,
}

/// The longest search term, in bytes: no name is longer, and every text is searched for it.
const LONGEST_TERM: usize = 1_024;
/// Types of rooms that may be named.
const MOST_TYPES: usize = 100;

impl DirectoryFilter {
    /// Whether it is short enough to be asked of every room.
    pub fn is_bounded(&self) -> bool {
        self.term.as_ref().is_none_or(|term| term.len() <= LONGEST_TERM)
            && self.types.as_ref().is_none_or(|types| types.len() <= MOST_TYPES)
    }

    /// `term` is that of the filter, in lower case.
    fn wants(&self, entry: &Entry, term: Option<&str>) -> bool {
        let found = |term: &str| entry.texts().any(|text| text.to_lowercase().contains(term));
        term.is_none_or(found)
            && self.types.as_ref().is_none_or(|types| types.is_empty() || types.contains(&entry.room_type))
    }
}

/// The entries of published rooms, each at a version of its room's head: what has not changed is not read again for the
/// next page.
#[derive(Debug)]
pub(super) struct Entries(Cache<RoomNo, (u64, Arc<Entry>)>);

impl Default for Entries {
    fn default() -> Self {
        Self(Cache::new(MOST_ROOMS))
    }
}

impl Entries {
    /// All published rooms that are wanted and have members, the largest first.
    pub(super) fn list(
        &self,
        reader: &Reader,
        view: &View<'_>,
        filter: &DirectoryFilter,
    ) -> Result<Vec<Arc<Entry>>, ReadError> {
        let rooms = aliases::published(view, MOST_ROOMS)?;
        let heads = reader.heads(view, &rooms)?;
        let term = filter.term.as_ref().map(|term| term.to_lowercase());
        let mut entries = Vec::new();
        for (room, head) in rooms.into_iter().zip(heads) {
            let Some(head) = head.filter(|head| head.joined_members > 0) else { continue };
            let entry = self.entry(reader, view, room, &head)?;
            if filter.wants(&entry, term.as_deref()) {
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| b.joined.cmp(&a.joined).then_with(|| a.room_id.cmp(&b.room_id)));
        Ok(entries)
    }

    fn entry(&self, reader: &Reader, view: &View<'_>, room: RoomNo, head: &Head) -> Result<Arc<Entry>, ReadError> {
        if let Some((version, entry)) = self.0.get(&room)
            && version == head.version
        {
            return Ok(entry);
        }
        let entry = Arc::new(entry(reader, view, room, head)?);
        if entry.texts().map(str::len).sum::<usize>() <= LONGEST_KEPT {
            self.0.insert(room, (head.version, Arc::clone(&entry)));
        }
        Ok(entry)
    }
}

fn entry(reader: &Reader, view: &View<'_>, room: RoomNo, head: &Head) -> Result<Entry, ReadError> {
    let keys = STATE.map(|kind| StateKey::new(kind, ""));
    let state = reader.state_events(view, room, head.root, &keys)?;
    let of = |kind: &str| {
        let at = STATE.iter().position(|known| *known == kind)?;
        state.get(at).and_then(Option::as_ref).map(|event| event.content())
    };
    let text = |kind: &str, field: &str| content::text(of(kind)?, field);
    Ok(Entry {
        room_id: head.room_id.to_string(),
        joined: u64::from(head.joined_members),
        name: text("m.room.name", "name"),
        topic: text("m.room.topic", "topic"),
        canonical_alias: text("m.room.canonical_alias", "alias"),
        avatar_url: text("m.room.avatar", "url"),
        world_readable: HistoryVisibility::of(of("m.room.history_visibility")) == HistoryVisibility::WorldReadable,
        guest_can_join: text("m.room.guest_access", "guest_access").as_deref() == Some("can_join"),
        join_rule: text("m.room.join_rules", "join_rule"),
        room_type: text("m.room.create", "type"),
    })
}

impl Entry {
    /// What a term is looked for in.
    fn texts(&self) -> impl Iterator<Item = &str> {
        [&self.name, &self.topic, &self.canonical_alias].into_iter().filter_map(Option::as_deref)
    }

    /// Writes it as clients get it.
    pub fn write(&self, object: &mut Object<'_>) {
        object.value("room_id", &self.room_id);
        object.value("num_joined_members", &self.joined);
        object.value("world_readable", &self.world_readable);
        object.value("guest_can_join", &self.guest_can_join);
        for (name, value) in [
            ("name", &self.name),
            ("topic", &self.topic),
            ("canonical_alias", &self.canonical_alias),
            ("avatar_url", &self.avatar_url),
            ("join_rule", &self.join_rule),
            ("room_type", &self.room_type),
        ] {
            if let Some(value) = value {
                object.value(name, value);
            }
        }
    }
}
