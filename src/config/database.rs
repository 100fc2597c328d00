//! `[database]`: the store.

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// The store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// When a write counts as done.
    pub durability: Durability,
    /// Memory for what was read, in bytes.
    pub cache: u64,
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the disk says that it has it.
    Fsync,
    /// When the operating system has it.
    Os,
}

static DURABILITY: Setting<Durability> = Setting {
    key: "durability",
    about: "When a write counts as done. With \"fsync\" that is when the disk says that it has it: nothing that was \
            answered is ever lost. With \"os\" it is when the operating system has it: faster on slow disks, but a power \
            cut or a crash of the machine loses the last seconds.",
    allowed: "\"fsync\" or \"os\"",
    presence: Presence::Default("\"fsync\""),
    secret: false,
    read: |value| match value.text()? {
        "fsync" => Some(Durability::Fsync),
        "os" => Some(Durability::Os),
        _ => None,
    },
};

static CACHE: Setting<u64> = Setting {
    key: "cache",
    about: "The memory that may be used for keeping what was read from disk. It is taken only as it fills.",
    allowed: "a size from 8 MiB to 1024 GiB, in KiB, MiB or GiB",
    presence: Presence::Default("\"256 MiB\""),
    secret: false,
    read: |value| value.bytes_in(8 << 20..=1 << 40),
};

pub(super) static SECTION: Section =
    Section { name: "database", about: "The database, in the data folder.", settings: &[&DURABILITY, &CACHE] };

impl Database {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self { durability: reader.get(&DURABILITY)?, cache: reader.get(&CACHE)? })
    }
}
