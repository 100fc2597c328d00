//! `myelin fsck`

use super::{
    Outcome,
    offline::{Data, Expect},
    output::say,
};
use crate::{catalogue, config::Config, store::ReadError};

/// Says everything that is out of joint; fails if anything is.
pub(super) fn run(config: &Config) -> Outcome {
    let store = Data::find(config, Expect::Existing)?.store()?;
    let problems = store.read_blocking::<_, ReadError>(|view| {
        let mut problems = Vec::new();
        catalogue::check(view, &mut |problem| problems.push(problem))?;
        Ok(problems)
    })?;
    for problem in &problems {
        say(problem)?;
    }
    match problems.len() {
        0 => Ok(say("Everything fits together.")?),
        1 => Err("1 thing does not fit".into()),
        many => Err(format!("{many} things do not fit").into()),
    }
}
