//! Limits on how often: by what is asked, and by whom.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{self, Clock as _},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::keyed::DashMapStateStore,
};
use tokio::time::Instant;

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
    /// What other servers ask for: limited by server, or by address where they need not sign.
    Federation,
    /// `/sync`: those that begin anew or ask for everything count as [`RateClass::Heavy`].
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
    /// [`RateClass::Poll`].
    pub poll: Option<Budget>,
    /// [`RateClass::Login`].
    pub login: Option<Budget>,
    /// [`RateClass::Register`].
    pub register: Option<Budget>,
    /// [`RateClass::Federation`].
    pub federation: Option<Budget>,
}

/// Keys that a limiter remembers before it forgets those that are at rest.
const MOST_KEYS: usize = 100_000;
/// Forgetting looks at every key: it is done once in so many requests.
const FORGET_EVERY: u32 = 4_096;

/// Counts requests of one process against [`RateLimits`].
pub struct Limiter {
    hasher: RandomState,
    requests: AtomicU32,
    classes: [(RateClass, Option<Keyed>); 7],
}

type Keyed = RateLimiter<u64, DashMapStateStore<u64>, Ticks, NoOpMiddleware<Nanos>>;

/// The runtime's clock, which a test can move.
#[derive(Clone, Debug)]
struct Ticks(Instant);

impl clock::Clock for Ticks {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limiter")
    }
}

impl Limiter {
    /// A limiter with full budgets.
    pub fn new(limits: RateLimits) -> Self {
        let ticks = Ticks(Instant::now());
        let limiter = |budget: Option<Budget>| {
            let quota = budget.and_then(quota)?;
            Some(RateLimiter::new(quota, DashMapStateStore::default(), ticks.clone()))
        };
        Self {
            hasher: RandomState::new(),
            requests: AtomicU32::new(0),
            classes: [
                (RateClass::Light, limiter(limits.light)),
                (RateClass::Heavy, limiter(limits.heavy)),
                (RateClass::Send, limiter(limits.send)),
                (RateClass::Poll, limiter(limits.poll)),
                (RateClass::Login, limiter(limits.login)),
                (RateClass::Register, limiter(limits.register)),
                (RateClass::Federation, limiter(limits.federation)),
            ],
        }
    }

    /// Takes one from the budget of `who` (a user id or an address), or says how long to wait.
    pub fn check(&self, class: RateClass, who: &str) -> Result<(), Duration> {
        let limiter = self.classes.iter().find(|(of, _)| *of == class).and_then(|(_, limiter)| limiter.as_ref());
        let Some(limiter) = limiter else { return Ok(()) };
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) && limiter.len() > MOST_KEYS {
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

    #[tokio::test(start_paused = true)]
    async fn a_budget_fills_again() {
        let budget = Some(Budget { per_second: 0.5, burst: 1 });
        let limiter = Limiter::new(RateLimits { send: budget, ..RateLimits::default() });
        assert!(limiter.check(RateClass::Send, "@alice:a").is_ok());
        let wait = limiter.check(RateClass::Send, "@alice:a").unwrap_err();
        assert_eq!(wait, Duration::from_secs(2));
        tokio::time::advance(wait).await;
        assert!(limiter.check(RateClass::Send, "@alice:a").is_ok(), "after the time that was told");
        assert!(limiter.check(RateClass::Send, "@alice:a").is_err());
    }

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
