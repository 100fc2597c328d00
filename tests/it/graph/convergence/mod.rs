//! Whatever comes in whichever order, all end with the same: random rooms are fed in random orders, with losses, duplicates
//! and restarts, into several engines. All reject the same events, have the same state before each, and the same current
//! state: that which the specification's text says, written out literally.
//!
//! `make test` runs a few thousand rooms; `make simulate SEEDS=N` runs N of them for each room version. A room that fails is
//! named by its version and seed; `MYELIN_SEED=seed` runs that one alone.

#[path = "../../../../src/event/resolve/tests/literal.rs"]
mod literal;
mod world;

/// What the literal text speaks of.
mod subject {
    pub(super) use myelin::event::{
        Pdu, Rules, auth,
        power::{Level, PowerLevels},
        resolve::Entry,
    };
}

use std::collections::BTreeMap;

use futures_util::future::join_all;
use myelin::{
    graph::{Needs, RoomNo, Status, Verdict},
    store::engine::memory::Memory,
};
use ruma::{OwnedEventId, RoomVersionId};

use self::{
    literal::State,
    world::{Base, Dice, World},
};
use super::rig::Rig;

/// Rooms for each room version, unless `MYELIN_SEEDS` says how many.
const SEEDS: u64 = 170;
/// Engines that each room is fed into.
const ENGINES: u64 = 2;

/// What was seen over all rooms, so that a test can tell that it tested something.
#[derive(Debug, Default)]
struct Seen {
    forks: usize,
    rejected: usize,
    soft_failed: usize,
    held: usize,
    needs: usize,
    restarts: usize,
    events: usize,
}

/// Says which room it was, if a check fails.
struct Named<'a>(&'a RoomVersionId, u64);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("room version {}: the seed that fails is MYELIN_SEED={}", self.0, self.1);
        }
    }
}

/// One of the servers' graphs, over a store that outlives it.
struct Engine<'w> {
    world: &'w World,
    memory: Memory,
    rig: Rig,
    no: RoomNo,
    dice: Dice,
}

impl<'w> Engine<'w> {
    fn new(world: &'w World, base: &Base, dice: Dice) -> Self {
        let memory = base.memory.copied();
        Self { world, rig: Rig::over(memory.clone()), memory, no: base.no, dice }
    }

    fn restart(&mut self) {
        self.rig.is_checked = false;
        self.rig = Rig::over(self.memory.clone());
    }

    async fn receive(&self, id: &OwnedEventId) -> Verdict {
        self.rig.graph.receive(self.no, self.world.receipt(id)).await.unwrap()
    }

    /// Hands an event in; what it needs is fetched before, and so on.
    async fn deliver(&self, id: &OwnedEventId) {
        let mut open = vec![id.clone()];
        while let Some(id) = open.last() {
            match self.receive(id).await {
                Verdict::Needs(Needs::Missing { prev, auth }) => {
                    open.extend(prev);
                    // Now and then what authorises it comes without its place.
                    for id in auth {
                        if self.world.judged[&id].is_rejected || !self.dice.once_in(3) || !self.has_outlier(&id).await {
                            open.push(id);
                        }
                    }
                }
                Verdict::Needs(needs) => panic!("{needs:?}"),
                _ => _ = open.pop(),
            }
        }
    }

