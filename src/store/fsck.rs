//! Checking a store: the form of checks, and the store's own, which reads every row of every keyspace.

use std::collections::BTreeMap;

use super::{
    engine::RawRange,
    keyspace::{Family, KeyspaceInfo},
    view::{ReadError, View},
};

/// A check: calls back with each thing that does not fit, in words for an administrator.
pub type Check = fn(&View<'_>, &mut dyn FnMut(String)) -> Result<(), ReadError>;

/// Damaged rows of a keyspace that are told one by one; the rest is counted.
const TOLD: u64 = 10;

/// Decodes every row. Finds what does not decode, and rows that belong to no keyspace.
pub fn rows(view: &View<'_>, keyspaces: &[KeyspaceInfo], problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    for family in Family::ALL {
        let known: BTreeMap<u8, &KeyspaceInfo> =
            keyspaces.iter().filter(|one| one.family == family).map(|one| (one.prefix, one)).collect();
        let (mut unknown, mut damaged) = (BTreeMap::<u8, u64>::new(), BTreeMap::<&str, u64>::new());
        let everything = RawRange { family, start: &[], end: &[], reversed: false };
        view.snapshot.scan(&everything, &mut |key, value| {
            let prefix = key.first().copied().unwrap_or_default();
            match known.get(&prefix) {
                None => *unknown.entry(prefix).or_default() += 1,
                Some(keyspace) => {
                    if let Err(why) = (keyspace.decode)(key, value) {
                        let count = damaged.entry(keyspace.name).or_default();
                        *count += 1;
                        if *count <= TOLD {
                            problem(format!("a row of {} is damaged: {why} (key {})", keyspace.name, hex(key)));
                        }
                    }
                }
            }
            true
        })?;
        for (name, count) in damaged.into_iter().filter(|(_, count)| *count > TOLD) {
            problem(format!("{} more rows of {name} are damaged", count - TOLD));
        }
        for (prefix, count) in unknown {
            problem(format!("{count} rows in `{}` have the prefix {prefix:#04x} of no keyspace", family.name()));
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Keyspace, Store, engine::memory::Memory};

    const NUMBERS: Keyspace<(u32,), u64> = Keyspace::new(Family::Hot, 0xE0, "numbers", "n → n");
    /// The same place, read as something else.
    const DAMAGED: Keyspace<(u32,), Vec<u8>> = Keyspace::new(Family::Hot, 0xE0, "numbers", "n → bytes");
    const STRANGERS: Keyspace<(u32,), ()> = Keyspace::new(Family::Log, 9, "strangers", "n");

    async fn found(fill: impl FnOnce(&mut Batch)) -> Vec<String> {
        let store = Store::open(Memory::new());
        let mut batch = Batch::new();
        fill(&mut batch);
        store.commit(batch).await.unwrap();
        let read = store.read_blocking::<_, ReadError>(|view| {
            let mut found = Vec::new();
            rows(view, &[NUMBERS.info()], &mut |problem| found.push(problem))?;
            Ok(found)
        });
        // What the store writes of itself is not the matter here.
        let ours = |problem: &String| problem.contains("numbers") || problem.contains("`log`");
        read.unwrap().into_iter().filter(ours).collect()
    }

    #[tokio::test]
    async fn what_decodes_is_well() {
        assert_eq!(found(|batch| batch.put(&NUMBERS, &(1,), &7)).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn damage_is_told_and_then_counted() {
        let found = found(|batch| (0..12).for_each(|n| batch.put(&DAMAGED, &(n,), &vec![1]))).await;
        assert_eq!(found.len(), 11);
        assert_eq!(found[0], "a row of numbers is damaged: not a stored u64 (key e000000000)");
        assert_eq!(found[10], "2 more rows of numbers are damaged");
    }

    #[tokio::test]
    async fn rows_of_no_keyspace_are_told() {
        let found = found(|batch| batch.put(&STRANGERS, &(1,), &())).await;
        assert_eq!(found, ["1 rows in `log` have the prefix 0x09 of no keyspace"]);
    }
}
