//! What a group is about to write, as its later batches must see it.

use std::collections::HashMap;

use super::{batch::Batch, engine::Operation, keyspace::Family};

/// What the group is about to write, and of the rows that somebody in it asserts something of, what they will be.
pub(super) struct Draft {
    pub(super) operations: Vec<Operation>,
    asserted: HashMap<(Family, Vec<u8>), Drafted>,
}

enum Drafted {
    /// Nothing in the group changed it yet.
    Untouched,
    /// `None` for removed.
    Now(Option<Vec<u8>>),
}

impl Draft {
    pub(super) fn of<'a>(group: impl ExactSizeIterator<Item = &'a Batch>) -> Self {
        let mut asserted = HashMap::new();
        // Nobody else is in a group of one.
        if group.len() > 1 {
            for assertion in group.flat_map(|batch| &batch.assertions) {
                asserted.insert((assertion.family, assertion.key.clone()), Drafted::Untouched);
            }
        }
        Self { operations: Vec::new(), asserted }
    }

    pub(super) fn add(&mut self, operations: Vec<Operation>) {
        if !self.asserted.is_empty() {
            for operation in &operations {
                self.note(operation);
            }
        }
        self.operations.extend(operations);
    }

    fn note(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { family, key, value } => {
                if let Some(drafted) = self.asserted.get_mut(&(*family, key.clone())) {
                    *drafted = Drafted::Now(Some(value.clone()));
                }
            }
            Operation::Delete { family, key } => {
                if let Some(drafted) = self.asserted.get_mut(&(*family, key.clone())) {
                    *drafted = Drafted::Now(None);
                }
            }
            Operation::DeleteRange { family, start, end } => {
                for ((of, key), drafted) in &mut self.asserted {
                    if of == family && key >= start && (end.is_empty() || key < end) {
                        *drafted = Drafted::Now(None);
                    }
                }
            }
        }
    }

    /// What the group makes of a row; `None` if it leaves it as it is.
    pub(super) fn find(&self, family: Family, key: &[u8]) -> Option<Option<&[u8]>> {
        match self.asserted.get(&(family, key.to_vec()))? {
            Drafted::Untouched => None,
            Drafted::Now(value) => Some(value.as_deref()),
        }
    }
}