    /// Hands an event in as an outlier; whether it was taken as such.
    async fn has_outlier(&self, id: &OwnedEventId) -> bool {
        let verdict = self.rig.graph.receive_outlier(self.no, self.world.receipt(id)).await.unwrap();
        assert!(!matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
        !matches!(verdict, Verdict::Needs(_))
    }

    /// Hands in all events of the room, in some order.
    async fn live(&mut self, seen: &mut Seen) {
        let mut order = self.world.sent().to_vec();
        if self.dice.once_in(2) {
            self.dice.shuffle(&mut order);
        } else {
            // Most come about when they were made.
            for first in (0..order.len()).step_by(4) {
                let end = order.len().min(first + 8);
                self.dice.shuffle(&mut order[first..end]);
            }
        }
        // Some are lost, some come twice.
        order.retain(|_| !self.dice.once_in(6));
        for index in 0..order.len() {
            if self.dice.once_in(8) {
                order.push(order[index].clone());
            }
        }
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + self.dice.below(5)));
            rest = later;
            match self.dice.below(3) {
                0 => _ = join_all(now.iter().map(|id| self.deliver(id))).await,
                1 => {
                    let verdicts = join_all(now.iter().map(|id| self.receive(id))).await;
                    seen.needs += verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Needs(_))).count();
                }
                _ => {
                    for id in now.iter().filter(|id| !self.world.judged[*id].is_rejected && self.dice.once_in(2)) {
                        self.has_outlier(id).await;
                    }
                    for id in now {
                        self.deliver(id).await;
                    }
                }
            }
            if self.dice.once_in(8) {
                self.restart();
                seen.restarts += 1;
            }
        }
        // The last one has all others before it, but for those that nobody cites.
        self.deliver(self.world.last()).await;
        for id in self.world.sent() {
            self.deliver(id).await;
        }
    }

    /// What is there now is what the text says; if `all`, also before each event.
    fn check(&self, all: bool, seen: &mut Seen) {
        let mut states = BTreeMap::new();
        let mut state = |root| states.entry(root).or_insert_with(|| self.state(root)).clone();
        for id in self.world.sent() {
            let (event, judged) = (self.rig.event(id), &self.world.judged[id]);
            let is_rejected = event.meta.status == Status::Rejected;
            assert_eq!(is_rejected, judged.is_rejected, "{:?} is {:?}", self.world.events[id], event.meta.status);
            assert!(
                !all || state(event.meta.root_before) == judged.before,
                "the state before {:?}",
                self.world.events[id]
            );
            seen.soft_failed += usize::from(event.meta.status == Status::SoftFailed);
            seen.held += usize::from(event.meta.status == Status::Held);
            seen.rejected += usize::from(is_rejected);
            seen.events += 1;
        }
        let last = self.world.last();
        let head = self.rig.read(|view| self.rig.graph.reader().head(view, self.no)).unwrap();
        assert_eq!(head.extremities, [self.rig.event(last).seq], "it has all others before it");
        assert_eq!(state(head.root), *self.world.after(last), "the current state");
    }

    fn state(&self, root: myelin::graph::Root) -> State {
        self.rig.state(self.no, root).into_iter().map(|(key, id)| ((key.kind, key.state_key), id)).collect()
    }
}

async fn converges(base: &Base, seed: u64, seen: &mut Seen) {
    let world = World::grown(base, seed, 6 + usize::try_from(seed % 11).unwrap());
    seen.forks += world.forks;
    for number in 0..ENGINES {
        let mut engine = Engine::new(&world, base, Dice::new(seed ^ ((number + 1) << 60)));
        engine.live(seen).await;
        engine.check(number == 0, seen);
    }
}

fn all_converge(version: &RoomVersionId) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("MYELIN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MYELIN_SEEDS").unwrap_or(SEEDS),
    };
    let is_whole = seeds.end - seeds.start >= 100;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let mut seen = Seen::default();
    runtime.block_on(async {
        let base = Base::new(version).await;
        for seed in seeds {
            let _named = Named(version, seed);
            converges(&base, seed, &mut seen).await;
        }
    });
    if is_whole {
        let Seen { forks, rejected, soft_failed, held, needs, restarts, events } = seen;
        let least = [forks, rejected, soft_failed, needs, restarts].into_iter().min().unwrap();
        assert!(least > 40 && held > 5 && events > 2_000, "{version}: {seen:?}");
    }
}

#[test]
fn version_1() {
    all_converge(&RoomVersionId::V1);
}

#[test]
fn version_2() {
    all_converge(&RoomVersionId::V2);
}

#[test]
fn version_3() {
    all_converge(&RoomVersionId::V3);
}

#[test]
fn version_4() {
    all_converge(&RoomVersionId::V4);
}

#[test]
fn version_5() {
    all_converge(&RoomVersionId::V5);
}

#[test]
fn version_6() {
    all_converge(&RoomVersionId::V6);
}

#[test]
fn version_7() {
    all_converge(&RoomVersionId::V7);
}

#[test]
fn version_8() {
    all_converge(&RoomVersionId::V8);
}

#[test]
fn version_9() {
    all_converge(&RoomVersionId::V9);
}

#[test]
fn version_10() {
    all_converge(&RoomVersionId::V10);
}

#[test]
fn version_11() {
    all_converge(&RoomVersionId::V11);
}

#[test]
fn version_12() {
    all_converge(&RoomVersionId::V12);
}
