//! What the store keeps of itself: the version of the schema, the epoch, the last position.

use serde::{Deserialize, Serialize};

use super::{
    OpenOptions,
    codec::Key,
    engine::{Durability, Engine, EngineError, Operation, ReadTier},
    keyspace::{Family, Keyspace, KeyspaceInfo},
    position::Position,
    value::{Record, Value, from_bytes, to_bytes},
};

/// The version that this release reads and writes.
pub const VERSION: u32 = 1;

/// The schema and the life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The version of the keyspaces.
    pub version: u32,
    /// Counts the lives of the store: a copy that was restored, or a loss that was accepted, begins a new one, in which
    /// positions given out before mean nothing.
    pub epoch: u32,
}
impl Record for Schema {}

const SCHEMA: Keyspace<(u8,), Schema> = Keyspace::new(Family::Hot, 0xF0, "schema", "0 → version, epoch; at start");
const LAST_POSITION: Keyspace<(u8,), u64> =
    Keyspace::new(Family::Hot, 0xF1, "last_position", "0 → the last position; with every commit that has one");

/// The keyspaces of the store itself.
pub const KEYSPACES: &[KeyspaceInfo] = &[SCHEMA.info(), LAST_POSITION.info()];

/// How far positions jump when a new epoch begins: beyond all that an older life can have given out unseen.
const JUMP: u64 = 1 << 32;

/// The row that goes with every group that has positions.
pub(super) fn last_position(position: Position) -> Operation {
    let key = LAST_POSITION.key_bytes(&(0_u8,));
    Operation::Put { family: Family::Hot, key, value: to_bytes(&position.0) }
}

/// The row that says what the schema is.
pub(super) fn row(schema: &Schema) -> Operation {
    Operation::Put { family: Family::Hot, key: SCHEMA.key_bytes(&(0_u8,)), value: to_bytes(schema) }
}

/// What a store says of itself; nothing if it is new.
pub(super) fn stored(engine: &dyn Engine) -> Result<Option<Schema>, OpenError> {
    read(engine, &SCHEMA)
}

/// What was found in a store, or put into a new one.
pub(super) struct Life {
    pub(super) schema: Schema,
    pub(super) last: Position,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another process has it open.
    #[error("the data folder {0} is in use by another process: stop that one first")]
    InUse(String),
    /// A newer release has written it.
    #[error("the store has schema version {found}, and this release knows only {VERSION}: use a newer release")]
    TooNew {
        /// The version found.
        found: u32,
    },
    /// What was acknowledged is not there any more.
    #[error(
        "the store ends at position {found}, but {acknowledged} was acknowledged: part of it is lost. Restore a backup, or \
         go on without it: `myelin serve --accept-loss`"
    )]
    Lost {
        /// The last position found.
        found: u64,
        /// The last position that a client was told of.
        acknowledged: u64,
    },
    /// An older release's store can't be made this one's.
    #[error("the store can't be migrated ({name}): {why}")]
    Migration {
        /// Which migration.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A row of the store's own is damaged.
    #[error("the store is damaged: {0}")]
    Damaged(super::DecodeError),
}

/// Reads the life of a store, or begins one.
pub(super) fn begin(engine: &dyn Engine, options: OpenOptions) -> Result<Life, OpenError> {
    let schema = stored(engine)?;
    let last = Position(read(engine, &LAST_POSITION)?.unwrap_or(0));
    let acknowledged = engine.acknowledged();
    let is_new = schema.is_none() && acknowledged == Position::ZERO;
    let accept_loss = options.accept_loss || options.restored;
    let schema = match schema {
        Some(Schema { version, .. }) if version > VERSION => return Err(OpenError::TooNew { found: version }),
        Some(schema) if acknowledged <= last && !options.restored => return Ok(Life { schema, last }),
        Some(schema) if accept_loss => Schema { epoch: schema.epoch.saturating_add(1), ..schema },
        None if is_new => Schema { version: VERSION, epoch: 1 },
        None if accept_loss => Schema { version: VERSION, epoch: 2 },
        _ => return Err(OpenError::Lost { found: last.0, acknowledged: acknowledged.0 }),
    };
    let last = if is_new { last } else { Position(acknowledged.max(last).0.saturating_add(JUMP)) };
    engine.write(&[row(&schema), last_position(last)], Durability::Synced, last)?;
    Ok(Life { schema, last })
}

fn read<K: Key, V: Value>(engine: &dyn Engine, keyspace: &Keyspace<K, V>) -> Result<Option<V>, OpenError>
where
    (u8,): super::KeyOf<K>,
{
    let (mut value, mut outcome) = (None, Ok(false));
    engine.snapshot(ReadTier::All, &mut |snapshot| {
        let key = keyspace.key_bytes(&(0_u8,));
        outcome = snapshot.get(Family::Hot, &key, &mut |bytes| value = Some(from_bytes(bytes)));
    });
    outcome?;
    value.transpose().map_err(OpenError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Store, engine::memory::Memory};

    const EVENTS: Keyspace<(Position,), String> = Keyspace::new(Family::Log, 0xE0, "events", "test");

    #[tokio::test]
    async fn a_restored_copy_begins_a_new_life() {
        let engine = Memory::new();
        let restored =
            || Store::open_with(engine.clone(), OpenOptions { restored: true, ..OpenOptions::default() }).unwrap();
        let store = restored();
        assert_eq!((store.epoch(), store.horizon()), (1, Position::ZERO), "nothing was in it");
        let add = async |store: &Store| {
            let mut batch = Batch::new();
            batch.put_at(&EVENTS, |position| ((position,), "kept".to_owned()));
            store.commit(batch).await.unwrap().unwrap()
        };
        let before = add(&store).await;
        let store = restored();
        assert_eq!(store.epoch(), 2);
        // As many commits as it may, the life that is not in the copy has not come so far.
        assert!(store.horizon().0 > before.0 + u64::from(u32::MAX));
        let last = store.horizon();
        assert!(add(&store).await > last);
        assert_eq!(store.read_blocking(|view| view.get(&EVENTS, &(before,))).unwrap().as_deref(), Some("kept"));
        let again = Store::open(engine.clone());
        assert_eq!((again.epoch(), again.horizon()), (2, store.horizon()));
    }
}
