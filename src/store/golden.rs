//! Golden bytes: one stored row of each keyspace of a module, held against a file in `tests/it/golden/`, so that a release
//! reads what an older one wrote. A line of such a file is never changed, only added (`MYELIN_WRITE=1 cargo test --lib
//! golden` writes the files anew, for keyspaces that no release has written yet).

use std::{collections::BTreeMap, fmt::Debug};

use super::{
    Key, KeyOf, Keyspace, KeyspaceInfo, Value,
    value::{from_bytes, to_bytes},
};

/// The rows of a module as they are written today; what is in its file must read as these.
pub(crate) struct Golden {
    path: String,
    file: String,
    stored: BTreeMap<String, String>,
    today: Vec<(&'static str, String, String)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

impl Golden {
    /// The golden rows of a module.
    pub(crate) fn of(module: &str) -> Self {
        let path = format!("{}/tests/it/golden/{module}.txt", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        let stored = file.lines().filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            Some((words.next()?, words.nth(1)?))
        });
        Self { stored: stored.collect(), path, file, today: Vec::new() }
    }

    /// A row, as it is written today.
    pub(crate) fn row<K: Key + KeyOf<K>, V: Value + PartialEq + Debug>(
        &mut self,
        keyspace: &Keyspace<K, V>,
        key: K,
        value: V,
    ) {
        let name = keyspace.info().name;
        if let Some(bytes) = self.stored.get(name) {
            assert_eq!(from_bytes::<V>(&unhex(bytes)).unwrap(), value, "{name}");
        }
        self.today.push((name, hex(&keyspace.key_bytes(&key)), hex(&to_bytes(&value))));
    }

    /// Every keyspace has its row, and the bytes are those of the file.
    pub(crate) fn check(self, keyspaces: &[KeyspaceInfo]) {
        for info in keyspaces {
            assert!(self.today.iter().any(|(name, ..)| *name == info.name), "{} has no golden row", info.name);
        }
        let today: String = self.today.iter().map(|(name, key, value)| format!("{name} {key} {value}\n")).collect();
        if std::env::var_os("MYELIN_WRITE").is_some() {
            std::fs::write(self.path, today).unwrap();
        } else {
            assert_eq!(self.file, today, "what is stored has changed: add a version, and keep the old decoder");
        }
    }
}
