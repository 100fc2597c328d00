//! Limits on how often: by what is asked, and by whom.

use std::{fmt, time::Duration};

pub use crate::base::budget::Budget;
use crate::base::budget::Budgets;

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

/// Counts requests of one process against [`RateLimits`].
pub struct Limiter([(RateClass, Option<Budgets>); 7]);

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limiter")
    }
}

impl Limiter {
    /// A limiter with full budgets.
    pub fn new(limits: RateLimits) -> Self {
        let budgets = |budget: Option<Budget>| budget.and_then(Budgets::new);
        Self([
            (RateClass::Light, budgets(limits.light)),
            (RateClass::Heavy, budgets(limits.heavy)),
            (RateClass::Send, budgets(limits.send)),
            (RateClass::Poll, budgets(limits.poll)),
            (RateClass::Login, budgets(limits.login)),
            (RateClass::Register, budgets(limits.register)),
            (RateClass::Federation, budgets(limits.federation)),
        ])
    }

    /// Takes one from the budget of `who` (a user id or an address), or says how long to wait.
    pub fn check(&self, class: RateClass, who: &str) -> Result<(), Duration> {
        let budgets = self.0.iter().find(|(of, _)| *of == class).and_then(|(_, budgets)| budgets.as_ref());
        budgets.map_or(Ok(()), |budgets| budgets.take(who))
    }
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
