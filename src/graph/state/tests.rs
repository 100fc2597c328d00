//! The array against a plain map.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    Conflict, Difference, Draft, Hasher, Node, Nodes, build, conflicts, differences, entries, get, get_many, mark, set,
};
use crate::{
    graph::types::{RoomNo, Root, Seq, Slot},
    store::value::{from_bytes, to_bytes},
};

/// All nodes that were ever made; loading one goes through its stored form.
#[derive(Default)]
struct Stored(BTreeMap<Root, Vec<u8>>);

impl Stored {
    fn take(&mut self, draft: Draft) {
        self.0.extend(draft.nodes.iter().map(|(name, node)| (*name, to_bytes(&**node))));
    }
}

impl Nodes for Stored {
    type Error = Infallible;

    fn load(&self, names: &[Root]) -> Result<Vec<Arc<Node>>, Infallible> {
        Ok(names.iter().map(|name| Arc::new(from_bytes(&self.0[name]).unwrap())).collect())
    }
}

type Model = BTreeMap<u32, u32>;

fn hasher() -> Hasher {
    Hasher::of(RoomNo(77))
}

fn apply(stored: &mut Stored, root: Root, changes: &[(u32, u32)]) -> Root {
    let mut draft = Draft::default();
    let changes = changes.iter().map(|(slot, seq)| (Slot(*slot), (*seq != 0).then_some(Seq(*seq))));
    let root = set(stored, &mut draft, &hasher(), root, changes).unwrap();
    stored.take(draft);
    root
}

fn apply_model(model: &mut Model, changes: &[(u32, u32)]) {
    for (slot, seq) in changes {
        if *seq == 0 {
            model.remove(slot);
        } else {
            model.insert(*slot, *seq);
        }
    }
}

fn built(stored: &mut Stored, model: &Model) -> Root {
    let mut draft = Draft::default();
    let root = build(&mut draft, &hasher(), model.iter().map(|(slot, seq)| (Slot(*slot), Seq(*seq))));
    stored.take(draft);
    root
}

fn slots() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..70, 60_u32..5_000, 260_000_u32..270_000, Just(u32::MAX), Just(u32::MAX - 64)]
}

fn changes() -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::vec((slots(), 0_u32..5), 0..30)
}

