//! Several whole servers in one process, on a network that loses, delays and repeats, with partitions, crashes and clocks that
//! differ. Their users do what users do. Once the network has healed all must agree about the rooms that they share.
//!
//! `make test` plays [`SCHEDULES`] of them; `make simulate SEEDS=N` plays N. One that fails is named by its seed;
//! `MYELIN_SEED=seed` plays that one alone, on a paused clock: the same thing happens again. `MYELIN_FIRST_SEED` begins elsewhere.

mod agreement;
mod dump;
mod liar;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use self::world::World;

/// Schedules, unless `MYELIN_SEEDS` says how many.
const SCHEDULES: u64 = 200;
/// Threads that play them.
const PLAYERS: u64 = 4;

/// What was seen over all schedules, so that a test can tell that it tested something.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    events: u64,
    joins: u64,
    refused: u64,
    crashes: u64,
    cuts: u64,
    compared: u64,
    /// Servers that could not hear that they were removed.
    unaware: u64,
    /// Schedules in which a server lied, and what it told.
    liars: u64,
    lies: u64,
    /// Schedules in the end of which servers did not agree.
    disagreeing: u64,
    /// Rooms about which several servers agreed in the end.
    shared: u64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn play(seed: u64) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(World::play(seed))));
    played.unwrap_or_else(|panic| {
        eprintln!("the schedule that fails is MYELIN_SEED={seed}");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn all_agree_in_the_end() {
    if let Some(seed) = number("MYELIN_SEED") {
        if let Ok(level) = std::env::var("MYELIN_LOG") {
            let filter = tracing_subscriber::EnvFilter::new(level);
            tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().without_time().init();
        }
        let seen = play(seed);
        println!("{seen:?}");
        assert_eq!(seen.disagreeing, 0, "all agree in the end");
        return;
    }
    let (schedules, first) = (number("MYELIN_SEEDS").unwrap_or(SCHEDULES), number("MYELIN_FIRST_SEED").unwrap_or(0));
    let next = AtomicU64::new(first);
    let mut total = Seen::default();
    std::thread::scope(|scope| {
        let player = || {
            let mut seen = Seen::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + schedules {
                    return seen;
                }
                let played = play(seed);
                if played.disagreeing > 0 {
                    eprintln!("the schedule that ends in disagreement is MYELIN_SEED={seed}");
                }
                seen.add(played);
            }
        };
        let players: Vec<_> = (0..PLAYERS).map(|_| scope.spawn(player)).collect();
        players.into_iter().for_each(|player| total.add(player.join().unwrap()));
    });
    println!("{total:?}");
    assert_eq!(total.disagreeing, 0, "all agree in the end: {total:?}");
    // The schedules are what they are said to be.
    assert!(total.joins > schedules && total.shared * 2 > schedules, "servers have rooms in common: {total:?}");
    assert!(total.liars * 4 > schedules && total.lies > 5 * total.liars, "some lie: {total:?}");
    assert!(total.unaware * 20 < schedules, "servers hear of what concerns them: {total:?}");
    assert!(total.events > 10 * schedules && total.compared > 10 * schedules, "something is said: {total:?}");
    assert!(
        total.crashes * 2 > schedules && total.cuts * 2 > schedules && total.refused > 0,
        "not all goes well: {total:?}"
    );
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.joins += other.joins;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.compared += other.compared;
        self.unaware += other.unaware;
        self.liars += other.liars;
        self.lies += other.lies;
        self.disagreeing += other.disagreeing;
        self.shared += other.shared;
    }
}
