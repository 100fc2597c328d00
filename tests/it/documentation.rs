//! What the documentation says about the repository is so.

use std::{collections::BTreeSet, fs, path::Path};

use toml::de::{DeTable, DeValue};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let manifest = DeTable::parse(&manifest).unwrap();
    let mut used = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies"] {
        let Some(DeValue::Table(crates)) = manifest.get_ref().get(section).map(toml::Spanned::get_ref) else {
            panic!("Cargo.toml has no {section}");
        };
        used.extend(crates.keys().map(|name| name.get_ref().clone().into_owned()));
    }
    let page = read("docs/decisions/dependencies.md");
    let first_cell = |line: &str| line.strip_prefix("| ")?.split_once(" | ").map(|(name, _)| name.to_owned());
    let mut explained: BTreeSet<_> = page.lines().filter_map(first_cell).collect();
    explained.remove("Crate");
    let difference: Vec<_> = used.symmetric_difference(&explained).collect();
    // tokio is in both sections of Cargo.toml, and explained once.
    assert!(difference.is_empty(), "in only one of Cargo.toml and docs/decisions/dependencies.md: {difference:?}");
}
