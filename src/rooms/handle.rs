//! The handle on rooms, for those who read them.

use std::{fmt, sync::Arc};

use super::{
    directory::{DirectoryFilter, Entries, Entry},
    for_servers::LargeReads,
};
use crate::{
    graph::Reader,
    store::{ReadError, Store, View},
};

/// Reads rooms. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    store: Store,
    reader: Reader,
    large_reads: LargeReads,
    entries: Arc<Entries>,
}

impl Rooms {
    /// The rooms in `store`, read through the graph's `reader`.
    pub fn new(store: Store, reader: Reader) -> Self {
        Self { store, reader, large_reads: LargeReads::default(), entries: Arc::default() }
    }

    /// Reads from one snapshot; see [`Store::read`].
    pub async fn read<T, E>(
        &self,
        closure: impl Fn(&Reader, &View<'_>) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ReadError> + Send + 'static,
    {
        let reader = self.reader.clone();
        self.store.read(move |view| closure(&reader, view)).await
    }

    /// All published rooms that are wanted and have members, the largest first.
    pub async fn published(&self, filter: DirectoryFilter) -> Result<Vec<Arc<Entry>>, ReadError> {
        let entries = Arc::clone(&self.entries);
        self.read(move |reader, view| entries.list(reader, view, &filter)).await
    }

    /// Turns for what may read the whole state of a room for another server.
    pub fn large_reads(&self) -> &LargeReads {
        &self.large_reads
    }

    /// The graph's reader, for a closure of one's own.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rooms")
    }
}
