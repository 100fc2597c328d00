//! Writing ahead what a commit is too small for.

use std::collections::BTreeMap;

use super::{Ahead, Indexes, MOST_BYTES, STEP, WideError, page, settle};
use crate::{
    graph::{
        Head,
        keys::{HEAD, MEMBER, NEXT_INDEXES, NODE, ROOM_SERVER, SERVER_ROOM, SLOT, SLOT_NAME, bounded},
        rows::{Member, NextIndexes},
        types::RoomNo,
    },
    store::{Batch, CommitError, Position, Store},
};

/// Rows on their way into the store, some at a time.
struct Rows<'a> {
    store: &'a Store,
    batch: Batch,
    bytes: usize,
}

impl<'a> Rows<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, batch: Batch::new(), bytes: 0 }
    }

    async fn put(&mut self, bytes: usize, rows: impl FnOnce(&mut Batch)) -> Result<(), CommitError> {
        rows(&mut self.batch);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.batch.len() < STEP && self.bytes < MOST_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Not synced: the commit for which all of it is written ahead syncs what came before it.
    async fn flush(&mut self) -> Result<(), CommitError> {
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.store.commit_lazy(std::mem::take(&mut self.batch)).await.map(drop)
    }
}

impl Ahead {
    /// Writes it. A conflict means that the draft was built on what does not hold any more.
    pub(in crate::graph::write) async fn write(self, store: &Store, room: RoomNo) -> Result<(), WideError> {
        if let Some(indexes) = &self.indexes {
            // What another try has left would be taken for part of this one.
            settle::clear(store, room, indexes.row.to).await?;
        }
        self.begin(store, room).await?;
        let mut rows = Rows::new(store);
        for (key, slot) in &self.slots {
            let (kind, state_key) = (bounded(&key.kind), bounded(&key.state_key));
            let bytes = (key.kind.len().saturating_add(key.state_key.len())).saturating_mul(2);
            rows.put(bytes, |batch| {
                batch.assert_absent(&SLOT, &(room, &*kind, &*state_key));
                batch.put(&SLOT, &(room, &*kind, &*state_key), slot);
                batch.put(&SLOT_NAME, &(room, *slot), key);
            })
            .await?;
        }
        for (name, node) in &self.nodes {
            rows.put(1 << 10, |batch| batch.put(&NODE, &(room, *name), &**node)).await?;
        }
        rows.flush().await?;
        match self.indexes {
            Some(indexes) => indexes.write(store, (room, &self.built_on)).await,
            None => Ok(()),
        }
    }

    /// Takes the numbers of the slots, and says which generation is being written, so that what is left over is found.
    async fn begin(&self, store: &Store, room: RoomNo) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        batch.assert_is(&HEAD, &(room,), &self.built_on);
        batch.put(&HEAD, &(room,), &self.reserved);
        if let Some(indexes) = &self.indexes {
            batch.put(&NEXT_INDEXES, &(room,), &NextIndexes { users_due: false, ..indexes.row });
        }
        store.commit_lazy(batch).await.map(drop)
    }
}

impl Indexes {
    /// Writes the next generation: all rows of the one that is read, but for those that change.
    async fn write(self, store: &Store, (room, head): (RoomNo, &Head)) -> Result<(), WideError> {
        let NextIndexes { from, to, .. } = self.row;
        // What "the commit that began this generation" means in the rows that are copied. Before there was any, it is the
        // beginning.
        let began = head.indexes_since.max(Position(1));
        let mut rows = Rows::new(store);
        let mut changed: BTreeMap<String, _> =
            self.members.into_iter().map(|(user, standing)| (bounded(&user).into_owned(), standing)).collect();
        let mut last = None;
        loop {
            let page = page(store, &MEMBER, (room, from), last.as_deref()).await?;
            last = page.rows.last().map(|(user, _)| user.clone());
            for (user, row) in page.rows {
                // Written with those that change.
                if !changed.contains_key(&user) {
                    let position = if row.position == Position::ZERO { began } else { row.position };
                    rows.put(0, |batch| batch.put(&MEMBER, &(room, to, &*user), &Member { position, ..row })).await?;
                }
            }
            if !page.more {
                break;
            }
        }
        while let Some((user, standing)) = changed.pop_first() {
            if let Some((membership, seq)) = standing {
                let row = Member { membership, seq, position: Position::ZERO };
                rows.put(0, |batch| batch.put(&MEMBER, &(room, to, &*user), &row)).await?;
            }
        }
        let mut changed: BTreeMap<String, _> =
            self.servers.into_iter().map(|(server, draft)| (bounded(&server).into_owned(), draft)).collect();
        let mut last = None;
        loop {
            let page = page(store, &ROOM_SERVER, (room, from), last.as_deref()).await?;
            last = page.rows.last().map(|(server, _)| server.clone());
            for (server, row) in page.rows {
                let row = changed.remove(&server).map_or_else(|| row.since(began), |draft| draft.at(Position::ZERO));
                rows.put(0, |batch| batch.put(&ROOM_SERVER, &(room, to, &*server), &row)).await?;
            }
            if !page.more {
                break;
            }
        }
        while let Some((server, draft)) = changed.pop_first() {
            let row = draft.at(Position::ZERO);
            rows.put(0, |batch| {
                batch.put(&ROOM_SERVER, &(room, to, &*server), &row);
                batch.put(&SERVER_ROOM, &(&*server, room), &());
            })
            .await?;
        }
        Ok(rows.flush().await?)
    }
}
