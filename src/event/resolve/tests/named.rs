//! Rooms whose resolution is known.
