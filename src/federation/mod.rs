//! Talking with other servers: identity and keys now, the rest with federation.

pub mod identity;
