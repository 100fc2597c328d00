//! The migrations of released schemas, one file each.
//!
//! A change of how values are coded needs none: values begin with the version of their coding, and old decoders stay. A
//! migration is for what rows there are: a keyspace whose keys change, or one that is computed from others. To add one:
//! write its file here, list it below, and raise [`super::schema::VERSION`]. What a release has done stays as it is.

use super::migrate::Migration;

/// All of them, in order: the first makes version 2 of version 1.
pub(super) const ALL: &[Migration] = &[];
