//! Push rules and, later, pushers.
