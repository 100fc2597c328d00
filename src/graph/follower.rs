//! Followers: whatever must react to every change, at its own pace. A follower reads the log from its own durable cursor;
//! after a crash it repeats some work and loses none.

use std::{future::Future, time::Duration};

use thiserror::Error;

use super::{
    keys::CURSOR,
    log::{self, Ring, Row},
    maintenance::log_begins_after,
    rows::Cursor,
};
use crate::{
    base::clock::Clock,
    store::{Batch, CommitError, Position, ReadError, Store, View},
};

/// The only shard today. The key has room for more.
const SHARD: u32 = 0;
/// Rows of the log that a follower is handed at once.
const STEP: usize = 500;

/// How often [`run`] keeps the cursor.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Something that follows the log.
pub trait Follower: Send + Sync {
    /// Its name in the cursors. For ever: a new name begins anew.
    fn name(&self) -> &'static str;

    /// Called when the follower has no cursor (it is switched on for the first time, or was set back), or when the log was
    /// cut behind it. Works off what is in
    /// the indexes up to `position`; the log behind it comes through [`Follower::follow`].
    ///
    /// # Errors
    /// It is called again later.
    fn bootstrap(&self, position: Position) -> impl Future<Output = Result<(), FollowError>> + Send;

    /// Works off these rows. They come in order, and again after a crash: doing it twice must be harmless.
    ///
    /// # Errors
    /// The same rows come again later.
    fn follow(&self, rows: &[Row]) -> impl Future<Output = Result<(), FollowError>> + Send;

    /// Up to where all is done for good, once the rows through `through` have been handed over: there the cursor may stand.
    /// A follower whose work goes on behind [`Follower::follow`] says less.
    fn settled(&self, through: Position) -> Position {
        through
    }
}

/// A follower could not go on.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The store could not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not write, or another runner has moved the cursor.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What the follower does failed.
    #[error("{0}")]
    Work(String),
}

/// How far a follower has come; `None` before its bootstrap.
pub fn cursor(view: &View<'_>, follower: &str) -> Result<Option<Cursor>, ReadError> {
    view.get(&CURSOR, &(follower, SHARD))
}

/// Moves a cursor in a commit, which fails with a conflict if it is not where it was read any more: a runner that was
/// paused can repeat work, but not take the cursor back.
pub fn move_cursor(batch: &mut Batch, follower: &str, from: Option<Cursor>, to: Position) -> Cursor {
    let moved = match from {
        Some(from) => Cursor { position: to, epoch: from.epoch },
        None => Cursor { position: to, epoch: 1 },
    };
    batch.assert_still(&CURSOR, &(follower, SHARD), from.as_ref());
    batch.put(&CURSOR, &(follower, SHARD), &moved);
    moved
}

/// Sets a follower back to its bootstrap: the runner of the old life cannot move the cursor any more.
pub fn reset_cursor(batch: &mut Batch, follower: &str) {
    batch.delete(&CURSOR, &(follower, SHARD));
}

/// The lowest of all cursors: the log may be cut below it. `None` if nobody follows.
pub fn lowest_cursor(view: &View<'_>) -> Result<Option<Position>, ReadError> {
    let page = view.scan(&CURSOR.span(&()), usize::MAX)?;
    Ok(page.rows.into_iter().map(|(_, cursor)| cursor.position).min())
}

/// Does what a follower has to do now; says whether more waits.
///
/// # Errors
/// What went wrong; calling again goes on from the cursor.
pub async fn step(store: &Store, follower: &impl Follower) -> Result<bool, FollowError> {
    let name = follower.name();
    let (at, rows, horizon) = store
        .read(move |view| {
            let at = cursor(view, name)?;
            let begins = log_begins_after(view)?;
            let rows = match at {
                Some(at) if at.position >= begins => Some(whole_commits(view, at.position)?),
                // Never followed, or for so long that the log was cut.
                _ => None,
            };
            Ok::<_, ReadError>((at, rows, view.horizon()))
        })
        .await?;
    let mut batch = Batch::new();
    let (Some(at), Some((rows, more))) = (at, rows) else {
        follower.bootstrap(horizon).await?;
        move_cursor(&mut batch, name, at, horizon);
        store.commit(batch).await?;
        return Ok(true);
    };
    let Some(last) = rows.last().map(|row| row.position) else { return Ok(false) };
    follower.follow(&rows).await?;
    move_cursor(&mut batch, name, Some(at), last);
    // Losing it is only repeated work.
    store.commit_lazy(batch).await?;
    Ok(more)
}

/// Runs a follower for ever, off the resident part of the log where that reaches back far enough. Its cursor is kept every
/// [`KEEP_EVERY`]; what was followed since is followed again after a crash.
///
/// # Errors
/// When somebody else moves the cursor, or the store is closed. What else fails is tried again.
pub async fn run(store: &Store, ring: &Ring, clock: &Clock, follower: &impl Follower) -> Result<(), FollowError> {
    let mut kept = begin(store, follower).await?;
    let (mut read, mut keep_at) = (kept.position, clock.instant() + KEEP_EVERY);
    loop {
        let rows = next(store, ring, read).await?;
        match rows.last() {
            Some(last) => {
                follower.follow(&rows).await?;
                read = last.position;
            }
            None => tokio::select! {
                () = ring.news_after(read) => {}
                () = tokio::time::sleep_until(keep_at), if read != kept.position => {}
            },
        }
        if clock.instant() >= keep_at {
            kept = keep(store, follower, kept, read).await?;
            keep_at = clock.instant() + KEEP_EVERY;
        }
    }
}

