//! Reading, changing and building states.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::node::{BITS, Hasher, Node, TOP, WIDTH};
use crate::graph::types::{Root, Seq, Slot};

/// Where nodes come from.
pub trait Nodes {
    /// Why a node could not be had; that it does not exist is an error, too.
    type Error;

    /// The nodes of these names (none of them empty), in their order: one wave.
    fn load(&self, names: &[Root]) -> Result<Vec<Arc<Node>>, Self::Error>;
}

/// Nodes that were made and are not stored yet.
#[derive(Debug, Default)]
pub struct Draft {
    /// By their names.
    pub nodes: HashMap<Root, Arc<Node>>,
}

impl Draft {
    /// Reads from the draft first, and from `beneath` what the draft lacks.
    pub fn over<'a, N: Nodes>(&'a self, beneath: &'a N) -> impl Nodes<Error = N::Error> + 'a {
        Over { draft: self, beneath }
    }

    /// Keeps a node and names it; nothing at all has the empty name.
    fn keep(&mut self, hasher: &Hasher, node: Option<Node>) -> Root {
        let Some(node) = node else { return Root::EMPTY };
        let name = hasher.name(&node);
        self.nodes.entry(name).or_insert_with(|| Arc::new(node));
        name
    }
}

struct Over<'a, N> {
    draft: &'a Draft,
    beneath: &'a N,
}

impl<N: Nodes> Nodes for Over<'_, N> {
    type Error = N::Error;

    fn load(&self, names: &[Root]) -> Result<Vec<Arc<Node>>, N::Error> {
        let drafted: Vec<_> = names.iter().map(|name| self.draft.nodes.get(name).cloned()).collect();
        let lacking: Vec<_> =
            names.iter().zip(&drafted).filter(|(_, node)| node.is_none()).map(|(name, _)| *name).collect();
        let mut loaded = if lacking.is_empty() { Vec::new() } else { self.beneath.load(&lacking)? }.into_iter();
        Ok(drafted.into_iter().filter_map(|node| node.or_else(|| loaded.next())).collect())
    }
}

/// The index of a slot in a node of this level.
pub(super) fn index_at(slot: Slot, level: u8) -> usize {
    let shift = BITS * u32::from(level);
    usize::try_from(slot.0.checked_shr(shift).unwrap_or_default()).unwrap_or_default() % WIDTH
}

/// Whether a tree whose root has this level reaches to the slot.
fn reaches(level: u8, slot: Slot) -> bool {
    slot.0.checked_shr(BITS * (u32::from(level) + 1)).unwrap_or_default() == 0
}

/// The event that stands at a slot.
pub fn get<N: Nodes>(nodes: &N, root: Root, slot: Slot) -> Result<Option<Seq>, N::Error> {
    Ok(get_many(nodes, root, &[slot])?.pop().flatten())
}

/// The events that stand at these slots, in their order: one wave a level.
pub fn get_many<N: Nodes>(nodes: &N, root: Root, slots: &[Slot]) -> Result<Vec<Option<Seq>>, N::Error> {
    let mut found = vec![None; slots.len()];
    // (which slot, the subtree to look in)
    let mut open: Vec<(usize, Root)> =
        if root.is_empty() { Vec::new() } else { (0..slots.len()).map(|which| (which, root)).collect() };
    let mut at_root = true;
    while !open.is_empty() {
        let mut names: Vec<Root> = open.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let loaded: HashMap<Root, Arc<Node>> = names.iter().copied().zip(nodes.load(&names)?).collect();
        let mut below = Vec::with_capacity(open.len());
        for (which, name) in open {
            let (Some(node), Some(slot)) = (loaded.get(&name), slots.get(which).copied()) else { continue };
            if at_root && !reaches(node.level(), slot) {
                continue;
            }
            let index = index_at(slot, node.level());
            if let (Some(place), Some(seq)) = (found.get_mut(which), node.seq(index)) {
                *place = Some(seq);
            } else if !node.child(index).is_empty() {
                below.push((which, node.child(index)));
            }
        }
        open = below;
        at_root = false;
    }
    Ok(found)
}

/// What to do at a slot.
pub type Change = (Slot, Option<Seq>);

/// The state in which these slots hold these events (or none); of several changes to one slot the last counts.
///
/// New nodes go into the draft, and are looked for there first.
pub fn set<N: Nodes>(
    nodes: &N,
    draft: &mut Draft,
    hasher: &Hasher,
    root: Root,
    changes: impl IntoIterator<Item = Change>,
) -> Result<Root, N::Error> {
    let changes: BTreeMap<Slot, Option<Seq>> = changes.into_iter().collect();
    let changes: Vec<Change> = changes.into_iter().collect();
    let Some((last, _)) = changes.last() else { return Ok(root) };
    let mut editor = Editor { nodes, draft, hasher };
    let mut level = if root.is_empty() { 0 } else { editor.load(root)?.level() };
    let mut raised = root;
    while !reaches(level, *last) {
        // One storey more; a tree that is too high for what is left is lowered at the end.
        level += 1;
        if !raised.is_empty() {
            raised = editor.draft.keep(hasher, Some(Node::Branch { level, children: vec![raised] }));
        }
    }
    let grown = editor.edit(raised, level, &changes)?;
    let lowered = editor.lower(grown)?;
    Ok(lowered)
}

