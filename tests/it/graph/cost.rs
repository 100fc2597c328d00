//! What an event costs: rows, bytes and reads, whatever the size of its room.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use myelin::store::{
    Engine, EngineError, Family, Position, ReadTier,
    engine::{Durability, Operation, RawRange, Snapshot, memory::Memory},
};
use ruma::RoomVersionId;

use super::rig::{ALICE, Rig, member, message};

/// Counts what is written and read.
#[derive(Clone, Default)]
struct Counting {
    memory: Memory,
    rows: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

impl Counting {
    fn take(&self) -> (usize, usize, usize) {
        let take = |counter: &AtomicUsize| counter.swap(0, Ordering::SeqCst);
        (take(&self.rows), take(&self.bytes), take(&self.reads))
    }
}

impl Engine for Counting {
    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        self.memory.snapshot(tier, &mut |snapshot| read(&Counted { snapshot, reads: &self.reads }));
    }

    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError> {
        self.rows.fetch_add(operations.len(), Ordering::SeqCst);
        for operation in operations {
            if let Operation::Put { key, value, .. } = operation {
                self.bytes.fetch_add(key.len() + value.len(), Ordering::SeqCst);
            }
        }
        self.memory.write(operations, durability, last)
    }

    fn acknowledged(&self) -> Position {
        self.memory.acknowledged()
    }
}

struct Counted<'a> {
    snapshot: &'a dyn Snapshot,
    reads: &'a AtomicUsize,
}

impl Snapshot for Counted<'_> {
    fn get(&self, family: Family, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, EngineError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.snapshot.get(family, key, read)
    }

    fn scan(&self, range: &RawRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), EngineError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.snapshot.scan(range, visit)
    }
}

#[tokio::test]
async fn an_event_costs_the_same_in_a_large_room() {
    let engine = Counting::default();
    let rig = Rig::over(engine.clone());
    let no = rig.create(&RoomVersionId::V11, "public").await;
    let mut costs = Vec::new();
    for round in 0..3 {
        for batch in 0..4 {
            let joins = (0..50)
                .map(|number| {
                    let id = format!("@u{round}_{batch}_{number}:here");
                    member(&id, &id, "join")
                })
                .collect();
            rig.graph.send(no, joins).await.unwrap();
        }
        rig.send(no, message(ALICE, "warm")).await.unwrap();
        engine.take();
        rig.send(no, message(ALICE, "hello")).await.unwrap();
        let said = engine.take();
        let id = format!("@new{round}:here");
        rig.send(no, member(&id, &id, "join")).await.unwrap();
        costs.push((said, engine.take()));
    }
    for ((said_rows, said_bytes, said_reads), (joined_rows, joined_bytes, joined_reads)) in costs {
        // Body, meta, id, both orders, time, log, head; and one that the store adds.
        assert!(said_rows <= 9 && said_bytes <= 2_000, "a message: {said_rows} rows, {said_bytes} bytes");
        // One of them is the assertion of the head.
        assert!(said_reads <= 2, "a message: {said_reads} reads");
        assert!(joined_rows <= 24 && joined_bytes <= 6_000, "a join: {joined_rows} rows, {joined_bytes} bytes");
        assert!(joined_reads <= 10, "a join: {joined_reads} reads");
    }
}
