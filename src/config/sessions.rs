//! `[sessions]`: logins and devices.

use std::time::Duration;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// Logins and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// How long an access token lives, if its client can refresh it.
    pub access_token_lifetime: Duration,
    /// The most devices that one user may have.
    pub most_devices: usize,
}

static ACCESS_TOKEN_LIFETIME: Setting<Duration> = Setting {
    key: "access_token_lifetime",
    about: "How long an access token lives when its client said that it can refresh tokens. Other clients get tokens \
            that live until they log out.",
    allowed: "a duration from 1m to 365d, in s, m, h or d",
    presence: Presence::Default("\"1h\""),
    secret: false,
    read: |value| value.duration_in(60..=365 * 86_400),
};

static MOST_DEVICES: Setting<usize> = Setting {
    key: "most_devices",
    about: "The most devices that one user may have.",
    allowed: "a whole number from 1 to 1000",
    presence: Presence::Default("500"),
    secret: false,
    read: |value| value.whole_in(1..=1_000),
};

pub(super) static SECTION: Section =
    Section { name: "sessions", about: "Logins and devices.", settings: &[&ACCESS_TOKEN_LIFETIME, &MOST_DEVICES] };

impl Sessions {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            access_token_lifetime: reader.get(&ACCESS_TOKEN_LIFETIME)?,
            most_devices: reader.get(&MOST_DEVICES)?,
        })
    }
}
