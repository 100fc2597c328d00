//! Budgets: how often somebody may do something.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
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

/// A budget: `burst` at once, refilled at `per_second`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// How much a second, in the long run; more than 0.
    pub per_second: f64,
    /// How much at once.
    pub burst: u32,
}

/// Keys that are remembered before those that are at rest are forgotten.
const MOST_KEYS: usize = 100_000;
/// Forgetting looks at every key: it is done once in so many times.
const FORGET_EVERY: u32 = 4_096;

/// A budget for each of many, in the memory of one process.
pub struct Budgets {
    hasher: RandomState,
    taken: AtomicU32,
    left: RateLimiter<u64, DashMapStateStore<u64>, Ticks, NoOpMiddleware<Nanos>>,
}

/// The runtime's clock, which a test can move.
#[derive(Clone, Debug)]
struct Ticks(Instant);

impl clock::Clock for Ticks {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budgets of {}", self.left.len())
    }
}

impl Budgets {
    /// Full budgets; `None` for one that allows nothing, or has no end.
    pub fn new(budget: Budget) -> Option<Self> {
        let period = Duration::try_from_secs_f64(1.0 / budget.per_second).ok()?;
        let quota = Quota::with_period(period)?.allow_burst(NonZeroU32::new(budget.burst)?);
        let left = RateLimiter::new(quota, DashMapStateStore::default(), Ticks(Instant::now()));
        Some(Self { hasher: RandomState::new(), taken: AtomicU32::new(0), left })
    }

    /// Takes one from the budget of `who`.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&self, who: &(impl Hash + ?Sized)) -> Result<(), Duration> {
        if self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) && self.left.len() > MOST_KEYS {
            self.left.retain_recent();
        }
        let busy = self.left.check_key(&self.hasher.hash_one(who));
        busy.map_err(|busy| busy.wait_time_from(self.left.clock().now()))
    }
}
