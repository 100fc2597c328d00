//! Every keyspace and every check of the layers below, in one place: for `docs/storage.md`, `myelin fsck` and the tests.

use crate::{
    federation, graph, rooms,
    store::{KeyspaceInfo, ReadError, View, fsck, migrate, schema},
    sync, users,
};

/// The files that declare keyspaces, and what each declares.
const DECLARED: &[(&str, &[KeyspaceInfo])] = &[
    ("src/store/schema.rs", schema::KEYSPACES),
    ("src/store/migrate.rs", migrate::KEYSPACES),
    ("src/graph/keys.rs", graph::keys::KEYSPACES),
    ("src/rooms/keys.rs", rooms::KEYSPACES),
    ("src/users/keys.rs", users::KEYSPACES),
    ("src/federation/keys.rs", federation::KEYSPACES),
    ("src/sync/keys.rs", sync::KEYSPACES),
];

/// The keyspaces of all modules.
pub fn keyspaces() -> Vec<KeyspaceInfo> {
    DECLARED.iter().flat_map(|(_, keyspaces)| *keyspaces).copied().collect()
}

/// The checks of all modules, beside that every row decodes.
const CHECKS: &[fsck::Check] = &[graph::fsck::check, users::fsck::check];

/// Calls `problem` with each thing in the store that does not fit, in words for an administrator.
pub fn check(view: &View<'_>, problem: &mut dyn FnMut(String)) -> Result<(), ReadError> {
    fsck::rows(view, &keyspaces(), problem)?;
    CHECKS.iter().try_for_each(|check| check(view, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalogue::{clashes, render};

    /// What stands above the generated tables of `docs/storage.md`.
    const MARK: &str = "<!-- What follows is written by a test: \
        MYELIN_WRITE=1 scripts/cargo test --no-default-features --lib catalogue -->\n";

    #[test]
    fn no_two_keyspaces_share_a_place_or_a_name() {
        assert_eq!(clashes(&keyspaces()), Vec::<String>::new());
    }

    #[test]
    fn keyspaces_are_declared_where_the_page_says() {
        for (file, keyspaces) in DECLARED {
            let source = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            for one in *keyspaces {
                assert!(source.contains(&format!("\"{}\"", one.name)), "{file}: {}", one.name);
            }
        }
    }

    #[test]
    fn the_page_about_storage_is_true() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/storage.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (intro, tables) = page.split_once(MARK).unwrap();
        let wanted = render(DECLARED);
        if std::env::var_os("MYELIN_WRITE").is_some() {
            std::fs::write(path, format!("{intro}{MARK}{wanted}")).unwrap();
        } else {
            assert_eq!(tables, wanted, "docs/storage.md is out of date");
        }
    }
}
