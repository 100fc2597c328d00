//! Views over the graph: members, timeline, visibility, receipts; and the verbs that send into a room.

pub mod content;
pub mod filter;
pub mod format;
pub mod page_token;
pub mod sync_token;
pub mod visibility;
