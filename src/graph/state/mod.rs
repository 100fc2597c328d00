//! States of a room: persistent arrays slot → seq, in which equal states have equal roots and share what is equal.
//!
//! A state is a radix-64 tree. A leaf holds 64 seqs, a branch the hashes of 64 subtrees; what is absent is zero, trailing
//! zeros are cut, and a tree is as low as it can be: one form for one state, whoever built it. Nodes are written once,
//! under the hash of their form, keyed by the room.
//!
//! Everything here is pure: nodes come from a [`Nodes`] and go into a [`Draft`].

mod diff;
mod node;
mod sweep;
#[cfg(test)]
mod tests;
mod tree;

pub use self::{
    diff::{Conflict, Difference, conflicts, differences, entries},
    node::{Hasher, Node, WIDTH},
    sweep::mark,
    tree::{Change, Draft, Nodes, build, get, get_many, set},
};
