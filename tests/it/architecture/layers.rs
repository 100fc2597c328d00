//! A module uses only what `docs/architecture.md` lists beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::sources::{self, Source};

/// The layers, low to high, and what each may use: a layer (`store`) or one item of it (`store::ReadError`).
fn table() -> (Vec<String>, BTreeMap<String, BTreeSet<String>>) {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md")).unwrap();
    let (_, table) = page.split_once("| Layer | May use |").expect("the page has a table of layers");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let (mut order, mut uses) = (Vec::new(), BTreeMap::new());
    for row in rows {
        let mut cells = row.trim_matches('|').split('|');
        let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let layer = names(cells.next().unwrap()).remove(0);
        uses.insert(layer.clone(), names(cells.next().unwrap()).into_iter().collect());
        order.push(layer);
    }
    (order, uses)
}

#[test]
fn modules_use_only_what_the_table_of_layers_lists() {
    let (_, uses) = table();
    let mut wrong = BTreeSet::new();
    for source in sources::all().iter().filter(|source| !source.layer().is_empty()) {
        let layer = source.layer();
        let Some(allowed) = uses.get(layer) else {
            wrong.insert(format!("`{layer}` is not in the table"));
            continue;
        };
        for named in source.names_of_ours() {
            let target = named[0].as_str();
            let item = format!("{target}::{}", named.get(1).map_or("", String::as_str));
            if target != layer && uses.contains_key(target) && !allowed.contains(target) && !allowed.contains(&item) {
                wrong.insert(format!("{}: `{}`", source.path, named.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the table of docs/architecture.md:\n{}", Vec::from_iter(wrong).join("\n"));
}

/// Layers whose own modules use one another in one direction only.
const ONE_WAY: [&str; 4] = ["base", "event", "push", "flows"];

/// Which modules of a layer each of them uses. What the layer exports by `pub use` counts for the module that it is of.
fn inside(layer: &str, all: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let of_layer: Vec<_> = all.iter().filter(|source| source.layer() == layer).collect();
    let root = of_layer.iter().find(|source| source.module.len() == 1);
    let exported: BTreeMap<String, String> = root
        .into_iter()
        .flat_map(|root| root.names_of_its_layer())
        .filter_map(|named| Some((named.get(2)?.clone(), named[1].clone())))
        .collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in of_layer.iter().filter(|source| source.module.len() > 1) {
        let module = &source.module[1];
        let used =
            source.names_of_its_layer().into_iter().map(|named| exported.get(&named[1]).unwrap_or(&named[1]).clone());
        uses.entry(module.clone()).or_default().extend(used.filter(|used| used != module));
    }
    uses
}

#[test]
fn inside_a_layer_the_arrows_go_one_way() {
    let all = sources::all();
    for layer in ONE_WAY {
        let mut left = inside(layer, &all);
        assert!(left.len() > 5 && left.values().any(|used| !used.is_empty()), "{layer}: {left:?}");
        // Take away what uses nothing that is left, until nothing goes any more.
        loop {
            let low: Vec<String> = left
                .iter()
                .filter(|(_, used)| !used.iter().any(|used| left.contains_key(used)))
                .map(|(module, _)| module.clone())
                .collect();
            if low.is_empty() {
                break;
            }
            left.retain(|module, _| !low.contains(module));
        }
        assert!(left.is_empty(), "modules of `{layer}` go in a circle: {left:#?}");
    }
}

#[test]
fn the_table_has_no_cycle_and_every_layer() {
    let (order, uses) = table();
    let place = |layer: &str| order.iter().position(|other| other == layer);
    for (layer, allowed) in &uses {
        for used in allowed {
            let used = used.split("::").next().unwrap();
            assert!(
                place(used).is_some_and(|used| Some(used) < place(layer)),
                "`{layer}` uses `{used}`, which is not below it"
            );
        }
    }
    let layers: BTreeSet<_> = sources::all().iter().map(|source| source.layer().to_owned()).collect();
    for layer in order {
        assert!(layers.contains(&layer), "there is no `{layer}`");
    }
}
