//! What lives in memory only: typing, presence.
