//! SIGHUP: the configuration is read again, and what can change while the server runs does.

use std::path::PathBuf;

use super::{Server, log, running, tls::Certificates};
use crate::config::Config;

/// What a reload works on.
pub(super) struct Reload<'a> {
    pub(super) server: &'a Server,
    pub(super) file: Option<PathBuf>,
    pub(super) log: log::Handle,
    pub(super) certificates: Option<Certificates>,
}

impl Reload<'_> {
    /// Reads and applies the configuration. A wrong one changes nothing.
    pub(super) fn run(&self) {
        let new = match Config::load(self.file.as_deref()) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(%error, "the configuration was not read again");
                return;
            }
        };
        if let (Some(certificates), Some(tls)) = (&self.certificates, &new.tls)
            && let Err(error) = certificates.reload(tls)
        {
            tracing::error!(%error, "the certificate stays as it was");
        }
        self.log.set_level(&new.log.level);
        self.server.set_limits(running::rate_limits(&new.rate_limits));
        self.server.app().appservices.replace(new.appservices.clone());
        let waiting = need_restart(&self.server.app().config, &new);
        tracing::info!("log level, rate limits, application services and certificate were read again");
        if !waiting.is_empty() {
            tracing::warn!(sections = waiting.join(", "), "other changes need a restart");
        }
    }
}

/// The sections that differ and are read only at start.
fn need_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let differ = |left: &dyn std::fmt::Debug, right: &dyn std::fmt::Debug| format!("{left:?}") != format!("{right:?}");
    let sections: [(&str, bool); 13] = [
        ("server", differ(&old.server, &new.server)),
        ("well_known", differ(&old.well_known, &new.well_known)),
        ("support", differ(&old.support, &new.support)),
        ("listeners", differ(&old.listeners, &new.listeners)),
        ("tls", old.tls.is_some() != new.tls.is_some()),
        ("federation", differ(&old.federation, &new.federation)),
        ("database", old.database != new.database),
        ("registration", differ(&old.registration, &new.registration)),
        ("passwords", differ(&old.passwords, &new.passwords)),
        ("sessions", differ(&old.sessions, &new.sessions)),
        ("limits", old.limits != new.limits),
        ("rooms", differ(&old.rooms, &new.rooms)),
        ("log.format", old.log.format != new.log.format),
    ];
    sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let read = |text: &str| Config::read(&format!("[server]\nname = \"a.b\"\n{text}"), []).unwrap();
        let old = read("");
        assert_eq!(need_restart(&old, &read("[log]\nlevel = \"debug\"\n[rate_limits]\nsend_burst = 7\n")), [""; 0]);
        let new = read("data = \"elsewhere\"\n[limits]\nclient_body = \"2 MiB\"\n[log]\nformat = \"json\"\n");
        assert_eq!(need_restart(&old, &new), ["server", "limits", "log.format"]);
    }
}
