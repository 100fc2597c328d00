//! The disk fails at the k-th write of a request, for every k, and the server starts again: what was acknowledged is
//! there, what was not is there as a whole or not at all. (`tests/it/graph/crash.rs` and `src/flows/tests/crash.rs` do
//! the same below the endpoints.)
//!
//! Each server is also checked by `fsck` when it ends: head, state, memberships and both orders of every room agree.

mod create_room;
mod membership;

use myelin::store::engine::faulty::Fault;
use serde_json::Value;

use crate::harness::{Request, TestServer};

/// The ways in which a write fails.
const FAULTS: [Fault; 2] = [Fault::Refused, Fault::Applied];
/// More writes than any of the stories needs.
const MOST_WRITES: usize = 100;

/// Tells a story on a disk that fails after 0, 1, 2 … writes, until one is told to its end; `tell` says whether its disk
/// lasted. How many writes it takes.
async fn for_every_write(fault: Fault, tell: impl AsyncFn(usize) -> bool) -> usize {
    for writes in 0..MOST_WRITES {
        if tell(writes).await {
            return writes;
        }
    }
    panic!("{fault:?}: the story never came to its end");
}

/// The answer, if the request went well; if not, because the disk failed.
async fn acknowledged(server: &TestServer, request: Request<'_>) -> Option<Value> {
    let answer = request.send_anyhow().await;
    if answer.status == 200 {
        return Some(answer.json);
    }
    assert!(server.has_failed(), "{answer:?}");
    assert!(answer.status >= 500, "{answer:?}");
    None
}
