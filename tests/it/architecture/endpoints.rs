//! Every endpoint of the specification is served, or listed as missing.

use std::{collections::BTreeSet, fs};

use http::Method;
use myelin::http::Routes;

/// Methods and paths that the specification (v1.19) wants a homeserver to serve.
const SPECIFIED: &str = include_str!("endpoints.txt");

/// A path without the names of its arguments.
fn bare(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn specified() -> BTreeSet<(String, String)> {
    let split = |line: &str| line.split_once(' ').map(|(method, path)| (method.to_owned(), path.to_owned()));
    SPECIFIED.lines().filter_map(split).collect()
}

fn listed_as_missing() -> BTreeSet<(String, String)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/missing-endpoints.md")).unwrap();
    let entry = |line: &str| {
        let (method, path) = line.strip_prefix("- `")?.split_once('`')?.0.split_once(' ')?;
        Some((method.to_owned(), path.to_owned()))
    };
    page.lines().filter_map(entry).collect()
}

#[test]
fn every_specified_endpoint_is_served_or_listed_as_missing() {
    let mut routes = Routes::default();
    myelin::server::routes(&mut routes);
    let served: BTreeSet<(&Method, String)> = routes.patterns().map(|(method, path)| (method, bare(path))).collect();
    let is_served = |method: &str, path: &str| served.contains(&(&method.parse().unwrap(), bare(path)));
    let (specified, missing) = (specified(), listed_as_missing());
    assert!(specified.len() > 190, "the list is whole");
    let mut wrong = Vec::new();
    for endpoint in specified.union(&missing) {
        let (method, path) = endpoint;
        match (is_served(method, path), missing.contains(endpoint), specified.contains(endpoint)) {
            (true, true, _) => wrong.push(format!("served, but listed as missing: {method} {path}")),
            (false, false, _) => wrong.push(format!("neither served nor listed as missing: {method} {path}")),
            (false, true, false) => wrong.push(format!("listed as missing, but not specified: {method} {path}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "docs/missing-endpoints.md:\n{}", wrong.join("\n"));
}
