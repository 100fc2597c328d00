//! Libraries that change or weigh much are seen by few files.

use super::sources;

/// A library, and the places that may name it: files, or layers.
const ONLY_IN: &[(&[&str], &[&str])] = &[
    (&["actix_web", "actix_tls", "actix_rt"], &["http/actix.rs", "server/listeners.rs"]),
    (&["rocksdb"], &["store/engine/rocks.rs"]),
    (&["ruma", "api"], &["api", "http", "federation", "appservice", "push"]),
    (&["governor"], &["base/budget.rs"]),
    (&["matchit"], &["http/route.rs"]),
    (&["prometheus"], &["base/metrics.rs"]),
    (&["getrandom"], &["base/random.rs"]),
    (&["postcard"], &["store/value.rs"]),
];

#[test]
fn libraries_are_seen_only_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources::all() {
        for named in source.names_of_others() {
            for (library, places) in ONLY_IN {
                let named_it = match *library {
                    ["ruma", "api"] => named.starts_with(&["ruma".to_owned(), "api".to_owned()]),
                    names => names.contains(&named[0].as_str()),
                };
                if named_it && !places.contains(&source.path.as_str()) && !places.contains(&source.layer()) {
                    wrong.push(format!("{}: {}", source.path, named.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
