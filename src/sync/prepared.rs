//! What every look needs of the user's own, kept so that it is not read each time.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{push::Matcher, rooms::ignored::Ignored, store::Position};

/// Push rules, ignored users and the like of one user, until anything of the user's own changes.
#[derive(Debug, Default)]
pub struct Prepared(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The last change: what was read before it is not kept.
    changed: Position,
    matcher: Option<Arc<Matcher>>,
    ignored: Option<Ignored>,
    blocks_invites: Option<bool>,
}

impl Prepared {
    /// Something of the user's own changed at this position.
    pub fn changed(&self, position: Position) {
        *self.0.lock() = Kept { changed: position, ..Kept::default() };
    }

    /// The user's push rules, prepared; by `make`, which reads what was true at `horizon`, if they are not yet.
    pub fn matcher<E>(&self, horizon: Position, make: impl FnOnce() -> Result<Matcher, E>) -> Result<Arc<Matcher>, E> {
        self.kept(horizon, |kept| &mut kept.matcher, || make().map(Arc::new))
    }

    /// Whom the user ignores; by `make`, which reads what was true at `horizon`, if that is not known yet.
    pub fn ignored<E>(&self, horizon: Position, make: impl FnOnce() -> Result<Ignored, E>) -> Result<Ignored, E> {
        self.kept(horizon, |kept| &mut kept.ignored, make)
    }

    /// Whether the user takes no invites; by `make`, which reads what was true at `horizon`, if that is not known yet.
    pub fn blocks_invites<E>(&self, horizon: Position, make: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        self.kept(horizon, |kept| &mut kept.blocks_invites, make)
    }

    /// What is kept, or else what `make` makes, which is kept unless it was read before the last change.
    fn kept<T: Clone, E>(
        &self,
        horizon: Position,
        place: impl Fn(&mut Kept) -> &mut Option<T>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(made) = place(&mut self.0.lock()) {
            return Ok(made.clone());
        }
        let made = make()?;
        let mut kept = self.0.lock();
        if kept.changed <= horizon {
            *place(&mut kept) = Some(made.clone());
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_kept_behind_it() {
        let prepared = Prepared::default();
        let bob = Ignored::of_content(br#"{"ignored_users":{"@bob:a":{}}}"#);
        let read = prepared.ignored::<Infallible>(Position(1), || {
            prepared.changed(Position(2));
            Ok(Ignored::default())
        });
        assert!(!read.unwrap().contains("@bob:a"), "this look is as old as its snapshot");
        assert!(prepared.ignored::<Infallible>(Position(2), || Ok(bob)).unwrap().contains("@bob:a"));
        let kept = prepared.ignored::<Infallible>(Position(3), || Ok(Ignored::default()));
        assert!(kept.unwrap().contains("@bob:a"), "nothing has changed since");
    }
}
