//! What a graph throws away in the course of time: the log behind its followers, the originals of redacted events.

use super::{
    SendError,
    follower::lowest_cursor,
    keys::{LOG, LOG_MARK, ORIGINAL},
};
use crate::{
    base::clock::UnixMillis,
    store::{Batch, CommitError, Position, ReadError, Store, View},
};

/// How long the log is at the most, in days. Whoever has not followed it for longer begins anew.
const LONGEST: u32 = 7;
/// How much of it is kept even if all have followed it.
const SHORTEST: u32 = 1;
/// The day under which stands up to where the log was cut.
const CUT: u32 = 0;
/// Rows that are looked at, and thrown away, in one commit.
const STEP: usize = 1_000;

const DAY: UnixMillis = 86_400_000;

/// Maintenance could not go on; the next call does.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store could not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not write.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A room could not be brought to an end of what was begun there.
    #[error(transparent)]
    Room(#[from] SendError),
}

/// Up to where the log was cut: a follower whose cursor is lower has missed something.
pub(super) fn log_begins_after(view: &View<'_>) -> Result<Position, ReadError> {
    Ok(Position(view.get(&LOG_MARK, &(CUT,))?.unwrap_or_default()))
}

/// Throws away what is due at `now`. To be called about once an hour; what one call misses the next one does.
///
/// # Errors
/// When the store fails; what was done stays done.
pub(super) async fn maintain(store: &Store, now: UnixMillis) -> Result<(), MaintenanceError> {
    let today = u32::try_from(now / DAY).unwrap_or(u32::MAX);
    let (is_marked, cut) =
        store.read(move |view| Ok::<_, ReadError>((view.has(&LOG_MARK, &(today,))?, due_cut(view, today)?))).await?;
    if !is_marked {
        let mut batch = Batch::new();
        batch.put(&LOG_MARK, &(today,), &store.horizon().0);
        store.commit_lazy(batch).await?;
    }
    cut_log(store, cut, today).await?;
    expire_originals(store, now).await
}

/// Up to where the log may be cut.
fn due_cut(view: &View<'_>, today: u32) -> Result<Position, ReadError> {
    let on = |age: u32| {
        let days = LOG_MARK.span(&()).after(&(CUT,)).through(&(today.saturating_sub(age),)).reversed();
        Ok::<_, ReadError>(Position(view.first(&days)?.map(|(_, position)| position).unwrap_or_default()))
    };
    let followed = lowest_cursor(view)?.unwrap_or_default();
    Ok(on(LONGEST)?.max(on(SHORTEST)?.min(followed)))
}

async fn cut_log(store: &Store, cut: Position, today: u32) -> Result<(), MaintenanceError> {
    loop {
        let (begins, page) = store
            .read(move |view| {
                let begins = log_begins_after(view)?;
                Ok::<_, ReadError>((begins, view.scan(&LOG.span(&()).through(&(cut,)), STEP)?))
            })
            .await?;
        let mut batch = Batch::new();
        if begins < cut {
            // Said before the first row goes, so that nobody takes what is left for everything.
            batch.put(&LOG_MARK, &(CUT,), &cut.0);
            batch.clear(LOG_MARK.span(&()).after(&(CUT,)).before(&(today.saturating_sub(LONGEST),)));
        }
        page.rows.iter().for_each(|(key, _)| batch.delete(&LOG, key));
        if !batch.is_empty() {
            store.commit_lazy(batch).await?;
        }
        if !page.more {
            return Ok(());
        }
    }
}

async fn expire_originals(store: &Store, now: UnixMillis) -> Result<(), MaintenanceError> {
    let mut last = None;
    loop {
        let page = store
            .read(move |view| {
                let span = ORIGINAL.span(&());
                view.scan(&last.map_or(span.clone(), |last| span.after(&last)), STEP)
            })
            .await?;
        let mut batch = Batch::new();
        let expired = page.rows.iter().filter(|(_, original)| original.expires <= now);
        expired.for_each(|(key, _)| batch.delete(&ORIGINAL, key));
        if !batch.is_empty() {
            store.commit_lazy(batch).await?;
        }
        last = page.rows.last().map(|(key, _)| *key);
        if !page.more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::{
        graph::{
            follower::move_cursor,
            log::{Entry, Stream, page, record},
            rows::Original,
            types::{RoomNo, Seq},
        },
        store::engine::memory::Memory,
    };

    async fn log(store: &Store) -> Position {
        let mut batch = Batch::new();
        record(&mut batch, Entry::user(Stream::Device, user_id!("@a:b")));
        store.commit(batch).await.unwrap().unwrap()
    }

    fn rows(store: &Store) -> Vec<Position> {
        let page = store.read_blocking(|view| page(view, Position::ZERO, usize::MAX)).unwrap();
        page.rows.into_iter().map(|((position, _), _)| position).collect()
    }

    #[tokio::test]
    async fn the_log_is_cut_behind_its_followers_and_after_a_week() {
        let store = Store::open(Memory::new());
        let mut positions = Vec::new();
        for day in 100..104 {
            positions.push(log(&store).await);
            maintain(&store, day * DAY).await.unwrap();
        }
        assert_eq!(rows(&store), positions, "nobody follows, and no week is over");
        let mut batch = Batch::new();
        move_cursor(&mut batch, "one", None, positions[1]);
        store.commit(batch).await.unwrap();
        maintain(&store, 104 * DAY).await.unwrap();
        assert_eq!(rows(&store), positions[2..]);
        assert_eq!(store.read_blocking(log_begins_after).unwrap(), positions[1]);
        maintain(&store, 109 * DAY).await.unwrap();
        assert_eq!(rows(&store), positions[3..], "day 102 is a week ago, whoever follows");
        maintain(&store, 111 * DAY).await.unwrap();
        assert!(rows(&store).is_empty());
    }

    #[tokio::test]
    async fn originals_go_when_their_time_is_over() {
        let store = Store::open(Memory::new());
        let mut batch = Batch::new();
        for (seq, expires) in [(1, 10), (2, 30), (3, 20)] {
            batch.put(&ORIGINAL, &(RoomNo(1), Seq(seq)), &Original { expires, pdu: Vec::new() });
        }
        store.commit(batch).await.unwrap();
        maintain(&store, 20).await.unwrap();
        let left = store.read_blocking(|view| view.scan(&ORIGINAL.span(&()), 10)).unwrap().rows;
        assert_eq!(left.into_iter().map(|((_, seq), _)| seq.0).collect::<Vec<_>>(), [2]);
    }
}
