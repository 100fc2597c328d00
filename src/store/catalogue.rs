//! The catalogue of keyspaces: that no two share a prefix, and the table of `docs/storage.md`.

use std::{collections::HashMap, fmt::Write as _};

use super::keyspace::{Family, KeyspaceInfo};

/// Says which keyspaces of the list cannot live beside each other: the same family and prefix, or the same name.
pub fn clashes(keyspaces: &[KeyspaceInfo]) -> Vec<String> {
    let (mut places, mut names) = (HashMap::new(), HashMap::new());
    let mut found = Vec::new();
    for one in keyspaces {
        if let Some(other) = places.insert((one.family, one.prefix), one.name) {
            found.push(format!("`{other}` and `{}` are both {:#04x} in `{}`", one.name, one.prefix, one.family.name()));
        }
        if names.insert(one.name, ()).is_some() {
            found.push(format!("two keyspaces are named `{}`", one.name));
        }
    }
    found
}

/// One table a family that has keyspaces, in Markdown, by prefix. Takes the keyspaces with the file that declares them.
pub fn render(declared: &[(&str, &[KeyspaceInfo])]) -> String {
    let mut out = String::new();
    for family in Family::ALL {
        let all = declared.iter().flat_map(|(file, keyspaces)| keyspaces.iter().map(move |one| (file, one)));
        let mut members: Vec<_> = all.filter(|(_, one)| one.family == family).collect();
        if members.is_empty() {
            continue;
        }
        members.sort_by_key(|(_, one)| one.prefix);
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n### {}\n\n| Prefix | Name | Key → value | Written | Declared in |", family.name());
        out.push_str("|---|---|---|---|---|\n");
        for (file, one) in members {
            let (what, when) = one.doc.rsplit_once("; ").unwrap_or((one.doc, ""));
            let large = if one.large { " (large)" } else { "" };
            let _ = writeln!(out, "| `{:02X}` | {}{large} | {what} | {when} | `{file}` |", one.prefix, one.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Keyspace;

    const ONE: Keyspace<(u8,), ()> = Keyspace::new(Family::Hot, 1, "one", "a → b; at start");
    const TWO: Keyspace<(u8,), ()> = Keyspace::new(Family::Hot, 1, "two", "no time");
    const OTHER: Keyspace<(u8,), ()> = Keyspace::large(Family::Log, 1, "one", "c");

    #[test]
    fn clashes_are_found() {
        assert_eq!(clashes(&[ONE.info()]), Vec::<String>::new());
        assert_eq!(clashes(&[ONE.info(), TWO.info()]), ["`one` and `two` are both 0x01 in `hot`"]);
        assert_eq!(clashes(&[ONE.info(), OTHER.info()]), ["two keyspaces are named `one`"]);
    }

    #[test]
    fn a_row_says_what_and_when() {
        let page = render(&[("here", &[TWO.info(), OTHER.info()]), ("there", &[ONE.info()])]);
        assert!(page.contains("| `01` | one | a → b | at start | `there` |\n"), "{page}");
        assert!(page.contains("| `01` | one (large) | c |  | `here` |\n"), "{page}");
        assert!(!page.contains("inbox"), "a family without keyspaces has no table: {page}");
    }
}
