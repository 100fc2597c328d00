//! What the engine that fails on order does to a store.

use myelin::store::{
    Batch, CommitError, Position, ReadError, Store,
    engine::{
        faulty::{Fault, Faulty},
        memory::Memory,
    },
};

use super::{EVENTS, NUMBERS};

fn number(key: u64, value: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &(key, "n"), &value);
    batch
}

fn numbers(store: &Store) -> Vec<u64> {
    let page = store.read_blocking(|view| view.scan(&NUMBERS.span(&()), 1_000)).unwrap();
    page.rows.into_iter().map(|(_, value)| value).collect()
}

#[tokio::test]
async fn a_power_cut_takes_what_was_not_synced() {
    let engine = Faulty::new(Memory::new());
    let store = Store::open(engine.clone());
    for key in 1..=3 {
        store.commit_lazy(number(key, key)).await.unwrap();
    }
    store.commit(number(4, 4)).await.unwrap();
    // Since then: a change, two changes of one row, a new row, a removal and a cleared span.
    store.commit_lazy(number(1, 10)).await.unwrap();
    store.commit_lazy(number(1, 100)).await.unwrap();
    store.commit_lazy(number(5, 5)).await.unwrap();
    let mut batch = Batch::new();
    batch.delete(&NUMBERS, &(2, "n"));
    batch.clear(NUMBERS.span(&(3,)));
    batch.put(&NUMBERS, &(3, "n"), &30);
    store.commit_lazy(batch).await.unwrap();
    assert_eq!(numbers(&store), [100, 30, 4, 5]);
    engine.crash().unwrap();
    assert_eq!(numbers(&Store::open(engine)), [1, 2, 3, 4], "a synced write takes the lazy ones before it along");
}

#[tokio::test]
async fn a_write_fails_before_or_after_it_is_applied() {
    for (fault, stays) in [(Fault::Refused, false), (Fault::Applied, true)] {
        let engine = Faulty::new(Memory::new());
        let store = Store::open(engine.clone());
        engine.fail_after(1, fault);
        store.commit(number(1, 1)).await.unwrap();
        assert!(!engine.has_failed());
        let mut batch = number(2, 2);
        batch.put_at(&EVENTS, |position| ((position,), "unsure".to_owned()));
        let before = store.horizon();
        assert!(matches!(store.commit(batch).await, Err(CommitError::Engine(_))));
        assert!(engine.has_failed());
        assert_eq!(store.horizon(), before, "nobody was told of it");
        assert!(store.commit(number(3, 3)).await.is_err(), "and nothing is written after it");
        engine.crash().unwrap();
        let store = Store::open(engine);
        assert_eq!(numbers(&store), if stays { vec![1, 2] } else { vec![1] });
        assert_eq!(store.horizon() > before, stays);
        store.commit(number(4, 4)).await.unwrap();
    }
}

#[tokio::test]
async fn reads_that_are_not_in_memory_run_again() {
    let engine = Faulty::new(Memory::new());
    let store = Store::open(engine.clone());
    for key in 0..50 {
        store.commit(number(key, key)).await.unwrap();
    }
    engine.forget(20, 1);
    for _ in 0..20 {
        let read = store.read(|view| {
            let one_by_one = view.multi_get(&NUMBERS, (0..50).map(|key| (key, "n")))?;
            Ok::<_, ReadError>((one_by_one, view.scan(&NUMBERS.span(&()), 1_000)?.rows.len(), view.horizon()))
        });
        assert_eq!(read.await, Ok(((0..50).map(Some).collect(), 50, Position::ZERO)));
    }
    assert!(store.disk_reads() > 0, "some of them had to");
}
