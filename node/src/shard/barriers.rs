//! One barrier for all reads of a shard that wait together.

use std::sync::Arc;

use spine_consensus::group::GroupError;
use spine_mutants::mutant;
use tokio::sync::oneshot;

use super::gather::Gather;
use super::host::Shard;

/// Barriers of one shard under way.
const BARRIERS_MAX: usize = 1;

/// The reads of a shard that wait for a barrier.
pub struct Barriers(Waiting<Result<u64, GroupError>>);

type Waiting<T> = Gather<oneshot::Sender<T>>;

impl Default for Barriers {
    fn default() -> Self {
        Self(Gather::new(BARRIERS_MAX))
    }
}

impl Shard {
    /// As `RaftGroup::barrier`: the barrier begins after this call does, and others may share it.
    ///
    /// # Errors
    /// As `RaftGroup::barrier`.
    pub async fn barrier(self: &Arc<Self>) -> Result<u64, GroupError> {
        let (told, passed) = oneshot::channel();
        if self.barriers.0.add(told) {
            let shard = Arc::clone(self);
            tokio::spawn(async move { carry(&shard.barriers.0, || shard.group.barrier()).await });
        }
        passed
            .await
            .unwrap_or_else(|_| Err(GroupError::Stopped("the runtime ends".to_owned())))
    }
}

async fn carry<T: Clone, B: Future<Output = T>>(waiting: &Waiting<T>, barrier: impl Fn() -> B) {
    loop {
        // What the tasks that are ready now read, too, shares the barrier.
        tokio::task::yield_now().await;
        // Taken before the barrier begins: whoever comes later waits for the next one.
        let mut lot = waiting.take(|_| true);
        if lot.is_empty() {
            return;
        }
        let passed = barrier().await;
        if mutant!("barrier-of-the-past") {
            lot.extend(waiting.take(|_| true));
        }
        for told in lot {
            // Whoever asked may have given up.
            let _ = told.send(passed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_barrier_counts_for_those_who_asked_before_it_began() {
        let waiting = Gather::new(1);
        let ask = || {
            let (told, passed) = oneshot::channel();
            let _ = waiting.add(told);
            passed
        };
        let (first, second) = (ask(), ask());
        let (begun, late) = (Cell::new(0), Cell::new(None));
        let barrier = || async {
            begun.set(begun.get() + 1);
            if begun.get() == 1 {
                late.set(Some(ask()));
            }
            begun.get()
        };
        carry(&waiting, barrier).await;
        assert_eq!((first.await, second.await), (Ok(1), Ok(1)));
        let late = late.take().expect("it asked while the first was under way");
        assert_eq!(late.await, Ok(2));
    }
}
