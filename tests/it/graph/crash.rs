//! Whichever commit fails, all rows agree afterwards, and what was acknowledged is there.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use myelin::{
    graph::Placed,
    store::{
        Engine, EngineError, Family, Position, ReadTier,
        engine::{Durability, Operation, RawRange, Snapshot, memory::Memory},
    },
};
use ruma::RoomVersionId;

use super::rig::{ALICE, BOB, CAROL, Rig, member, message};

const DAVE: &str = "@dave:here";

/// An engine that writes `left` more times, and then never again; and that has every other thing not in memory.
#[derive(Clone)]
struct Dying {
    memory: Memory,
    left: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

impl Engine for Dying {
    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        self.memory.snapshot(tier, &mut |snapshot| match tier {
            ReadTier::All => read(snapshot),
            ReadTier::BlockCache => read(&Forgetful { snapshot, reads: &self.reads }),
        });
    }

    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError> {
        let took = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        took.map_err(|_| EngineError::Io("the machine is gone".to_owned()))?;
        self.memory.write(operations, durability, last)
    }

    fn acknowledged(&self) -> Position {
        self.memory.acknowledged()
    }
}

struct Forgetful<'a> {
    snapshot: &'a dyn Snapshot,
    reads: &'a AtomicUsize,
}

impl Forgetful<'_> {
    fn remember(&self) -> Result<(), EngineError> {
        let reads = self.reads.fetch_add(1, Ordering::SeqCst);
        if reads % 13 == 12 { Err(EngineError::Incomplete) } else { Ok(()) }
    }
}

impl Snapshot for Forgetful<'_> {
    fn get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        self.remember()?;
        self.snapshot.get(family, key, read)
    }

    fn scan(&self, range: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        self.remember()?;
        self.snapshot.scan(range, visit)
    }
}

/// A small life of a room; says what was acknowledged.
async fn live(rig: &Rig) -> Vec<Placed> {
    let Ok(no) = rig.try_create(&RoomVersionId::V11, super::rig::room(ALICE, "public", &RoomVersionId::V11)).await
    else {
        return Vec::new();
    };
    let mut acknowledged = Vec::new();
    acknowledged.extend(rig.send(no, member(BOB, BOB, "join")).await);
    let said = join_all((0..20).map(|number| rig.send(no, message(ALICE, &number.to_string())))).await;
    acknowledged.extend(said.into_iter().flatten());
    acknowledged.extend(rig.send(no, member(CAROL, CAROL, "join")).await);
    acknowledged.extend(rig.send(no, member(ALICE, BOB, "ban")).await);
    acknowledged.extend(rig.send(no, message(CAROL, "where is Bob?")).await);
    acknowledged.extend(rig.send(no, member(CAROL, CAROL, "leave")).await);
    acknowledged.extend(rig.send(no, member(ALICE, ALICE, "leave")).await);
    acknowledged
}

#[tokio::test]
async fn every_commit_may_be_the_last() {
    for commits in 0.. {
        let (memory, forever) = (Memory::new(), usize::MAX);
        let engine = Dying { memory: memory.clone(), left: Arc::new(forever.into()), reads: Arc::default() };
        let rig = Rig::over(engine.clone());
        engine.left.store(commits, Ordering::SeqCst);
        let acknowledged = live(&rig).await;
        let is_over = engine.left.load(Ordering::SeqCst) > 0;
        drop(rig);

        let rig = Rig::over(memory);
        rig.check();
        for placed in &acknowledged {
            let event = rig.event(&placed.event_id);
            assert_eq!((event.room, event.seq), (placed.room, placed.seq));
            assert!(event.is_accepted());
        }
        // And on from there.
        let rooms = rig.read(|view| rig.graph.reader().server_rooms(view, "here"));
        for no in rooms {
            rig.send(no, member(DAVE, DAVE, "join")).await.unwrap();
        }
        if is_over {
            assert_eq!(acknowledged.len(), 26);
            break;
        }
    }
}
