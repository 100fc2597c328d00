//! What every engine must do.

use myelin::store::{
    Batch, CommitError, Driver, Engine, OpenOptions, Page, Position, ReadError, Store,
    engine::{faulty::Faulty, memory::Memory},
};

use super::{BLOBS, EVENTS, NUMBERS};

fn read<T>(store: &Store, read: impl Fn(&myelin::store::View<'_>) -> Result<T, ReadError>) -> T {
    store.read_blocking(read).unwrap()
}

async fn suite(engine: impl Engine, driver: Driver) {
    let store = Store::open_with(engine, OpenOptions { driver, ..OpenOptions::default() }).unwrap();
    values_come_back(&store).await;
    spans_are_ordered_and_bounded(&store).await;
    assertions_hold_or_nothing_is_written(&store).await;
    positions_grow_and_are_published_in_order(&store).await;
    limits_are_enforced(&store).await;
    snapshots_do_not_move(&store).await;
}

#[tokio::test]
async fn memory() {
    suite(Memory::new(), Driver::Inline).await;
    suite(Memory::new(), Driver::Thread).await;
}

#[tokio::test]
async fn forgetful() {
    let engine = Faulty::new(Memory::new());
    engine.forget(3, 7);
    suite(engine, Driver::Thread).await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn rocks() {
    let folder = tempfile::tempdir().unwrap();
    suite(super::rocks::open(folder.path()), Driver::Thread).await;
}

async fn values_come_back(store: &Store) {
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &(1, "a"), &10);
    batch.put(&NUMBERS, &(1, "a\0b"), &11);
    batch.put(&NUMBERS, &(1, "b"), &12);
    batch.put(&NUMBERS, &(2, ""), &20);
    assert_eq!(store.commit(batch).await, Ok(None), "no row asked for a position");
    let all = read(store, |view| view.multi_get(&NUMBERS, [(1, "a"), (1, "a\0b"), (1, "c"), (2, "")]));
    assert_eq!(all, [Some(10), Some(11), None, Some(20)]);
    assert!(read(store, |view| view.has(&NUMBERS, &(1, "b"))));

    let mut batch = Batch::new();
    batch.delete(&NUMBERS, &(1, "b"));
    batch.delete(&NUMBERS, &(9, "never there"));
    store.commit(batch).await.unwrap();
    assert!(!read(store, |view| view.has(&NUMBERS, &(1, "b"))));
    assert_eq!(store.read(|view| view.get(&NUMBERS, &(1, "a"))).await, Ok::<_, ReadError>(Some(10)));
}

async fn spans_are_ordered_and_bounded(store: &Store) {
    let mut batch = Batch::new();
    for number in 0..10 {
        batch.put(&NUMBERS, &(5, format!("k{number}")), &number);
    }
    store.commit(batch).await.unwrap();
    let keys = |page: Page<(u64, String), u64>| page.rows.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
    let whole = NUMBERS.span(&(5,));
    assert_eq!(keys(read(store, |view| view.scan(&whole, 100))), (0..10).collect::<Vec<_>>());
    let page = read(store, |view| view.scan(&whole, 3));
    assert!(page.more);
    assert_eq!(keys(page), [0, 1, 2]);
    let back = whole.clone().reversed().before(&(5, "k4"));
    assert_eq!(keys(read(store, |view| view.scan(&back, 2))), [3, 2]);
    let middle = NUMBERS.span(&(5,)).after(&(5, "k2")).through(&(5, "k4"));
    assert_eq!(keys(read(store, |view| view.scan(&middle, 100))), [3, 4]);
    let nothing = NUMBERS.span(&(5,)).from(&(5, "k8")).before(&(5, "k2"));
    assert_eq!(keys(read(store, |view| view.scan(&nothing, 100))), [0_u64; 0]);

    // Many at once: each as if it were alone, whatever their order and overlap, and whichever is empty.
    let tail = NUMBERS.span(&(5,)).from(&(5, "k8"));
    let through = NUMBERS.span(&(5,)).through(&(5, "k4")).reversed();
    let spans = [tail, back, nothing, whole, middle, through, NUMBERS.span(&(4,)), NUMBERS.span(&(6,)).reversed()];
    let pages = read(store, |view| view.multi_scan(&spans, 3));
    let more: Vec<bool> = pages.iter().map(|page| page.more).collect();
    assert_eq!(more, [false, true, false, true, false, true, false, false]);
    let rows: Vec<Vec<u64>> = pages.into_iter().map(keys).collect();
    assert_eq!(
        rows,
        [vec![8, 9], vec![3, 2, 1], vec![], vec![0, 1, 2], vec![3, 4], vec![4, 3, 2], vec![], vec![]] as [Vec<u64>; 8]
    );

    let mut batch = Batch::new();
    batch.clear(NUMBERS.span(&(5,)).from(&(5, "k3")));
    batch.put(&NUMBERS, &(5, "k7"), &70);
    store.commit(batch).await.unwrap();
    assert_eq!(
        keys(read(store, |view| view.scan(&NUMBERS.span(&(5,)), 100))),
        [0, 1, 2, 70],
        "in the order of the batch"
    );
}

async fn assertions_hold_or_nothing_is_written(store: &Store) {
    let mut batch = Batch::new();
    batch.assert_absent(&NUMBERS, &(7, "x"));
    batch.put(&NUMBERS, &(7, "x"), &1);
    store.commit(batch).await.unwrap();
    let attempt = |expected: Option<u64>| {
        let mut batch = Batch::new();
        batch.put(&NUMBERS, &(7, "other"), &5);
        batch.assert_still(&NUMBERS, &(7, "x"), expected.as_ref());
        store.commit(batch)
    };
    assert_eq!(attempt(None).await, Err(CommitError::Conflict));
    assert_eq!(attempt(Some(2)).await, Err(CommitError::Conflict));
    assert!(!read(store, |view| view.has(&NUMBERS, &(7, "other"))), "a refused batch leaves nothing");
    assert_eq!(attempt(Some(1)).await, Ok(None));
    assert!(read(store, |view| view.has(&NUMBERS, &(7, "other"))));
}

async fn positions_grow_and_are_published_in_order(store: &Store) {
    let told = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = told.clone();
    store.on_published(move |published| listener.lock().push((published.position, published.touches.len())));
    let mut last = store.horizon();
    for text in ["one", "two"] {
        let mut batch = Batch::new();
        batch.put_at(&EVENTS, move |position| ((position,), text.to_owned()));
        batch.touch(|position| position);
        let position = store.commit(batch).await.unwrap().unwrap();
        assert!(position > last);
        assert_eq!(store.horizon(), position);
        let found = read(store, move |view| view.get(&EVENTS, &(position,)));
        assert_eq!(found.as_deref(), Some(text));
        last = position;
    }
    let told = told.lock().clone();
    assert_eq!(told.len(), 2);
    assert!(told[0].0 < told[1].0 && told.iter().all(|(_, touches)| *touches == 1));
}

async fn limits_are_enforced(store: &Store) {
    let put = |value: Vec<u8>, large: bool| {
        let mut batch = Batch::new();
        if large {
            batch.put(&BLOBS, &(1,), &value);
        } else {
            batch.put(&NUMBERS, &(1, String::from_utf8(value).unwrap()), &1);
        }
        store.commit(batch)
    };
    assert!(put(vec![7; 200 << 10], true).await.is_ok());
    assert_eq!(read(store, |view| view.get(&BLOBS, &(1,))).map(|blob| blob.len()), Some(200 << 10));
    assert!(matches!(put(vec![7; 5 << 20], true).await, Err(CommitError::TooLarge(_))));
    assert!(matches!(put(vec![b'k'; 2_000], false).await, Err(CommitError::TooLarge(_))), "a key of 2 kB");
    let mut batch = Batch::new();
    for number in 0..10_001 {
        batch.put(&NUMBERS, &(8, number.to_string()), &1);
    }
    assert!(matches!(store.commit(batch).await, Err(CommitError::TooLarge(_))));
    assert!(!read(store, |view| view.has(&NUMBERS, &(8, "0"))));
}

async fn snapshots_do_not_move(store: &Store) {
    let mut batch = Batch::new();
    batch.put(&NUMBERS, &(3, "n"), &1);
    store.commit(batch).await.unwrap();
    let writer = store.clone();
    let (before, after) = read(store, |view| {
        let before = view.get(&NUMBERS, &(3, "n"))?;
        let mut batch = Batch::new();
        batch.put(&NUMBERS, &(3, "n"), &2);
        let commit = writer.clone();
        std::thread::scope(|scope| {
            let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
            scope.spawn(move || runtime().block_on(commit.commit(batch)).unwrap()).join().unwrap();
        });
        Ok((before, view.get(&NUMBERS, &(3, "n"))?))
    });
    assert_eq!((before, after), (Some(1), Some(1)));
    assert_eq!(read(store, |view| view.get(&NUMBERS, &(3, "n"))), Some(2));
    assert!(store.horizon() >= Position::ZERO);
}
