//! What only a store on disk can do: be found again, be locked, miss something.

use std::path::Path;

use myelin::store::{
    Batch, Driver, OpenError, OpenOptions, Position, Store,
    engine::rocks::{Rocks, RocksOptions},
};

use super::{EVENTS, NUMBERS};

pub fn open(folder: &Path) -> Rocks {
    try_open(folder).unwrap()
}

fn try_open(folder: &Path) -> Result<Rocks, OpenError> {
    Rocks::open(folder, RocksOptions { cache: 8 << 20, fsync: true })
}

fn options(accept_loss: bool) -> OpenOptions {
    OpenOptions { driver: Driver::Thread, accept_loss, ..OpenOptions::default() }
}

async fn add(store: &Store, text: &'static str) -> Position {
    let mut batch = Batch::new();
    batch.put_at(&EVENTS, move |position| ((position,), text.to_owned()));
    store.commit(batch).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_written_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let position = {
        let store = Store::open_with(open(folder.path()), options(false)).unwrap();
        add(&store, "kept").await
    };
    let engine = loop_until_free(folder.path());
    let store = Store::open_with(engine, options(false)).unwrap();
    assert_eq!((store.horizon(), store.epoch()), (position, 1));
    assert_eq!(store.read_blocking(|view| view.get(&EVENTS, &(position,))).unwrap().as_deref(), Some("kept"));
    assert!(add(&store, "next").await > position);
}

#[tokio::test]
async fn a_closed_store_has_written_what_waited_and_is_not_used_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(open(folder.path()), options(false)).unwrap();
    let reading = store.clone();
    let (started, starting) = std::sync::mpsc::channel();
    let (proceed, proceeding) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        reading.read_blocking(|view| {
            started.send(()).unwrap();
            proceeding.recv().unwrap();
            view.first(&EVENTS.span(&()))
        })
    });
    add(&store, "kept").await;
    starting.recv().unwrap();
    let closing = store.clone();
    let closer = std::thread::spawn(move || closing.close());
    proceed.send(()).unwrap();
    reader.join().unwrap().expect("a read that was under way is finished");
    closer.join().unwrap();
    assert!(store.read_blocking(|view| view.first(&EVENTS.span(&()))).is_err());
    assert!(store.commit(Batch::new()).await.is_err());
    drop(store);
    let store = Store::open_with(open(folder.path()), options(false)).unwrap();
    assert_eq!(store.read_blocking(|view| view.first(&EVENTS.span(&()))).unwrap().unwrap().1, "kept");
}

/// The lane's thread lets go of the folder a moment after the store is dropped.
fn loop_until_free(folder: &Path) -> Rocks {
    loop {
        match try_open(folder) {
            Ok(rocks) => return rocks,
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let error = try_open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().contains("stop that one first"));
}

#[tokio::test]
async fn a_log_cut_behind_an_acknowledged_position_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open_with(open(folder.path()), options(false)).unwrap();
        for _ in 0..10 {
            add(&store, "acknowledged").await;
        }
    }
    drop(loop_until_free(folder.path()));
    let old = tempfile::tempdir().unwrap();
    copy(folder.path(), old.path());
    let last = {
        let store = Store::open_with(loop_until_free(folder.path()), options(false)).unwrap();
        add(&store, "more").await
    };
    drop(loop_until_free(folder.path()));
    // An older database under a newer file of what was acknowledged: as if the log had lost its tail.
    std::fs::copy(folder.path().join("POSITION"), old.path().join("POSITION")).unwrap();
    let refused = Store::open_with(open(old.path()), options(false)).err().unwrap();
    assert!(matches!(refused, OpenError::Lost { acknowledged, .. } if acknowledged == last.0), "{refused}");
    assert!(refused.to_string().contains("--accept-loss"));

    let store = Store::open_with(loop_until_free(old.path()), options(true)).unwrap();
    assert_eq!(store.epoch(), 2, "a new life");
    assert!(store.horizon() > last, "positions jump over all that were given out");
    assert!(add(&store, "goes on").await > last);
}

#[tokio::test]
async fn garbage_behind_the_log_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let position = {
        let store = Store::open_with(open(folder.path()), options(false)).unwrap();
        add(&store, "kept").await
    };
    drop(loop_until_free(folder.path()));
    let logs = std::fs::read_dir(folder.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
    for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        use std::io::Write as _;
        std::fs::File::options().append(true).open(log).unwrap().write_all(&[0xA5; 500]).unwrap();
    }
    let store = Store::open_with(open(folder.path()), options(false)).unwrap();
    assert_eq!(store.read_blocking(|view| view.get(&EVENTS, &(position,))).unwrap().as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_read_that_is_not_in_memory_goes_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open_with(open(folder.path()), options(false)).unwrap();
        for number in 0..100 {
            let mut batch = Batch::new();
            batch.put(&NUMBERS, &(number, "n"), &number);
            store.commit(batch).await.unwrap();
        }
    }
    let store = Store::open_with(loop_until_free(folder.path()), options(false)).unwrap();
    let found = store.read(|view| view.multi_get(&NUMBERS, (0..100).map(|number| (number, "n")))).await;
    assert_eq!(found, Ok::<_, myelin::store::ReadError>((0..100).map(Some).collect::<Vec<_>>()));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