struct Editor<'a, N> {
    nodes: &'a N,
    draft: &'a mut Draft,
    hasher: &'a Hasher,
}

impl<N: Nodes> Editor<'_, N> {
    fn load(&self, name: Root) -> Result<Arc<Node>, N::Error> {
        match self.draft.nodes.get(&name) {
            Some(node) => Ok(Arc::clone(node)),
            None => {
                let mut loaded = self.nodes.load(&[name])?;
                // INVARIANT: a source gives as many nodes as it was asked for; nothing is an empty leaf.
                Ok(loaded.pop().unwrap_or_else(|| Arc::new(Node::Leaf(Vec::new()))))
            }
        }
    }

    /// The subtree `name` of this level with its part of the changes, which are in the order of their slots.
    fn edit(&mut self, name: Root, level: u8, changes: &[Change]) -> Result<Root, N::Error> {
        let old = if name.is_empty() { None } else { Some(self.load(name)?) };
        if level == 0 {
            let mut seqs = match old.as_deref() {
                Some(Node::Leaf(seqs)) => seqs.clone(),
                _ => Vec::new(),
            };
            for (slot, seq) in changes {
                *place(&mut seqs, index_at(*slot, 0)) = seq.map_or(0, |seq| seq.0);
            }
            return Ok(self.draft.keep(self.hasher, Node::Leaf(seqs).trimmed()));
        }
        let mut children = match old.as_deref() {
            Some(Node::Branch { children, .. }) => children.clone(),
            _ => Vec::new(),
        };
        for part in changes.chunk_by(|a, b| index_at(a.0, level) == index_at(b.0, level)) {
            let Some((slot, _)) = part.first() else { continue };
            let index = index_at(*slot, level);
            let child = children.get(index).copied().unwrap_or_default();
            *place(&mut children, index) = self.edit(child, level - 1, part)?;
        }
        Ok(self.draft.keep(self.hasher, Node::Branch { level, children }.trimmed()))
    }

    /// The same state with no storey too many.
    fn lower(&self, mut root: Root) -> Result<Root, N::Error> {
        while !root.is_empty() {
            match &*self.load(root)? {
                Node::Branch { children, .. } if children.len() == 1 => {
                    root = children.first().copied().unwrap_or_default()
                }
                _ => break,
            }
        }
        Ok(root)
    }
}

/// The entry at `index`, behind as many absent ones as it takes.
fn place<T: Clone + Default>(entries: &mut Vec<T>, index: usize) -> &mut T {
    if entries.len() <= index {
        entries.resize(index + 1, T::default());
    }
    #[expect(clippy::indexing_slicing, reason = "INVARIANT: resized above")]
    &mut entries[index]
}

/// A state from all of its entries, in the order of their slots.
pub fn build(draft: &mut Draft, hasher: &Hasher, entries: impl IntoIterator<Item = (Slot, Seq)>) -> Root {
    // The subtrees of the level that is being made, by their number in it.
    let mut made: Vec<(u32, Root)> = Vec::new();
    let mut leaf: Option<(u32, Vec<u32>)> = None;
    for (slot, seq) in entries {
        let number = slot.0 >> BITS;
        if leaf.as_ref().is_some_and(|(open, _)| *open != number) {
            close(&mut made, leaf.take(), draft, hasher, Node::Leaf);
        }
        *place(&mut leaf.get_or_insert((number, Vec::new())).1, index_at(slot, 0)) = seq.0;
    }
    close(&mut made, leaf, draft, hasher, Node::Leaf);
    let mut level = 0;
    while made.last().is_some_and(|(number, _)| *number > 0) && level < TOP {
        level += 1;
        let mut above = Vec::new();
        let mut branch: Option<(u32, Vec<Root>)> = None;
        for (number, child) in made {
            let parent = number >> BITS;
            if branch.as_ref().is_some_and(|(open, _)| *open != parent) {
                close(&mut above, branch.take(), draft, hasher, |children| Node::Branch { level, children });
            }
            let index = usize::try_from(number).unwrap_or_default() % WIDTH;
            *place(&mut branch.get_or_insert((parent, Vec::new())).1, index) = child;
        }
        close(&mut above, branch, draft, hasher, |children| Node::Branch { level, children });
        made = above;
    }
    made.pop().map_or(Root::EMPTY, |(_, root)| root)
}

fn close<T>(
    made: &mut Vec<(u32, Root)>,
    open: Option<(u32, Vec<T>)>,
    draft: &mut Draft,
    hasher: &Hasher,
    node: impl FnOnce(Vec<T>) -> Node,
) {
    if let Some((number, entries)) = open {
        let name = draft.keep(hasher, node(entries).trimmed());
        if !name.is_empty() {
            made.push((number, name));
        }
    }
}
