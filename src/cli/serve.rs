//! `myelin serve`

use std::path::{Path, PathBuf};

use super::{
    Outcome,
    offline::explain,
    output::{complain, say},
};
use crate::{
    config::{Config, RegistrationMode},
    server::{self, Run, RunError, Started, open},
};

/// Runs the server until it is told to stop.
pub(super) fn run(config: Config, file: Option<PathBuf>, accept_loss: bool) -> Outcome {
    let log = server::log::start(&config.log);
    let (name, mode, data) = (config.server.name.clone(), config.registration.mode, open::folder(&config));
    let announce = Box::new(move |started: &Started| {
        for line in announcement((name.as_str(), &data), mode, started) {
            if let Err(error) = say(&line) {
                complain(&error);
                return;
            }
        }
    });
    server::run(Run { config, file, accept_loss, log, announce }).map_err(|error| match error {
        RunError::Open(error) => explain(error),
        error => error.into(),
    })
}

fn announcement((name, data): (&str, &Path), mode: RegistrationMode, started: &Started) -> Vec<String> {
    let mut lines = vec![
        format!("Myelin {} serves {name} on {}", super::VERSION.as_str(), started.addresses.join(", ")),
        format!("Data folder: {}", data.display()),
    ];
    match (mode, &started.registration_token) {
        (_, Some(token)) => lines.extend([
            format!("Registration token, for one account: {token}"),
            "It is shown only now. `myelin registration-token create` makes more.".to_owned(),
        ]),
        (RegistrationMode::Token, None) => {
            lines.push("To register: `myelin registration-token create`, or `myelin user create`.".to_owned());
        }
        (RegistrationMode::Open, None) => lines.push("Everybody may register.".to_owned()),
        (RegistrationMode::Closed, None) => lines.push("Nobody may register: `myelin user create`.".to_owned()),
    }
    lines.push("Documentation: README.md, docs/operations.md".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_shows_the_token() {
        let started = Started {
            addresses: vec!["http://127.0.0.1:8008".to_owned()],
            registration_token: Some("a-token".to_owned()),
        };
        let lines = announcement(("localhost", Path::new("/data")), RegistrationMode::Token, &started);
        assert!(lines[0].ends_with("serves localhost on http://127.0.0.1:8008"), "{}", lines[0]);
        assert_eq!(lines[1], "Data folder: /data");
        assert!(lines.iter().any(|line| line.contains("a-token")));
        let later = Started { registration_token: None, ..started };
        assert!(
            announcement(("localhost", Path::new("/data")), RegistrationMode::Open, &later)
                .contains(&"Everybody may register.".to_owned())
        );
    }
}
