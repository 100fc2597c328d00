//! Limits on how often: by what is asked, and by whom.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

/// How dear an endpoint is. Each class has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateClass {
    /// Cheap reads and small settings.
    Light,
    /// Reads that may touch much.
    Heavy,
    /// What others see: messages, state, memberships. Refused to suspended users.
    Send,
    /// Proofs of who one is: limited by address, and by account where the flow knows it.
    Login,
    /// New accounts: limited by address.
    Register,
    /// Long polls: bounded by themselves.
    Poll,
}

/// A budget: `burst` at once, refilled at `per_second`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Requests a second, in the long run; more than 0.
    pub per_second: f64,
    /// Requests at once.
    pub burst: u32,
}

/// The budgets of all classes; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateLimits {
    /// [`RateClass::Light`].
    pub light: Option<Budget>,
    /// [`RateClass::Heavy`].
    pub heavy: Option<Budget>,
    /// [`RateClass::Send`].
    pub send: Option<Budget>,
    /// [`RateClass::Login`].
    pub login: Option<Budget>,
    /// [`RateClass::Register`].
    pub register: Option<Budget>,
}

/// Keys that a limiter remembers before it forgets those that are at rest.
const MOST_KEYS: usize = 100_000;

/// Counts requests of one process against [`RateLimits`].
#[derive(Debug)]
pub struct Limiter {
    hasher: RandomState,
    classes: [(RateClass, Option<DefaultKeyedRateLimiter<u64>>); 5],
}

impl Limiter {
    /// A limiter with full budgets.
    pub fn new(limits: RateLimits) -> Self {
        let limiter = |budget: Option<Budget>| budget.and_then(quota).map(RateLimiter::keyed);
        Self {
            hasher: RandomState::new(),
            classes: [
                (RateClass::Light, limiter(limits.light)),
                (RateClass::Heavy, limiter(limits.heavy)),
                (RateClass::Send, limiter(limits.send)),
                (RateClass::Login, limiter(limits.login)),
                (RateClass::Register, limiter(limits.register)),
            ],
        }
    }

    /// Takes one from the budget of `who` (a user id or an address), or says how long to wait.
    pub fn check(&self, class: RateClass, who: &str) -> Result<(), Duration> {
        let limiter = self.classes.iter().find(|(of, _)| *of == class).and_then(|(_, limiter)| limiter.as_ref());
        let Some(limiter) = limiter else { return Ok(()) };
        if limiter.len() > MOST_KEYS {
            limiter.retain_recent();
        }
        limiter.check_key(&self.hasher.hash_one(who)).map_err(|busy| busy.wait_time_from(limiter.clock().now()))
    }
}

fn quota(budget: Budget) -> Option<Quota> {
    let period = Duration::try_from_secs_f64(1.0 / budget.per_second).ok()?;
    Some(Quota::with_period(period)?.allow_burst(NonZeroU32::new(budget.burst)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_budget_of_each_class() {
        let budget = Some(Budget { per_second: 0.1, burst: 2 });
        let limiter = Limiter::new(RateLimits { send: budget, login: budget, ..RateLimits::default() });
        let send = |who| limiter.check(RateClass::Send, who);
        assert!(send("@alice:a").is_ok() && send("@alice:a").is_ok());
        let wait = send("@alice:a").unwrap_err();
        assert!(wait > Duration::from_secs(8) && wait <= Duration::from_secs(10), "{wait:?}");
        assert!(send("@bob:a").is_ok(), "another user");
        assert!(limiter.check(RateClass::Login, "@alice:a").is_ok(), "another class");
        assert!((0..100).all(|_| limiter.check(RateClass::Light, "@alice:a").is_ok()), "no budget, no limit");
    }
}
