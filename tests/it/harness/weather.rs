//! A network that is none of the best, the same each time for a seed: requests take a while, get lost, come twice, or their
//! answers get lost; servers do not reach each other for a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use myelin::{
    base::random::Random,
    federation::transport::{Outbound, Reply, TransportError},
};
use ruma::OwnedServerName;
use tokio::time::sleep;

use super::Network;

/// Chance, repeatable by a seed.
#[derive(Clone, Debug)]
pub struct Dice(Random);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Random::seeded(seed))
    }

    /// Below `many`.
    pub fn below(&self, many: usize) -> usize {
        usize::try_from(self.0.u64() % u64::try_from(many.max(1)).unwrap()).unwrap()
    }

    pub fn percent(&self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    pub fn millis(&self, most: usize) -> Duration {
        Duration::from_millis(u64::try_from(self.below(most)).unwrap())
    }

    pub fn u64(&self) -> u64 {
        self.0.u64()
    }
}

/// What happens to requests. Cheap to clone.
#[derive(Clone)]
pub struct Weather(Arc<Mutex<Inner>>);

struct Inner {
    dice: Dice,
    is_fair: bool,
    /// Pairs of servers that do not reach each other, each in both orders.
    cut: BTreeSet<(OwnedServerName, OwnedServerName)>,
}

/// What happens to one request.
struct Fate {
    there: Duration,
    back: Duration,
    is_lost: bool,
    comes_twice: bool,
    answer_is_lost: bool,
}

impl Weather {
    /// Fair, until it is made otherwise.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { dice: Dice::new(seed), is_fair: true, cut: BTreeSet::new() })))
    }

    /// Requests are lost and come twice, or not.
    pub fn set_fair(&self, is_fair: bool) {
        self.0.lock().unwrap().is_fair = is_fair;
    }

    /// Two servers do not reach each other any more.
    pub fn cut(&self, one: &str, other: &str) {
        let (one, other): (OwnedServerName, OwnedServerName) = (one.try_into().unwrap(), other.try_into().unwrap());
        let cut = &mut self.0.lock().unwrap().cut;
        cut.insert((one.clone(), other.clone()));
        cut.insert((other, one));
    }

    /// All reach each other.
    pub fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    fn is_cut(&self, from: &OwnedServerName, to: &OwnedServerName) -> bool {
        self.0.lock().unwrap().cut.contains(&(from.clone(), to.clone()))
    }

    fn fate(&self) -> Fate {
        let inner = self.0.lock().unwrap();
        let (dice, is_bad) = (&inner.dice, !inner.is_fair);
        let slow = if is_bad && dice.percent(10) { 20_000 } else { 300 };
        Fate {
            there: dice.millis(slow),
            back: dice.millis(300),
            is_lost: is_bad && dice.percent(8),
            comes_twice: is_bad && dice.percent(8),
            answer_is_lost: is_bad && dice.percent(8),
        }
    }

    /// Carries a request.
    pub(super) async fn carry(
        self,
        network: Network,
        from: OwnedServerName,
        request: Outbound,
    ) -> Result<Reply, TransportError> {
        let (fate, to, deadline) = (self.fate(), request.destination.clone(), request.deadline);
        let never = async || {
            tokio::time::sleep_until(deadline).await;
            Err(TransportError::Timeout)
        };
        sleep(fate.there).await;
        if fate.is_lost || self.is_cut(&from, &to) {
            return never().await;
        }
        if fate.comes_twice {
            let (network, request, pause) = (network.clone(), request.clone(), fate.back * 3);
            tokio::spawn(async move {
                sleep(pause).await;
                drop(network.deliver(request).await);
            });
        }
        let reply = network.deliver(request).await;
        sleep(fate.back).await;
        if fate.answer_is_lost || self.is_cut(&from, &to) { never().await } else { reply }
    }
}
