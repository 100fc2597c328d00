//! Which nodes are still needed: the marking half of mark and sweep.

use std::collections::HashSet;

use super::{node::Node, tree::Nodes};
use crate::graph::types::Root;

/// Adds to `marked` the names of all nodes of these states: one wave a level, and nothing that is marked already is
/// loaded again. A node of the room that no state marks may be thrown away.
pub fn mark<N: Nodes>(
    nodes: &N,
    states: impl IntoIterator<Item = Root>,
    marked: &mut HashSet<Root>,
) -> Result<(), N::Error> {
    let mut open: Vec<Root> = states.into_iter().filter(|root| !root.is_empty() && marked.insert(*root)).collect();
    while !open.is_empty() {
        let mut below = Vec::new();
        for node in nodes.load(&open)? {
            if let Node::Branch { children, .. } = &*node {
                below.extend(children.iter().copied().filter(|child| !child.is_empty() && marked.insert(*child)));
            }
        }
        open = below;
    }
    Ok(())
}
