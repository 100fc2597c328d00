//! `[rooms]`: how rooms are made.

use ruma::RoomVersionId;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// How rooms are made.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// The version of new rooms, unless the request names one.
    pub default_version: RoomVersionId,
}

static DEFAULT_VERSION: Setting<RoomVersionId> = Setting {
    key: "default_version",
    about: "The version of new rooms, unless the request names one.",
    allowed: "a stable room version, from \"1\" to \"12\"",
    presence: Presence::Default("\"12\""),
    secret: false,
    read: |value| {
        let number: u8 = value.parsed()?;
        (1..=12).contains(&number).then(|| RoomVersionId::try_from(number.to_string()).ok())?
    },
};

pub(super) static SECTION: Section =
    Section { name: "rooms", about: "How rooms are made.", settings: &[&DEFAULT_VERSION] };

impl Rooms {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self { default_version: reader.get(&DEFAULT_VERSION)? })
    }
}
