//! Group commit: many batches, one write, each with its own assertions and position.

use std::{
    future::Future as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use myelin::store::{
    Batch, CommitError, Driver, Engine, EngineError, OpenOptions, Position, ReadError, ReadTier, Store,
    engine::{Durability, Operation, Snapshot, memory::Memory},
};
use parking_lot::{Condvar, Mutex};

use super::{EVENTS, NUMBERS};

/// An engine whose writes wait until they are let through, and that counts them.
#[derive(Clone, Default)]
struct Gated {
    memory: Memory,
    gate: Arc<(Mutex<bool>, Condvar)>,
    writes: Arc<AtomicUsize>,
    synced: Arc<AtomicUsize>,
}

impl Gated {
    fn close(&self) {
        *self.gate.0.lock() = true;
    }
    fn open(&self) {
        *self.gate.0.lock() = false;
        self.gate.1.notify_all();
    }
}

impl Engine for Gated {
    fn snapshot(&self, tier: ReadTier, read: &mut dyn FnMut(&dyn Snapshot)) {
        self.memory.snapshot(tier, read);
    }
    fn write(&self, operations: &[Operation], durability: Durability, last: Position) -> Result<(), EngineError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let mut closed = self.gate.0.lock();
        while *closed {
            self.gate.1.wait(&mut closed);
        }
        if durability == Durability::Synced {
            self.synced.fetch_add(1, Ordering::SeqCst);
        }
        self.memory.write(operations, durability, last)
    }
    fn acknowledged(&self) -> Position {
        self.memory.acknowledged()
    }
}

fn open(engine: &Gated) -> Store {
    Store::open_with(engine.clone(), OpenOptions { driver: Driver::Thread, ..OpenOptions::default() }).unwrap()
}

/// Fills the lane behind a closed gate: the first batch is being written, the rest wait and go as one group.
async fn together(engine: &Gated, store: &Store, batches: Vec<Batch>) -> Vec<Result<Option<Position>, CommitError>> {
    engine.close();
    let before = engine.writes.load(Ordering::SeqCst);
    let mut first = Batch::new();
    first.put(&NUMBERS, &(0, "gate"), &0);
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.commit(first).await }
    });
    while engine.writes.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    let mut waiting = Vec::new();
    for batch in batches {
        let (store, counters) = (store.clone(), store.lane_counters().waiting.load(Ordering::SeqCst));
        let before = counters;
        waiting.push(tokio::spawn({
            let store = store.clone();
            async move { store.commit(batch).await }
        }));
        while store.lane_counters().waiting.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    }
    engine.open();
    first.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for one in waiting {
        answers.push(one.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn what_waits_is_written_together() {
    let engine = Gated::default();
    let store = open(&engine);
    let batch = |number: u64| {
        let mut batch = Batch::new();
        batch.put_at(&EVENTS, move |position| ((position,), number.to_string()));
        batch
    };
    let before = engine.writes.load(Ordering::SeqCst);
    let answers = together(&engine, &store, (0..20).map(batch).collect()).await;
    assert_eq!(engine.writes.load(Ordering::SeqCst) - before, 2, "the gate's own, and one for all twenty");
    let positions: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert!(positions.is_sorted_by(|one, next| one < next), "each has its own, in the order of arrival");
    let rows = store.read_blocking(|view| view.scan(&EVENTS.span(&()), 100)).unwrap().rows;
    let numbers: Vec<_> = rows.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn assertions_see_the_batches_before_them_in_the_group() {
    let engine = Gated::default();
    let store = open(&engine);
    let claim = |value: u64| {
        let mut batch = Batch::new();
        batch.assert_absent(&NUMBERS, &(1, "taken"));
        batch.put(&NUMBERS, &(1, "taken"), &value);
        batch
    };
    let change = |from: u64, to: u64| {
        let mut batch = Batch::new();
        batch.assert_is(&NUMBERS, &(1, "taken"), &from);
        batch.put(&NUMBERS, &(1, "taken"), &to);
        batch
    };
    let mut clear = Batch::new();
    clear.clear(NUMBERS.span(&(1,)));
    let batches = vec![claim(1), claim(2), change(1, 3), change(1, 4), clear, claim(5)];
    let answers = together(&engine, &store, batches).await;
    let conflict = Err(CommitError::Conflict);
    assert_eq!(answers, [Ok(None), conflict.clone(), Ok(None), conflict, Ok(None), Ok(None)]);
    let value = store.read_blocking(|view| view.get(&NUMBERS, &(1, "taken")));
    assert_eq!(value, Ok::<_, ReadError>(Some(5)));
}

#[tokio::test]
async fn lazy_batches_do_not_ask_for_the_disk() {
    let engine = Gated::default();
    let store = open(&engine);
    let synced = engine.synced.load(Ordering::SeqCst);
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &(1, "lazy"), &1);
    store.commit_lazy(batch).await.unwrap();
    assert_eq!(engine.synced.load(Ordering::SeqCst), synced);
    assert!(store.read_blocking(|view| view.has(&NUMBERS, &(1, "lazy"))).unwrap());
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_undo_the_commit() {
    let engine = Gated::default();
    let store = open(&engine);
    engine.close();
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &(1, "kept"), &1);
    let mut commit = Box::pin(store.commit(batch));
    let once = std::future::poll_fn(|context| std::task::Poll::Ready(commit.as_mut().poll(context)));
    assert!(once.await.is_pending());
    drop(commit);
    engine.open();
    let mut next = Batch::new();
    next.put(&NUMBERS, &(1, "next"), &1);
    store.commit(next).await.unwrap();
    assert!(store.read_blocking(|view| view.has(&NUMBERS, &(1, "kept"))).unwrap());
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more() {
    let store = open(&Gated::default());
    store.close();
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &(1, "late"), &1);
    assert_eq!(store.commit(batch).await, Err(CommitError::Closed));
}
