//! One proposal at a time for one routing key, first come first served.
//!
//! The latch is held by the proposal, not by the caller: a caller that gives up does not let the next one plan
//! on a state that is about to change. Correctness rests on guards; the latch saves wasted plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use spine_proto::ids::RoutingKey;
use tokio::sync::{Mutex as FifoMutex, OwnedMutexGuard};

type Cell = Arc<FifoMutex<()>>;

/// The latches of one shard.
pub struct Latches {
    cells: Arc<Mutex<BTreeMap<RoutingKey, Cell>>>,
    waiters_max: usize,
}

/// Held until the proposal is applied or known dropped.
pub struct LatchGuard {
    key: RoutingKey,
    cells: Arc<Mutex<BTreeMap<RoutingKey, Cell>>>,
    guard: Option<OwnedMutexGuard<()>>,
}

/// More callers wait for one routing key than is useful.
#[derive(Debug, thiserror::Error)]
#[error("too many callers wait for one routing key")]
pub struct TooManyWaiters;

impl Latches {
    /// Latches for which at most `waiters_max` callers wait each.
    #[must_use]
    pub fn new(waiters_max: usize) -> Self {
        Self { cells: Arc::default(), waiters_max }
    }

    /// Waits for the key's turn.
    ///
    /// # Errors
    /// [`TooManyWaiters`]
    pub async fn acquire(&self, key: &RoutingKey) -> Result<LatchGuard, TooManyWaiters> {
        let cell = {
            let mut cells = self.cells.lock();
            let cell = cells.entry(key.clone()).or_default();
            if Arc::strong_count(cell) > self.waiters_max {
                return Err(TooManyWaiters);
            }
            Arc::clone(cell)
        };
        let mut latch = LatchGuard {
            key: key.clone(),
            cells: Arc::clone(&self.cells),
            guard: None,
        };
        latch.guard = Some(cell.lock_owned().await);
        Ok(latch)
    }

    /// Keys with a holder or waiters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.lock().len()
    }

    /// Whether nobody holds or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        let mut cells = self.cells.lock();
        self.guard = None;
        // Only the map itself refers to the cell: nobody waits.
        if cells
            .get(&self.key)
            .is_some_and(|cell| Arc::strong_count(cell) == 1)
        {
            cells.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_caller_waits_and_the_cell_goes_away() {
        let latches = Latches::new(8);
        let key = RoutingKey::parse("a").expect("key");
        let first = latches.acquire(&key).await.expect("free");
        let second = latches.acquire(&key);
        tokio::pin!(second);
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        let second = second.await.expect("turn");
        assert_eq!(latches.len(), 1);
        drop(second);
        assert!(latches.is_empty());
    }

    #[tokio::test]
    async fn more_callers_than_the_limit_are_refused() {
        let latches = Latches::new(1);
        let key = RoutingKey::parse("a").expect("key");
        let _first = latches.acquire(&key).await.expect("free");
        assert!(latches.acquire(&key).await.is_err());
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_nothing_behind() {
        let latches = Latches::new(8);
        let key = RoutingKey::parse("a").expect("key");
        let first = latches.acquire(&key).await.expect("free");
        {
            let second = latches.acquire(&key);
            tokio::pin!(second);
            assert!(futures_util::poll!(second.as_mut()).is_pending());
        }
        drop(first);
        assert!(latches.is_empty());
    }
}
