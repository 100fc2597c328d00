//! `[well_known]`: where others find this server.

use ruma::{OwnedServerName, ServerName};

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// Where others find this server.
#[derive(Clone, Debug)]
pub struct WellKnown {
    /// What `/.well-known/matrix/server` answers; without it that is 404.
    pub server: Option<OwnedServerName>,
}

static SERVER: Setting<OwnedServerName> = Setting {
    key: "server",
    about: "Where other servers reach this one, if that is not port 8448 of its name: the answer of \
            `/.well-known/matrix/server`, which is looked up at the server's name on port 443.",
    allowed: "a host name or an IP address, with or without a port",
    presence: Presence::Optional("\"matrix.example.org:443\""),
    secret: false,
    read: |value| ServerName::parse(value.text()?).ok(),
};

pub(super) static SECTION: Section = Section {
    name: "well_known",
    about: "Where others find this server. What clients are told is `server.public_base_url`.",
    settings: &[&SERVER],
};

impl WellKnown {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self { server: reader.find(&SERVER)? })
    }
}
