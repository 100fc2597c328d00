//! `[server]`: what this server is.

use std::path::PathBuf;

use ruma::{OwnedServerName, ServerName};
use url::Url;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
    value::Value,
};

/// What this server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub name: OwnedServerName,
    /// Where its data is.
    pub data: PathBuf,
    /// The address by which clients reach it, if that is known.
    pub public_base_url: Option<Url>,
}

static NAME: Setting<OwnedServerName> = Setting {
    key: "name",
    about: "The name of this server: what stands behind the colon in user ids. It can never be changed later.",
    allowed: "a host name or an IP address, with or without a port",
    presence: Presence::Required("\"example.org\""),
    secret: false,
    read: |value| ServerName::parse(value.text()?).ok(),
};

static DATA: Setting<PathBuf> = Setting {
    key: "data",
    about: "The folder of all that this server keeps: the database, its keys, media. It is created if it does not \
            exist. One process at a time may use it.",
    allowed: "a path; a relative one starts from the folder in which the server is started",
    presence: Presence::Default("\"./data\""),
    secret: false,
    read: |value| value.text().map(PathBuf::from),
};

static PUBLIC_BASE_URL: Setting<Url> = Setting {
    key: "public_base_url",
    about: "The address by which clients reach this server from the outside. It is what `/.well-known/matrix/client` \
            tells them, and what the landing page shows.",
    allowed: "an https:// or http:// address without a query",
    presence: Presence::Optional("\"https://matrix.example.org\""),
    secret: false,
    read: web_address,
};

/// An address without query, fragment or credentials.
pub(super) fn web_address(value: &Value) -> Option<Url> {
    let url = Url::parse(value.text()?).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.has_host();
    (matches!(url.scheme(), "http" | "https") && plain).then_some(url)
}

pub(super) static SECTION: Section =
    Section { name: "server", about: "What this server is.", settings: &[&NAME, &DATA, &PUBLIC_BASE_URL] };

impl Server {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self { name: reader.get(&NAME)?, data: reader.get(&DATA)?, public_base_url: reader.find(&PUBLIC_BASE_URL)? })
    }
}
