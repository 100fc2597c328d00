//! Where states differ: descends only where the names of subtrees do.

use std::{collections::HashMap, sync::Arc};

use super::{
    node::{BITS, Node, WIDTH},
    tree::Nodes,
};
use crate::graph::types::{Root, Seq, Slot};

/// A slot at which two states differ, and what stands there in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The slot.
    pub slot: Slot,
    /// In the first state.
    pub old: Option<Seq>,
    /// In the second.
    pub new: Option<Seq>,
}

/// A slot at which not all states agree, and what stands there in each, in the order of the states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The slot.
    pub slot: Slot,
    /// In each state.
    pub seqs: Vec<Option<Seq>>,
}

/// Where two states differ, in the order of the slots: one wave a level.
pub fn differences<N: Nodes>(nodes: &N, old: Root, new: Root) -> Result<Vec<Difference>, N::Error> {
    let mut found = Vec::new();
    walk(nodes, &[old, new], &mut |slot, seqs| {
        if let [old, new] = seqs {
            found.push(Difference { slot, old: some(*old), new: some(*new) });
        }
    })?;
    Ok(found)
}

/// Where any number of states differ, in the order of the slots: one wave a level.
pub fn conflicts<N: Nodes>(nodes: &N, states: &[Root]) -> Result<Vec<Conflict>, N::Error> {
    let mut found = Vec::new();
    walk(nodes, states, &mut |slot, seqs| {
        found.push(Conflict { slot, seqs: seqs.iter().map(|seq| some(*seq)).collect() });
    })?;
    Ok(found)
}

/// All entries of a state, in the order of the slots: one wave a level.
pub fn entries<N: Nodes>(nodes: &N, root: Root) -> Result<Vec<(Slot, Seq)>, N::Error> {
    let mut found = Vec::new();
    walk(nodes, &[Root::EMPTY, root], &mut |slot, seqs| {
        if let Some(seq) = seqs.last().copied().and_then(some) {
            found.push((slot, seq));
        }
    })?;
    Ok(found)
}

fn some(seq: u32) -> Option<Seq> {
    (seq != 0).then_some(Seq(seq))
}

/// Subtrees of the states at one place that are not all the same; `names` holds as many for each place as there are states.
struct Open {
    /// The numbers of the places in their level.
    places: Vec<u32>,
    names: Vec<Root>,
}

fn walk<N: Nodes>(nodes: &N, states: &[Root], visit: &mut impl FnMut(Slot, &[u32])) -> Result<(), N::Error> {
    let width = states.len();
    if all_equal(states) {
        return Ok(());
    }
    let mut open = Open { places: vec![0], names: states.to_vec() };
    let mut loaded = load(nodes, &open.names)?;
    let mut level = loaded.values().map(|node| node.level()).max().unwrap_or_default();
    loop {
        let mut below = Open { places: Vec::new(), names: Vec::new() };
        for (place, names) in open.places.iter().zip(open.names.chunks(width)) {
            let found: Vec<Option<&Node>> = names.iter().map(|name| loaded.get(name).map(|node| &**node)).collect();
            if level == 0 {
                compare_leaves(*place, &found, visit);
            } else {
                compare_branches(*place, level, names, &found, &mut below);
            }
        }
        if below.places.is_empty() {
            return Ok(());
        }
        level -= 1;
        loaded = load(nodes, &below.names)?;
        open = below;
    }
}

/// Calls `visit` where leaves of one place differ.
fn compare_leaves(place: u32, leaves: &[Option<&Node>], visit: &mut impl FnMut(Slot, &[u32])) {
    let mut seqs = Vec::with_capacity(leaves.len());
    for index in 0..WIDTH {
        seqs.clear();
        seqs.extend(leaves.iter().map(|leaf| leaf.and_then(|leaf| leaf.seq(index)).map_or(0, |seq| seq.0)));
        if !all_equal(&seqs) {
            visit(Slot(below_place(place, index)), &seqs);
        }
    }
}

/// Opens the places below where branches of one place differ.
fn compare_branches(place: u32, level: u8, names: &[Root], branches: &[Option<&Node>], below: &mut Open) {
    for index in 0..WIDTH {
        let start = below.names.len();
        below.names.extend(names.iter().zip(branches).map(|(name, node)| match node {
            Some(node) if node.level() == level => node.child(index),
            // A lower tree stands at the first place of a higher one.
            Some(_) if index == 0 => *name,
            _ => Root::EMPTY,
        }));
        if below.names.get(start..).is_none_or(all_equal) {
            below.names.truncate(start);
        } else {
            below.places.push(below_place(place, index));
        }
    }
}

/// The number of a place one level down. The first slots of the highest level are all that a slot's 32 bits reach.
fn below_place(place: u32, index: usize) -> u32 {
    (place << BITS) | u32::try_from(index).unwrap_or_default()
}

fn load<N: Nodes>(nodes: &N, names: &[Root]) -> Result<HashMap<Root, Arc<Node>>, N::Error> {
    let mut wanted: Vec<Root> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let found = nodes.load(&wanted)?;
    Ok(wanted.into_iter().zip(found).collect())
}

fn all_equal<T: PartialEq>(items: &[T]) -> bool {
    items.windows(2).all(|pair| matches!(pair, [a, b] if a == b))
}
