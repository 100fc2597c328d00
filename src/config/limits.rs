//! `[limits]`: the most that one request may ask for.

use std::time::Duration;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// The most that one request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a client's request, in bytes.
    pub client_body: usize,
    /// The largest body of another server's request, in bytes.
    pub federation_body: usize,
    /// How long a request's headers may take to arrive.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// The longest that a `/sync` waits.
    pub sync_timeout: Duration,
    /// The most connections at once.
    pub connections: usize,
}

static CLIENT_BODY: Setting<usize> = Setting {
    key: "client_body",
    about: "The largest body of a client's request. An event has at most 64 KiB, an account data entry 512 KiB.",
    allowed: "a size from 64 KiB to 64 MiB, in KiB or MiB",
    presence: Presence::Default("\"1 MiB\""),
    secret: false,
    read: |value| usize::try_from(value.bytes_in(64 << 10..=64 << 20)?).ok(),
};

static FEDERATION_BODY: Setting<usize> = Setting {
    key: "federation_body",
    about: "The largest body of another server's request. A transaction has at most 50 events and 100 other messages, of \
            64 KiB each.",
    allowed: "a size from 4 MiB to 64 MiB, in MiB",
    presence: Presence::Default("\"16 MiB\""),
    secret: false,
    read: |value| usize::try_from(value.bytes_in(4 << 20..=64 << 20)?).ok(),
};

static HEADER_TIMEOUT: Setting<Duration> = Setting {
    key: "header_timeout",
    about: "How long the headers of a request may take to arrive.",
    allowed: "a duration from 1s to 2m, in s or m",
    presence: Presence::Default("\"10s\""),
    secret: false,
    read: |value| value.duration_in(1..=120),
};

static BODY_TIMEOUT: Setting<Duration> = Setting {
    key: "body_timeout",
    about: "How long the body of a request may take to arrive.",
    allowed: "a duration from 1s to 10m, in s or m",
    presence: Presence::Default("\"1m\""),
    secret: false,
    read: |value| value.duration_in(1..=600),
};

static SYNC_TIMEOUT: Setting<Duration> = Setting {
    key: "sync_timeout",
    about: "The longest that a `/sync` waits for something new, whatever it asks for. A reverse proxy in front must wait \
            longer than this.",
    allowed: "a duration from 1s to 10m, in s or m",
    presence: Presence::Default("\"1m\""),
    secret: false,
    read: |value| value.duration_in(1..=600),
};

static CONNECTIONS: Setting<usize> = Setting {
    key: "connections",
    about: "The most connections at once. Each online client holds one or two; each takes a file handle of the process.",
    allowed: "a whole number from 16 to 1000000",
    presence: Presence::Default("25000"),
    secret: false,
    read: |value| value.whole_in(16..=1_000_000),
};

pub(super) static SECTION: Section = Section {
    name: "limits",
    about: "The most that one request may ask for.",
    settings: &[&CLIENT_BODY, &FEDERATION_BODY, &HEADER_TIMEOUT, &BODY_TIMEOUT, &SYNC_TIMEOUT, &CONNECTIONS],
};

impl Limits {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            client_body: reader.get(&CLIENT_BODY)?,
            federation_body: reader.get(&FEDERATION_BODY)?,
            header_timeout: reader.get(&HEADER_TIMEOUT)?,
            body_timeout: reader.get(&BODY_TIMEOUT)?,
            sync_timeout: reader.get(&SYNC_TIMEOUT)?,
            connections: reader.get(&CONNECTIONS)?,
        })
    }
}
