//! Bringing the store of an older release to this one's schema, before anybody reads it.
//!
//! A migration runs in chunks. Each is one write: the changed rows, and where the next chunk begins; the last one has the
//! new version of the schema instead. So a process may be killed at any moment, and the next start goes on from there.

use super::{
    Batch, ReadError, View,
    commit::resolve,
    engine::{Durability, Engine, Operation, ReadTier},
    keyspace::{Family, Keyspace, KeyspaceInfo},
    position::Position,
    schema::{self, OpenError, Schema},
    value::to_bytes,
};

/// How one version of the schema becomes the next.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// What it does, for the log.
    pub name: &'static str,
    /// One chunk of it.
    pub step: Step,
}

/// One chunk: reads the store, fills the batch, and says how it goes on. It is given what the chunk before it answered,
/// or nothing at the beginning. The batch is within the limits of a commit, and asks for no position.
pub type Step = fn(&View<'_>, Option<Vec<u8>>, &mut Batch) -> Result<Progress, ReadError>;

/// How far a migration has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more: the next chunk is given this.
    Next(Vec<u8>),
    /// This was the last chunk.
    Done,
}

/// What the migration under way goes on from.
const CURSOR: Keyspace<(u32,), Vec<u8>> =
    Keyspace::new(Family::Hot, 0xF2, "migration", "version it leads to → where it goes on; with each of its chunks");

/// All of them.
pub const KEYSPACES: &[KeyspaceInfo] = &[CURSOR.info()];

