//! `myelin signing-key …`

use clap::Subcommand;

use super::{
    Outcome,
    offline::{Data, Expect},
    output::say,
};
use crate::{
    base::{clock::Clock, random::Random},
    config::Config,
    federation::identity,
    server::open,
};

#[derive(Debug, Subcommand)]
pub(super) enum SigningKey {
    /// Replace the key that this server signs with by a new one. Others learn the new key by themselves, and go on
    /// believing what the old one signed until now.
    Rotate,
}

pub(super) fn run(command: &SigningKey, config: &Config) -> Outcome {
    let SigningKey::Rotate = command;
    // Held until the end: a server that runs would go on signing with a key that is no longer valid.
    let held = Data::find(config, Expect::Existing)?.store()?;
    let (data, name) = (open::folder(config), &config.server.name);
    let identity = identity::rotate(&data, name, &Random::system(), Clock::system().now())?;
    held.close();
    if let Some(old) = identity.old.last() {
        say(&format!("{} replaces {}.", identity.active.key_id(), old.key_id))?;
    }
    let (active, old) = (data.join(identity::FILE), data.join(identity::OLD_FILE));
    say(&format!(
        "Keep both {} and {}: others check old events with what is in the second.",
        active.display(),
        old.display()
    ))?;
    Ok(())
}
