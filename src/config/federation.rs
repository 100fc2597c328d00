//! `[federation]`: talking with other servers.

use std::{path::PathBuf, time::Duration};

use ruma::{OwnedServerName, ServerName};

use super::{
    listeners::Network,
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
    value::Value,
};

/// Talking with other servers.
#[derive(Clone, Debug)]
pub struct Federation {
    /// Whether with any.
    pub enabled: bool,
    /// Globs of host names; when there are some, only with these.
    pub allowed_servers: Vec<String>,
    /// Globs of host names: never with these.
    pub denied_servers: Vec<String>,
    /// Servers that are asked for the keys of others which do not answer.
    pub trusted_notaries: Vec<OwnedServerName>,
    /// Whether others may read the published directory of rooms.
    pub public_rooms: bool,
    /// The pause after which a server that does not answer is tried again; doubled with each failure.
    pub first_retry: Duration,
    /// The longest pause.
    pub longest_retry: Duration,
    /// Networks that other servers may be in, beside the internet.
    pub allowed_address_ranges: Vec<Network>,
    /// A PEM file of certificate authorities that are trusted beside those of the machine.
    pub certificate_authorities: Option<PathBuf>,
}

/// A host name in which `*` and `?` stand for others.
fn glob(value: &Value) -> Option<String> {
    let text = value.text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.*?[]:".contains(c);
    (text.len() <= 255 && text.chars().all(fits)).then(|| text.to_owned())
}

const GLOBS: &str = "a list of host names without ports, in which * stands for any characters and ? for one, such as \
                     \"*.example.org\"";

static ENABLED: Setting<bool> = Setting {
    key: "enabled",
    about: "Whether this server talks with others at all. When it does not, its users can talk only with each other.",
    allowed: "true or false",
    presence: Presence::Default("true"),
    secret: false,
    read: |value| value.switch(),
};

static ALLOWED_SERVERS: Setting<Vec<String>> = Setting {
    key: "allowed_servers",
    about: "The servers that this one talks with. When the list is empty, these are all.",
    allowed: GLOBS,
    presence: Presence::Default("[]"),
    secret: false,
    read: |value| value.list(glob),
};

static DENIED_SERVERS: Setting<Vec<String>> = Setting {
    key: "denied_servers",
    about: "Servers that this one never talks with, even if they are allowed above.",
    allowed: GLOBS,
    presence: Presence::Default("[]"),
    secret: false,
    read: |value| value.list(glob),
};

static TRUSTED_NOTARIES: Setting<Vec<OwnedServerName>> = Setting {
    key: "trusted_notaries",
    about: "Servers that are asked for the keys of another one when that does not answer: old rooms hold events of servers \
            that are gone. A notary is believed what it says about a key that is not known yet, and learns which \
            servers this one meets. Without notaries, such events count as not signed.",
    allowed: "a list of server names",
    presence: Presence::Default("[\"matrix.org\"]"),
    secret: false,
    read: |value| value.list(|item| ServerName::parse(item.text()?).ok()),
};

static PUBLIC_ROOMS: Setting<bool> = Setting {
    key: "public_rooms",
    about: "Whether users of other servers may look at this server's published directory. Only rooms that somebody has put \
            there are in it, and whoever asks this server as a client sees them anyway.",
    allowed: "true or false",
    presence: Presence::Default("true"),
    secret: false,
    read: |value| value.switch(),
};

static FIRST_RETRY: Setting<Duration> = Setting {
    key: "first_retry",
    about: "After which time a server that does not answer is sent to again. The pause is doubled with each failure, and is over \
            soon when the server shows by a request of its own that it lives. Kept over restarts.",
    allowed: "a duration from 1s to 1d, in s, m, h or d",
    presence: Presence::Default("\"1m\""),
    secret: false,
    read: |value| value.duration_in(1..=86_400),
};

static LONGEST_RETRY: Setting<Duration> = Setting {
    key: "longest_retry",
    about: "The longest of these pauses.",
    allowed: "a duration from 1s to 30d, in s, m, h or d",
    presence: Presence::Default("\"6h\""),
    secret: false,
    read: |value| value.duration_in(1..=30 * 86_400),
};

static ALLOWED_ADDRESS_RANGES: Setting<Vec<Network>> = Setting {
    key: "allowed_address_ranges",
    about: "Networks in which other servers may be, beside the internet. Without this, this server connects to no loopback, \
            private or link-local address, whatever DNS says, so that nobody outside can make it talk to your network.",
    allowed: "a list of IP addresses or ranges, such as \"10.0.0.0/8\"",
    presence: Presence::Default("[]"),
    secret: false,
    read: |value| value.list(|item| item.parsed()),
};

static CERTIFICATE_AUTHORITIES: Setting<PathBuf> = Setting {
    key: "certificate_authorities",
    about: "Certificate authorities that the certificates of other servers may be from, beside those that this machine \
            trusts.",
    allowed: "the path of a PEM file",
    presence: Presence::Optional("\"/etc/myelin/authorities.pem\""),
    secret: false,
    read: |value| value.text().map(PathBuf::from),
};

pub(super) static SECTION: Section = Section {
    name: "federation",
    about: "Talking with other servers.",
    settings: &[
        &ENABLED,
        &ALLOWED_SERVERS,
        &DENIED_SERVERS,
        &TRUSTED_NOTARIES,
        &PUBLIC_ROOMS,
        &FIRST_RETRY,
        &LONGEST_RETRY,
        &ALLOWED_ADDRESS_RANGES,
        &CERTIFICATE_AUTHORITIES,
    ],
};

impl Federation {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            enabled: reader.get(&ENABLED)?,
            allowed_servers: reader.get(&ALLOWED_SERVERS)?,
            denied_servers: reader.get(&DENIED_SERVERS)?,
            trusted_notaries: reader.get(&TRUSTED_NOTARIES)?,
            public_rooms: reader.get(&PUBLIC_ROOMS)?,
            first_retry: reader.get(&FIRST_RETRY)?,
            longest_retry: reader.get(&LONGEST_RETRY)?,
            allowed_address_ranges: reader.get(&ALLOWED_ADDRESS_RANGES)?,
            certificate_authorities: reader.find(&CERTIFICATE_AUTHORITIES)?,
        })
    }
}
