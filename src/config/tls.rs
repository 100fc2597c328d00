//! `[tls]`: the certificate of the listeners.

use std::path::PathBuf;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
    value::Value,
};

/// The certificate of the client and federation listeners.
#[derive(Clone, Debug)]
pub struct Tls {
    /// A PEM file: the certificate, then those between it and the root.
    pub certificate: PathBuf,
    /// A PEM file: the private key.
    pub key: PathBuf,
    /// Whether the client listeners speak TLS too.
    pub client: bool,
}

fn path(value: &Value) -> Option<PathBuf> {
    value.text().map(PathBuf::from)
}

static CERTIFICATE: Setting<PathBuf> = Setting {
    key: "certificate",
    about: "The certificate, followed by those between it and the root. SIGHUP reads it again.",
    allowed: "the path of a PEM file",
    presence: Presence::Optional("\"/etc/myelin/fullchain.pem\""),
    secret: false,
    read: path,
};

static KEY: Setting<PathBuf> = Setting {
    key: "key",
    about: "The private key of the certificate.",
    allowed: "the path of a PEM file",
    presence: Presence::Optional("\"/etc/myelin/privkey.pem\""),
    secret: false,
    read: path,
};

static CLIENT: Setting<bool> = Setting {
    key: "client",
    about: "Whether the client listeners speak TLS too. Without that only the federation listeners do: for a reverse proxy \
            in front of the client API, while other servers come directly.",
    allowed: "true or false",
    presence: Presence::Default("true"),
    secret: false,
    read: |value| value.switch(),
};

pub(super) static SECTION: Section = Section {
    name: "tls",
    about: "With a certificate, all client and federation listeners speak TLS; without one, a reverse proxy in front of \
            this server should.",
    settings: &[&CERTIFICATE, &KEY, &CLIENT],
};

impl Tls {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Option<Self>, Problem> {
        let client = reader.get(&CLIENT)?;
        match (reader.find(&CERTIFICATE)?, reader.find(&KEY)?) {
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key, client })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Problem::unfit("`tls.certificate` is set, so `tls.key` must be set too")),
            (None, Some(_)) => Err(Problem::unfit("`tls.key` is set, so `tls.certificate` must be set too")),
        }
    }
}
