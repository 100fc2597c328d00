//! Views over the graph: members, timeline, visibility, receipts; and the verbs that send into a room.

pub mod filter;
pub mod sync_token;
