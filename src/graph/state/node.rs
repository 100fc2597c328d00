//! Nodes: their stored form and their names.

use std::fmt;

use crate::{
    graph::types::{RoomNo, Root, Seq},
    store::{DecodeError, Value},
};

/// Entries of a node.
pub const WIDTH: usize = 64;
/// Bits of a slot that each level decides.
pub(super) const BITS: u32 = 6;
/// The level of the root of the highest tree: 6 × 6 bits are more than a slot has.
pub(super) const TOP: u8 = 5;

/// A piece of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Seqs by the last six bits of the slot; zero where there is none. Not empty, and the last is not zero.
    Leaf(Vec<u32>),
    /// Subtrees by the next six bits; [`Root::EMPTY`] where there is none. Not empty, and the last is not empty.
    Branch {
        /// How far above the leaves, from 1.
        level: u8,
        /// The subtrees.
        children: Vec<Root>,
    },
}

impl Node {
    /// How far above the leaves.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch { level, .. } => *level,
        }
    }

    /// The seq at an index of a leaf.
    pub(super) fn seq(&self, index: usize) -> Option<Seq> {
        match self {
            Self::Leaf(seqs) => seqs.get(index).copied().filter(|seq| *seq != 0).map(Seq),
            Self::Branch { .. } => None,
        }
    }

    /// The subtree at an index of a branch.
    pub(super) fn child(&self, index: usize) -> Root {
        match self {
            Self::Leaf(_) => Root::EMPTY,
            Self::Branch { children, .. } => children.get(index).copied().unwrap_or_default(),
        }
    }

    /// Cuts what is absent at the end; `None` if nothing is left.
    pub(super) fn trimmed(mut self) -> Option<Self> {
        match &mut self {
            Self::Leaf(seqs) => {
                seqs.truncate(seqs.iter().rposition(|seq| *seq != 0).map_or(0, |last| last + 1));
                (!seqs.is_empty()).then_some(self)
            }
            Self::Branch { children, .. } => {
                children.truncate(children.iter().rposition(|child| !child.is_empty()).map_or(0, |last| last + 1));
                (!children.is_empty()).then_some(self)
            }
        }
    }
}

impl Value for Node {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.level());
        match self {
            Self::Leaf(seqs) => {
                out.reserve(seqs.len() * 4);
                seqs.iter().for_each(|seq| out.extend_from_slice(&seq.to_le_bytes()));
            }
            Self::Branch { children, .. } => {
                out.reserve(children.len() * 16);
                children.iter().for_each(|child| out.extend_from_slice(&child.0));
            }
        }
    }

    fn decode(version: u8, body: &[u8]) -> Result<Self, DecodeError> {
        crate::graph::bytes::first_version(version)?;
        let (level, entries) = body.split_first().ok_or(DecodeError("a node without its level"))?;
        let node = if *level == 0 {
            let (seqs, []) = entries.as_chunks::<4>() else { return Err(DecodeError("a leaf is cut off")) };
            Self::Leaf(seqs.iter().map(|seq| u32::from_le_bytes(*seq)).collect())
        } else {
            let (children, []) = entries.as_chunks::<16>() else { return Err(DecodeError("a branch is cut off")) };
            Self::Branch { level: *level, children: children.iter().map(|child| Root(*child)).collect() }
        };
        let length = match &node {
            Self::Leaf(seqs) => seqs.len(),
            Self::Branch { children, .. } => children.len(),
        };
        if length == 0 || length > WIDTH || *level > TOP {
            return Err(DecodeError("a node out of form"));
        }
        Ok(node)
    }
}

/// Names nodes: keyed by the room's number, which nobody outside knows, so that nobody can look for two states of one name.
#[derive(Clone)]
pub struct Hasher([u8; 32]);

impl Hasher {
    /// For the states of this room.
    pub fn of(room: RoomNo) -> Self {
        Self(blake3::derive_key("myelin 2026-11 state nodes of a room", &room.0.to_be_bytes()))
    }

    /// The name of a node.
    pub fn name(&self, node: &Node) -> Root {
        let mut form = Vec::with_capacity(1 + WIDTH * 16);
        node.encode(&mut form);
        let hash = blake3::keyed_hash(&self.0, &form);
        Root(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// The name of several states together, in whichever order they are given.
    pub fn name_of_all(&self, roots: &[Root]) -> [u8; 16] {
        let mut sorted = roots.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        sorted.iter().for_each(|root| {
            hasher.update(&root.0);
        });
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}
