//! Drafts that are too large for one commit: what nobody reads yet is written ahead, in as many commits as it takes, and
//! one small commit makes it hold.
//!
//! - *Slots*: the head first says that their numbers are taken; then they are rows that no state names yet.
//! - *Nodes* of states: under the hash of what they are, so that they are the same whoever writes them, and when.
//! - *Indexes* of the current state (members and servers): the whole next generation of them, aside of the one that is
//!   read. The head says which one that is.
//!
//! A server that stops in between has changed nothing that anybody sees: slots and nodes are found and used again by the
//! next try, a generation that was begun is thrown away ([`settle`]). What is left to do after the change, too: the old
//! generation goes, and local users of whom there were too many are told.
//! Why so: `docs/decisions/0012-commits-of-any-size.md`.

mod ahead;
mod settle;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub(super) use self::settle::{is_unsettled, settle, unsettled};
use super::{draft::Draft, indexes::ServerDraft};
use crate::{
    graph::{
        Head, SendError,
        rows::{NextIndexes, StateKey},
        state::Node,
        types::{Membership, RoomNo, Root, Seq, Slot},
    },
    store::{CommitError, Keyspace, Page, ReadError, Store, Value, View},
};

/// Rows of slots and nodes that go with the commit itself.
const MOST_STATE: usize = 1_000;
/// Rows of members and servers that do.
const MOST_INDEXES: usize = 2_000;
/// Local users whose rooms change with it.
pub(super) const MOST_USERS: usize = 1_000;
/// Rows that are read, or written, at once.
const STEP: usize = 2_000;
/// Bytes of rows after which they are written.
const MOST_BYTES: usize = 1 << 20;

/// What is written ahead of a commit.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The head that the draft was built on.
    built_on: Head,
    /// The same with the numbers of the slots taken: the one that the commit itself rests on.
    reserved: Head,
    slots: BTreeMap<StateKey, Slot>,
    nodes: HashMap<Root, Arc<Node>>,
    indexes: Option<Indexes>,
}

/// What the next generation has otherwise than the one that is read.
#[derive(Debug)]
struct Indexes {
    row: NextIndexes,
    members: BTreeMap<String, Option<(Membership, Seq)>>,
    servers: BTreeMap<String, ServerDraft>,
}

/// What a draft keeps of what was taken out of it.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// The head that its commit rests on.
    pub(super) reserved: Head,
    /// The generation of the indexes that it switches to.
    pub(super) indexes: Option<NextIndexes>,
}

/// Why something could not be written ahead, or settled.
#[derive(Debug, thiserror::Error)]
pub(super) enum WideError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<WideError> for SendError {
    fn from(error: WideError) -> Self {
        match error {
            WideError::Read(error) => error.into(),
            WideError::Commit(error) => error.into(),
        }
    }
}

/// Some rows of a generation of indexes, behind those of the key `after`.
async fn page<V: Value + Clone + Send + 'static>(
    store: &Store,
    keyspace: &'static Keyspace<(RoomNo, u32, String), V>,
    (room, generation): (RoomNo, u32),
    after: Option<&str>,
) -> Result<Page<String, V>, ReadError> {
    let after = after.map(str::to_owned);
    let page = store.read(move |view: &View<'_>| {
        let whole = keyspace.span(&(room, generation));
        let span = match &after {
            Some(after) => whole.after(&(room, generation, after.as_str())),
            None => whole,
        };
        view.scan(&span, STEP)
    });
    let Page { rows, more } = page.await?;
    Ok(Page { rows: rows.into_iter().map(|((.., name), row)| (name, row)).collect(), more })
}

/// Takes out of a draft what does not fit into its commit.
pub(super) fn take(draft: &mut Draft<'_, '_>) -> Option<Ahead> {
    let state = draft.new_slots.len().saturating_mul(2).saturating_add(draft.nodes.nodes.len());
    let indexes = draft.indexes.members.len().saturating_add(draft.indexes.servers.len().saturating_mul(2));
    if draft.events.is_empty() || (state <= MOST_STATE && indexes <= MOST_INDEXES) {
        return None;
    }
    let built_on = draft.room.head.clone();
    let mut reserved = built_on.clone();
    reserved.version = reserved.version.saturating_add(1);
    reserved.next_slot = draft.head.next_slot;
    draft.head.version = reserved.version;
    let indexes = (indexes > MOST_INDEXES).then(|| take_indexes(draft));
    let row = indexes.as_ref().map(|indexes| indexes.row);
    draft.taken = Some(Taken { reserved: reserved.clone(), indexes: row });
    let (slots, nodes) = (std::mem::take(&mut draft.new_slots), std::mem::take(&mut draft.nodes.nodes));
    Some(Ahead { built_on, reserved, slots, nodes, indexes })
}

fn take_indexes(draft: &mut Draft<'_, '_>) -> Indexes {
    let from = draft.head.index_generation;
    let to = from.saturating_add(1);
    let users_due = draft.indexes.user_rooms.len() > MOST_USERS;
    if users_due {
        // Whoever acts sees what they did; the others are told afterwards.
        let acting: Vec<&str> = draft.events.iter().filter_map(|event| event.pdu.state_key()).collect();
        draft.indexes.user_rooms.retain(|user, _| acting.contains(&user.as_str()));
        draft.indexes.outside.retain(|(user, ..)| acting.contains(&user.as_str()));
    }
    (draft.head.index_generation, draft.head.is_unsettled) = (to, true);
    let (members, servers) = (std::mem::take(&mut draft.indexes.members), std::mem::take(&mut draft.indexes.servers));
    Indexes { row: NextIndexes { from, to, users_due }, members, servers }
}
