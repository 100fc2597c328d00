//! What a client has not seen yet: tokens, subscribers, `/sync`.