proptest! {
    #[test]
    fn one_form_whatever_the_order(steps in prop::collection::vec(changes(), 0..8), probes in prop::collection::vec(slots(), 0..20)) {
        let (mut stored, mut model, mut root) = (Stored::default(), Model::new(), Root::EMPTY);
        for step in &steps {
            root = apply(&mut stored, root, step);
            apply_model(&mut model, step);
            prop_assert_eq!(root, built(&mut stored, &model));
        }
        // One by one, backwards, over an unrelated entry that goes again.
        let mut other = apply(&mut stored, Root::EMPTY, &[(4_000_000_000, 9)]);
        for (slot, seq) in model.iter().rev() {
            other = apply(&mut stored, other, &[(*slot, *seq)]);
        }
        if !model.contains_key(&4_000_000_000) {
            other = apply(&mut stored, other, &[(4_000_000_000, 0)]);
        }
        prop_assert_eq!(root, other);

        let slots: Vec<Slot> = probes.iter().copied().chain(model.keys().copied()).map(Slot).collect();
        let expected: Vec<_> = slots.iter().map(|slot| model.get(&slot.0).copied().map(Seq)).collect();
        prop_assert_eq!(get_many(&stored, root, &slots).unwrap(), expected);
        for slot in slots {
            prop_assert_eq!(get(&stored, root, slot).unwrap(), model.get(&slot.0).copied().map(Seq));
        }
        let all: Vec<_> = model.iter().map(|(slot, seq)| (Slot(*slot), Seq(*seq))).collect();
        prop_assert_eq!(entries(&stored, root).unwrap(), all);
    }

    #[test]
    fn differences_and_conflicts_are_those_of_maps(common in changes(), parts in prop::collection::vec(changes(), 1..5)) {
        let mut stored = Stored::default();
        let base = apply(&mut stored, Root::EMPTY, &common);
        let mut models = Vec::new();
        let mut roots = Vec::new();
        for part in &parts {
            let mut model = Model::new();
            apply_model(&mut model, &common);
            apply_model(&mut model, part);
            roots.push(apply(&mut stored, base, part));
            models.push(model);
        }
        let keys: std::collections::BTreeSet<u32> = models.iter().flat_map(|model| model.keys().copied()).collect();
        let expected: Vec<Conflict> = keys
            .iter()
            .map(|key| Conflict {
                slot: Slot(*key),
                seqs: models.iter().map(|model| model.get(key).copied().map(Seq)).collect(),
            })
            .filter(|conflict| conflict.seqs.iter().any(|seq| *seq != conflict.seqs[0]))
            .collect();
        prop_assert_eq!(conflicts(&stored, &roots).unwrap(), expected);

        let (first, last) = (&models[0], &models[models.len() - 1]);
        let expected: Vec<Difference> = keys
            .iter()
            .map(|key| Difference {
                slot: Slot(*key),
                old: first.get(key).copied().map(Seq),
                new: last.get(key).copied().map(Seq),
            })
            .filter(|difference| difference.old != difference.new)
            .collect();
        prop_assert_eq!(differences(&stored, roots[0], roots[roots.len() - 1]).unwrap(), expected);
    }

    #[test]
    fn what_is_not_marked_is_not_needed(steps in prop::collection::vec(changes(), 1..8), keep in any::<prop::sample::Index>()) {
        let (mut stored, mut root, mut roots, mut model) = (Stored::default(), Root::EMPTY, Vec::new(), Model::new());
        let mut models = Vec::new();
        for step in &steps {
            root = apply(&mut stored, root, step);
            apply_model(&mut model, step);
            roots.push(root);
            models.push(model.clone());
        }
        let kept = keep.index(roots.len());
        let mut marked = HashSet::new();
        mark(&stored, [roots[kept], roots[kept]], &mut marked).unwrap();
        stored.0.retain(|name, _| marked.contains(name));
        prop_assert_eq!(stored.0.len(), marked.len());
        let all: Vec<_> = models[kept].iter().map(|(slot, seq)| (Slot(*slot), Seq(*seq))).collect();
        prop_assert_eq!(entries(&stored, roots[kept]).unwrap(), all);
        let again = built(&mut Stored::default(), &models[kept]);
        prop_assert_eq!(again, roots[kept]);
    }
}

#[test]
fn a_change_among_many_writes_little() {
    let mut stored = Stored::default();
    let model: Model = (0..100_000).map(|slot| (slot, slot + 1)).collect();
    let root = built(&mut stored, &model);
    let mut draft = Draft::default();
    set(&stored, &mut draft, &hasher(), root, [(Slot(54_321), Some(Seq(200_000)))]).unwrap();
    let written: usize = draft.nodes.values().map(|node| to_bytes(&**node).len()).sum();
    assert_eq!(draft.nodes.len(), 3);
    assert!(written < 1_800, "{written} bytes");
}

#[test]
fn rooms_name_the_same_state_differently() {
    let node = Node::Leaf(vec![1]);
    assert_ne!(Hasher::of(RoomNo(1)).name(&node), Hasher::of(RoomNo(2)).name(&node));
    assert_eq!(
        hasher().name_of_all(&[Root([1; 16]), Root([2; 16])]),
        hasher().name_of_all(&[Root([2; 16]), Root([1; 16])])
    );
}

#[test]
fn damaged_nodes_are_refused() {
    for bytes in
        [&[1][..], &[1, 0], &[1, 0, 1, 2], &[1, 1], &[1, 9, 0], &[1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        assert!(from_bytes::<Node>(bytes).is_err(), "{bytes:?}");
    }
}