/// Runs what a store of `schema` lacks of the `migrations`, the first of which leads to version 2. `last` is the store's
/// last position.
pub(super) fn run(
    engine: &dyn Engine,
    mut schema: Schema,
    last: Position,
    migrations: &[Migration],
) -> Result<(), OpenError> {
    for (version, migration) in (2..).zip(migrations) {
        if version <= schema.version {
            continue;
        }
        tracing::info!(version, name = migration.name, "migrating the store");
        schema.version = version;
        let mut chunks = 1_u64;
        while chunk(engine, schema, last, migration)? == Goes::On {
            chunks = chunks.saturating_add(1);
            if chunks.is_multiple_of(1_000) {
                tracing::info!(version, chunks, "still migrating");
            }
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Goes {
    On,
    No,
}

/// Runs and writes the next chunk of the migration that leads to the version of `schema`.
fn chunk(engine: &dyn Engine, schema: Schema, last: Position, migration: &Migration) -> Result<Goes, OpenError> {
    let failed = |why: String| OpenError::Migration { name: migration.name, why };
    let (mut batch, mut progress) = (Batch::new(), Ok(Progress::Done));
    engine.snapshot(ReadTier::All, &mut |snapshot| {
        let view = View { snapshot, horizon: last, missed: None };
        let cursor = view.get(&CURSOR, &(schema.version,));
        progress = cursor.and_then(|cursor| (migration.step)(&view, cursor, &mut batch));
    });
    let progress = progress.map_err(|error| failed(error.to_string()))?;
    if batch.wants_position() {
        return Err(failed("it asks for a position".to_owned()));
    }
    let mut operations = resolve(batch.changes, last).map_err(|error| failed(error.to_string()))?;
    let (family, key) = (CURSOR.info().family, CURSOR.key_bytes(&(schema.version,)));
    let goes = match progress {
        Progress::Next(cursor) => {
            operations.push(Operation::Put { family, key, value: to_bytes(&cursor) });
            Goes::On
        }
        Progress::Done => {
            operations.extend([Operation::Delete { family, key }, schema::row(&schema)]);
            Goes::No
        }
    };
    engine.write(&operations, Durability::Synced, last)?;
    Ok(goes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        OpenOptions, Store,
        engine::{
            faulty::{Fault, Faulty},
            memory::Memory,
        },
        migrations,
        schema::VERSION,
    };

    const OLD: Keyspace<(u64,), u64> = Keyspace::new(Family::Hot, 0xE0, "old", "n → n");
    const NEW: Keyspace<(String,), u64> = Keyspace::new(Family::Index, 0xE0, "new", "n in words → n");

    /// Moves rows from one keyspace to another, three a chunk.
    fn rename(view: &View<'_>, _: Option<Vec<u8>>, batch: &mut Batch) -> Result<Progress, ReadError> {
        let page = view.scan(&OLD.span(&()), 3)?;
        for ((number,), value) in page.rows {
            batch.delete(&OLD, &(number,));
            batch.put(&NEW, &(format!("{number:03}"),), &value);
        }
        Ok(if page.more { Progress::Next(Vec::new()) } else { Progress::Done })
    }

    /// Adds 100 to each value, four a chunk: what would go wrong if a chunk ran twice.
    fn add(view: &View<'_>, cursor: Option<Vec<u8>>, batch: &mut Batch) -> Result<Progress, ReadError> {
        let after = cursor.map(|cursor| String::from_utf8(cursor).unwrap());
        let span = match &after {
            Some(after) => NEW.span(&()).after(&(after.as_str(),)),
            None => NEW.span(&()),
        };
        let page = view.scan(&span, 4)?;
        let last = page.rows.last().map(|((key,), _)| key.clone());
        for ((key,), value) in page.rows {
            batch.put(&NEW, &(key,), &(value + 100));
        }
        Ok(match last.filter(|_| page.more) {
            Some(last) => Progress::Next(last.into_bytes()),
            None => Progress::Done,
        })
    }

    const STEPS: &[Migration] = &[Migration { name: "rename", step: rename }, Migration { name: "add", step: add }];

    fn migrate(engine: &dyn Engine, steps: &[Migration]) -> Result<(), OpenError> {
        run(engine, schema::stored(engine)?.unwrap(), Position::ZERO, steps)
    }

    async fn old_store() -> Faulty<Memory> {
        let engine = Faulty::new(Memory::new());
        let store = Store::open(engine.clone());
        let mut batch = Batch::new();
        (0..10).for_each(|number| batch.put(&OLD, &(number,), &number));
        store.commit(batch).await.unwrap();
        engine
    }

    /// All has happened, and once.
    fn check(engine: &dyn Engine) {
        assert_eq!(schema::stored(engine).unwrap().map(|schema| schema.version), Some(3));
        engine.snapshot(ReadTier::All, &mut |snapshot| {
            let view = View { snapshot, horizon: Position::ZERO, missed: None };
            assert_eq!(view.scan(&OLD.span(&()), 100).unwrap().rows, []);
            let values = view.scan(&NEW.span(&()), 100).unwrap().rows.into_iter().map(|(_, value)| value);
            assert_eq!(values.collect::<Vec<_>>(), (100..110).collect::<Vec<_>>());
            assert_eq!(view.scan(&CURSOR.span(&()), 100).unwrap().rows, [], "nothing is under way");
        });
    }

    #[test]
    fn the_list_leads_to_this_version() {
        assert_eq!(VERSION as usize, 1 + migrations::ALL.len());
    }

    #[tokio::test]
    async fn missing_migrations_run_once_and_in_order() {
        let engine = old_store().await;
        migrate(&engine, &STEPS[..1]).unwrap();
        migrate(&engine, STEPS).unwrap();
        check(&engine);
        migrate(&engine, STEPS).unwrap();
        check(&engine);
    }

    #[tokio::test]
    async fn a_migration_goes_on_where_it_was_interrupted() {
        for fault in [Fault::Refused, Fault::Applied] {
            for writes in 0.. {
                let engine = old_store().await;
                engine.fail_after(writes, fault);
                let first = migrate(&engine, STEPS);
                assert_eq!(first.is_err(), engine.has_failed());
                engine.crash().unwrap();
                migrate(&engine, STEPS).unwrap();
                check(&engine);
                if first.is_ok() {
                    assert_eq!(writes, 7, "four chunks and three");
                    break;
                }
            }
        }
    }

    #[tokio::test]
    async fn an_older_release_does_not_open_what_was_migrated() {
        let engine = old_store().await;
        migrate(&engine, STEPS).unwrap();
        let refused = Store::open_with(engine, OpenOptions::default()).err().unwrap();
        assert!(matches!(refused, OpenError::TooNew { found: 3 }), "{refused}");
    }

    #[tokio::test]
    async fn a_migration_that_asks_for_too_much_writes_nothing() {
        let engine = old_store().await;
        let flood: Step = |_, _, batch| {
            (0..10_001).for_each(|number| batch.put(&OLD, &(number,), &0));
            Ok(Progress::Done)
        };
        let place: Step = |_, _, batch| {
            batch.touch(|position| position);
            Ok(Progress::Done)
        };
        for step in [flood, place] {
            let refused = migrate(&engine, &[Migration { name: "greedy", step }]).err().unwrap();
            assert!(refused.to_string().contains("greedy"), "{refused}");
            assert_eq!(schema::stored(&engine).unwrap().map(|schema| schema.version), Some(1));
        }
    }
}
