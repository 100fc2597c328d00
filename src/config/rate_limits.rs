//! `[rate_limits]`: how often one may ask. Each class of endpoints has a rate and a burst.

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
    value::Value,
};

/// How often one may ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimits {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Endpoints that cost little: most reads, typing, receipts.
    pub light: Rate,
    /// Endpoints that may cost much: `/messages`, `/members`, searches.
    pub heavy: Rate,
    /// What others see: messages, state, memberships.
    pub send: Rate,
    /// `/sync`, but for those that begin anew.
    pub sync: Rate,
    /// Logins and other passwords, by address.
    pub login: Rate,
    /// Registrations, by address.
    pub registration: Rate,
    /// Requests of other servers, by server.
    pub federation: Rate,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests in a second, over a long time. Above 0.
    pub per_second: f64,
    /// Requests that may come at once, after a quiet time. At least 1.
    pub burst: u32,
}

/// The two options of a class.
struct Class {
    per_second: Setting<f64>,
    burst: Setting<u32>,
}

const fn class(
    keys: (&'static str, &'static str),
    about: &'static str,
    per_second: &'static str,
    burst: &'static str,
) -> Class {
    Class {
        per_second: Setting {
            key: keys.0,
            about,
            allowed: "a number of requests in a second, from 0.001 to 1000000",
            presence: Presence::Default(per_second),
            secret: false,
            read: |value: &Value| value.number().filter(|number| (0.001..=1_000_000.0).contains(number)),
        },
        burst: Setting {
            key: keys.1,
            about: "How many of these may come at once, after a quiet time.",
            allowed: "a whole number of requests from 1 to 1000000",
            presence: Presence::Default(burst),
            secret: false,
            read: |value: &Value| value.whole_in(1..=1_000_000),
        },
    }
}

static ENABLED: Setting<bool> = Setting {
    key: "enabled",
    about: "Whether there are limits at all. Without them, anybody can keep the server busy.",
    allowed: "true or false",
    presence: Presence::Default("true"),
    secret: false,
    read: |value| value.switch(),
};
static LIGHT: Class = class(
    ("light_per_second", "light_burst"),
    "Requests of one user that cost little: most reads, typing, receipts, account data.",
    "50",
    "200",
);
static HEAVY: Class = class(
    ("heavy_per_second", "heavy_burst"),
    "Requests of one user that may cost much: pages of messages, lists of members.",
    "20",
    "100",
);
static SEND: Class = class(
    ("send_per_second", "send_burst"),
    "What one user sends and others see: messages, state, new rooms, joins, invites.",
    "10",
    "50",
);
static SYNC: Class = class(
    ("sync_per_second", "sync_burst"),
    "Syncs of one user. Those that begin anew or ask for everything count as requests that may cost much.",
    "20",
    "200",
);
static LOGIN: Class = class(
    ("login_per_second", "login_burst"),
    "Logins from one address, and other requests that check a password. What counts as one address is a whole /64 in IPv6.",
    "0.5",
    "20",
);
static REGISTRATION: Class = class(
    ("registration_per_second", "registration_burst"),
    "Registrations from one address, also those that fail.",
    "0.2",
    "10",
);

static FEDERATION: Class = class(
    ("federation_per_second", "federation_burst"),
    "Requests of one other server, or from one address where other servers need not sign.",
    "100",
    "1000",
);

pub(super) static SECTION: Section = Section {
    name: "rate_limits",
    about: "How often one user, one address before login, or another server may ask. A request over the limit is answered 429, with the \
            time to wait.",
    settings: &[
        &ENABLED,
        &LIGHT.per_second,
        &LIGHT.burst,
        &HEAVY.per_second,
        &HEAVY.burst,
        &SEND.per_second,
        &SEND.burst,
        &SYNC.per_second,
        &SYNC.burst,
        &LOGIN.per_second,
        &LOGIN.burst,
        &REGISTRATION.per_second,
        &REGISTRATION.burst,
        &FEDERATION.per_second,
        &FEDERATION.burst,
    ],
};

impl RateLimits {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        let rate = |class: &'static Class| -> Result<Rate, Problem> {
            Ok(Rate { per_second: reader.get(&class.per_second)?, burst: reader.get(&class.burst)? })
        };
        Ok(Self {
            enabled: reader.get(&ENABLED)?,
            light: rate(&LIGHT)?,
            heavy: rate(&HEAVY)?,
            send: rate(&SEND)?,
            sync: rate(&SYNC)?,
            login: rate(&LOGIN)?,
            registration: rate(&REGISTRATION)?,
            federation: rate(&FEDERATION)?,
        })
    }
}