/// Keeps how far a follower has come whose runner has ended after `read`.
///
/// # Errors
/// When the store fails, or the cursor has been moved by somebody else meanwhile.
pub async fn end(store: &Store, follower: &impl Follower, read: Position) -> Result<(), FollowError> {
    let name = follower.name();
    if let Some(kept) = store.read(move |view| cursor(view, name)).await? {
        keep(store, follower, kept, read).await?;
    }
    Ok(())
}

async fn keep(store: &Store, follower: &impl Follower, kept: Cursor, read: Position) -> Result<Cursor, FollowError> {
    let settled = follower.settled(read).max(kept.position);
    if settled == kept.position {
        return Ok(kept);
    }
    let mut batch = Batch::new();
    let moved = move_cursor(&mut batch, follower.name(), Some(kept), settled);
    store.commit_lazy(batch).await?;
    Ok(moved)
}

/// The cursor of a follower, after its bootstrap if that is due.
async fn begin(store: &Store, follower: &impl Follower) -> Result<Cursor, FollowError> {
    let name = follower.name();
    let (at, begins, horizon) = store
        .read(move |view| Ok::<_, ReadError>((cursor(view, name)?, log_begins_after(view)?, view.horizon())))
        .await?;
    if let Some(at) = at.filter(|at| at.position >= begins) {
        return Ok(at);
    }
    follower.bootstrap(horizon).await?;
    let mut batch = Batch::new();
    let moved = move_cursor(&mut batch, name, at, horizon);
    store.commit(batch).await?;
    Ok(moved)
}

async fn next(store: &Store, ring: &Ring, after: Position) -> Result<Vec<Row>, ReadError> {
    match ring.next(after, STEP) {
        Some(rows) => Ok(rows),
        None => store.read(move |view| whole_commits(view, after)).await.map(|(rows, _)| rows),
    }
}

/// The next rows behind a position, and whether there are more. A cursor stands between commits, so one that is cut off by
/// the end of a page waits for the next page, unless it is all that the page holds.
fn whole_commits(view: &View<'_>, after: Position) -> Result<(Vec<Row>, bool), ReadError> {
    let mut limit = STEP;
    loop {
        let page = log::page(view, after, limit)?;
        let rows = page.rows.into_iter().map(|((position, _), entry)| Row { position, entry, glance: None });
        let mut rows: Vec<Row> = rows.collect();
        let (first, last) = (rows.first().map(|row| row.position), rows.last().map(|row| row.position));
        if !page.more {
            return Ok((rows, false));
        }
        if first != last {
            rows.retain(|row| Some(row.position) != last);
            return Ok((rows, true));
        }
        limit *= 2;
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use ruma::user_id;

    use super::*;
    use crate::{
        graph::log::{Entry, Stream, record},
        store::engine::memory::Memory,
    };

    #[derive(Default)]
    struct Recorder {
        seen: Mutex<Vec<u64>>,
        bootstraps: Mutex<u32>,
        fails: Mutex<bool>,
    }

    impl Follower for Recorder {
        fn name(&self) -> &'static str {
            "recorder"
        }
        async fn bootstrap(&self, _: Position) -> Result<(), FollowError> {
            *self.bootstraps.lock() += 1;
            Ok(())
        }
        async fn follow(&self, rows: &[Row]) -> Result<(), FollowError> {
            self.seen.lock().extend(rows.iter().map(|row| row.entry.reference));
            if *self.fails.lock() { Err(FollowError::Work("failed".to_owned())) } else { Ok(()) }
        }
    }

    async fn log(store: &Store, references: std::ops::Range<u64>) {
        let mut batch = Batch::new();
        for reference in references {
            record(&mut batch, Entry::user(Stream::Device, user_id!("@a:b")).of(reference));
        }
        store.commit(batch).await.unwrap();
    }

    #[tokio::test]
    async fn a_follower_sees_everything_behind_its_bootstrap_and_nothing_is_lost() {
        let (store, follower) = (Store::open(Memory::new()), Recorder::default());
        log(&store, 0..3).await;
        assert!(step(&store, &follower).await.unwrap());
        assert!(!step(&store, &follower).await.unwrap());
        assert_eq!((*follower.bootstraps.lock(), follower.seen.lock().len()), (1, 0));

        log(&store, 3..5).await;
        *follower.fails.lock() = true;
        assert!(step(&store, &follower).await.is_err());
        *follower.fails.lock() = false;
        step(&store, &follower).await.unwrap();
        assert_eq!(*follower.seen.lock(), [3, 4, 3, 4], "what failed comes again");

        follower.seen.lock().clear();
        for (start, end) in [(0, 300), (300, 301), (301, 2_000), (2_000, 2_300)] {
            log(&store, start..end).await;
        }
        while step(&store, &follower).await.unwrap() {}
        assert_eq!(*follower.seen.lock(), (0..2_300).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_paused_runner_cannot_take_the_cursor_back() {
        let (store, follower) = (Store::open(Memory::new()), Recorder::default());
        log(&store, 0..1).await;
        step(&store, &follower).await.unwrap();
        let stale = store.read_blocking(|view| cursor(view, "recorder")).unwrap();
        log(&store, 1..2).await;
        step(&store, &follower).await.unwrap();
        let mut batch = Batch::new();
        move_cursor(&mut batch, "recorder", stale, Position::ZERO);
        assert_eq!(store.commit(batch).await, Err(CommitError::Conflict));
        assert!(store.read_blocking(lowest_cursor).unwrap() > stale.map(|cursor| cursor.position));
        let mut batch = Batch::new();
        reset_cursor(&mut batch, "recorder");
        store.commit(batch).await.unwrap();
        step(&store, &follower).await.unwrap();
        assert_eq!(*follower.bootstraps.lock(), 2);
    }
}
