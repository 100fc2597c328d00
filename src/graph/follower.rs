//! Followers: whatever must react to every change, at its own pace. A follower reads the log from its own durable cursor;
//! after a crash it repeats some work and loses none.

use std::future::Future;

use thiserror::Error;

use super::{
    keys::CURSOR,
    log::{self, Entry},
    maintenance::log_begins_after,
    rows::Cursor,
};
use crate::store::{Batch, CommitError, Position, ReadError, Store, View};

/// The only shard today. The key has room for more.
const SHARD: u32 = 0;
/// Rows of the log that a follower is handed at once.
const STEP: usize = 500;

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
    fn follow(&self, rows: &[(Position, Entry)]) -> impl Future<Output = Result<(), FollowError>> + Send;
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
    let Some((last, _)) = rows.last() else { return Ok(false) };
    let last = *last;
    follower.follow(&rows).await?;
    move_cursor(&mut batch, name, Some(at), last);
    // Losing it is only repeated work.
    store.commit_lazy(batch).await?;
    Ok(more)
}

/// The next rows behind a position, and whether there are more. A cursor stands between commits, so one that is cut off by
/// the end of a page waits for the next page, unless it is all that the page holds.
fn whole_commits(view: &View<'_>, after: Position) -> Result<(Vec<(Position, Entry)>, bool), ReadError> {
    let mut limit = STEP;
    loop {
        let page = log::page(view, after, limit)?;
        let mut rows: Vec<_> = page.rows.into_iter().map(|((position, _), entry)| (position, entry)).collect();
        let (first, last) = (rows.first().map(|row| row.0), rows.last().map(|row| row.0));
        if !page.more {
            return Ok((rows, false));
        }
        if first != last {
            rows.retain(|(position, _)| Some(*position) != last);
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
        graph::log::{Stream, record},
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
        async fn follow(&self, rows: &[(Position, Entry)]) -> Result<(), FollowError> {
            self.seen.lock().extend(rows.iter().map(|(_, entry)| entry.reference));
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
