//! Turns for answers that may be as large as the state of a room, so that others can't fill the memory by asking for many.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ServerAccessError;

/// How many are put together at once.
const AT_ONCE: usize = 4;
/// What may wait to be sent, in KiB: five answers of the largest size.
const MOST_HELD_KIB: usize = 512 * 1024;

/// Who may read much now. Cheap to clone; the clones share what they give.
#[derive(Clone, Debug)]
pub struct LargeReads {
    turns: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

impl Default for LargeReads {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), held: Arc::new(Semaphore::new(MOST_HELD_KIB)) }
    }
}

/// A large answer, and its share of the memory for such: to be dropped when it has been sent.
#[derive(Debug)]
pub struct Large {
    /// The answer, in JSON.
    pub json: Vec<u8>,
    /// Its share.
    pub share: OwnedSemaphorePermit,
}

impl LargeReads {
    /// Waits for a turn, reads, and accounts for what was read until it has been sent.
    ///
    /// # Errors
    /// What `read` fails with, and [`ServerAccessError::Busy`] when too much waits to be sent.
    pub async fn take(
        &self,
        read: impl Future<Output = Result<Vec<u8>, ServerAccessError>>,
    ) -> Result<Large, ServerAccessError> {
        let busy = |_| ServerAccessError::Busy;
        let _turn = self.turns.acquire().await.map_err(|_| ServerAccessError::Busy)?;
        let json = read.await?;
        let kib = u32::try_from(json.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.held).try_acquire_many_owned(kib).map_err(busy)?;
        Ok(Large { json, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_to_be_sent_is_bounded() {
        let reads = LargeReads::default();
        let large = || reads.take(async { Ok(vec![0; 100 * 1024 * 1024]) });
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(large().await.unwrap());
        }
        assert_eq!(large().await.unwrap_err(), ServerAccessError::Busy);
        let small = reads.take(async { Ok(vec![0; 1024]) }).await.unwrap();
        held.pop();
        large().await.unwrap();
        drop(small);
        let failed = reads.take(async { Err(ServerAccessError::NotInRoom) }).await.unwrap_err();
        assert_eq!(failed, ServerAccessError::NotInRoom);
    }

    #[tokio::test]
    async fn only_some_are_put_together_at_once() {
        let reads = LargeReads::default();
        let never = || Box::pin(reads.take(std::future::pending()));
        let mut waiting: Vec<_> = (0..AT_ONCE).map(|_| never()).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        let mut next = Box::pin(reads.take(async { Ok(Vec::new()) }));
        assert!(futures_util::poll!(&mut next).is_pending());
        waiting.pop();
        assert!(next.await.unwrap().json.is_empty());
    }
}
