//! The handles of a running server; no logic.
