//! `[passwords]`: how passwords are kept.

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// How passwords are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passwords {
    /// The fewest characters of a new password.
    pub shortest: usize,
    /// Memory of one argon2id hash, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Hashes that run at once.
    pub concurrency: usize,
    /// Requests that may wait for their turn.
    pub queue: usize,
}

static SHORTEST: Setting<usize> = Setting {
    key: "shortest",
    about: "The fewest characters of a new password.",
    allowed: "a whole number of characters from 1 to 64",
    presence: Presence::Default("8"),
    secret: false,
    read: |value| value.whole_in(1..=64),
};

static MEMORY: Setting<u32> = Setting {
    key: "memory",
    about: "The memory that one password hash (argon2id) takes. More is slower and safer.",
    allowed: "a size from 8 MiB to 1 GiB, in KiB, MiB or GiB",
    presence: Presence::Default("\"19 MiB\""),
    secret: false,
    read: |value| u32::try_from(value.bytes_in(8 << 20..=1 << 30)? >> 10).ok(),
};

static ITERATIONS: Setting<u32> = Setting {
    key: "iterations",
    about: "How often one password hash goes over its memory. More is slower and safer.",
    allowed: "a whole number from 1 to 20",
    presence: Presence::Default("2"),
    secret: false,
    read: |value| value.whole_in(1..=20),
};

static CONCURRENCY: Setting<usize> = Setting {
    key: "concurrency",
    about: "How many password hashes may run at once. Each takes a thread and its memory.",
    allowed: "a whole number from 1 to 64",
    presence: Presence::Default("2"),
    secret: false,
    read: |value| value.whole_in(1..=64),
};

static QUEUE: Setting<usize> = Setting {
    key: "queue",
    about: "How many logins and registrations may wait for a password hash. More are told to try again later.",
    allowed: "a whole number from 1 to 10000",
    presence: Presence::Default("64"),
    secret: false,
    read: |value| value.whole_in(1..=10_000),
};

pub(super) static SECTION: Section = Section {
    name: "passwords",
    about: "How passwords are kept.",
    settings: &[&SHORTEST, &MEMORY, &ITERATIONS, &CONCURRENCY, &QUEUE],
};

impl Passwords {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            shortest: reader.get(&SHORTEST)?,
            memory_kib: reader.get(&MEMORY)?,
            iterations: reader.get(&ITERATIONS)?,
            concurrency: reader.get(&CONCURRENCY)?,
            queue: reader.get(&QUEUE)?,
        })
    }
}
