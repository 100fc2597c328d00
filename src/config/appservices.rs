//! `[appservices]`: bridges and bots that the administrator has registered.

use std::path::{Path, PathBuf};

use ruma::ServerName;

use super::{
    problem::Problem,
    setting::{Presence, Section, Setting},
    typed::Reader,
};
use crate::appservice::{Registration, Registry};

static REGISTRATIONS: Setting<Vec<PathBuf>> = Setting {
    key: "registrations",
    about: "Registration files of application services, which bridges and bots write when they are set up. Each lets its \
            application service act as any of the users that it names: read what you register.",
    allowed: "a list of paths of YAML files",
    presence: Presence::Default("[]"),
    secret: false,
    read: |value| value.list(|item| item.text().map(PathBuf::from)),
};

pub(super) static SECTION: Section = Section {
    name: "appservices",
    about: "Application services: bridges and bots. Read again on SIGHUP.",
    settings: &[&REGISTRATIONS],
};

pub(super) fn read(reader: &Reader<'_>, server_name: &ServerName) -> Result<Registry, Problem> {
    let paths = reader.get(&REGISTRATIONS)?;
    let registrations: Vec<_> = paths.iter().map(|path| registration(path, server_name)).collect::<Result<_, _>>()?;
    Registry::new(registrations).map_err(|error| Problem::unfit(format!("among `appservices.registrations`, {error}")))
}

fn registration(path: &Path, server_name: &ServerName) -> Result<Registration, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Problem::unfit(format!("`appservices.registrations` names {}, which can't be read: {error}", path.display()))
    })?;
    Registration::parse(&text, server_name)
        .map_err(|error| Problem::unfit(format!("the registration {} {error}", path.display())))
}
