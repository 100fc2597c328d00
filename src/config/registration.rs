//! `[registration]`: who may get an account.

use std::path::PathBuf;

use super::{
    problem::Problem,
    secret::{self, Secret},
    setting::{Presence, Section, Setting},
    typed::Reader,
};

/// Who may get an account.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Who may register.
    pub mode: RegistrationMode,
    /// Whether guests may.
    pub guests: bool,
    /// What signs requests to Synapse's registration endpoint, if that is on.
    pub shared_secret: Option<Secret>,
}

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Nobody: accounts are made by an administrator.
    Closed,
    /// Who has a registration token.
    Token,
    /// Everybody.
    Open,
}

static MODE: Setting<RegistrationMode> = Setting {
    key: "mode",
    about: "Who may register. \"closed\": nobody, accounts are made by an administrator or on the command line. \
            \"token\": who has a registration token, see `myelin registration-token create`. \"open\": everybody, which \
            invites abuse as soon as the server can be reached from the outside.",
    allowed: "\"closed\", \"token\" or \"open\"",
    presence: Presence::Default("\"token\""),
    secret: false,
    read: |value| match value.text()? {
        "closed" => Some(RegistrationMode::Closed),
        "token" => Some(RegistrationMode::Token),
        "open" => Some(RegistrationMode::Open),
        _ => None,
    },
};

static GUESTS: Setting<bool> = Setting {
    key: "guests",
    about: "Whether guest accounts may be made, by anybody and without a password. They can read rooms that are open to \
            guests, and little more.",
    allowed: "true or false",
    presence: Presence::Default("false"),
    secret: false,
    read: |value| value.switch(),
};

const SHORTEST_SECRET: usize = 8;

static SHARED_SECRET: Setting<Secret> = Setting {
    key: "shared_secret",
    about: "Who knows this secret can make accounts, also of administrators, through `/_synapse/admin/v1/register`, \
            which many tools know: it should be long and random. Without a secret that endpoint is off.",
    allowed: "at least 8 characters",
    presence: Presence::Optional("\"a long random text\""),
    secret: true,
    read: |value| value.text().filter(|text| text.len() >= SHORTEST_SECRET).map(Secret::new),
};

static SHARED_SECRET_FILE: Setting<PathBuf> = Setting {
    key: "shared_secret_file",
    about: "A file that holds the shared secret, instead of `shared_secret`.",
    allowed: "the path of a file with at least 8 characters",
    presence: Presence::Optional("\"/etc/myelin/shared-secret\""),
    secret: false,
    read: |value| value.text().map(PathBuf::from),
};

pub(super) static SECTION: Section = Section {
    name: "registration",
    about: "Who may get an account.",
    settings: &[&MODE, &GUESTS, &SHARED_SECRET, &SHARED_SECRET_FILE],
};

impl Registration {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        let shared_secret = secret::find(reader, &SHARED_SECRET, &SHARED_SECRET_FILE)?;
        if shared_secret.as_ref().is_some_and(|secret| secret.reveal().len() < SHORTEST_SECRET) {
            let what = "the file of `registration.shared_secret_file` holds less than 8 characters";
            return Err(Problem::unfit(what));
        }
        Ok(Self { mode: reader.get(&MODE)?, guests: reader.get(&GUESTS)?, shared_secret })
    }
}
