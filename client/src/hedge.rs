//! A second try beside the first, where a node has gone silent: a frozen machine closes no connection, and waiting for
//! a whole try's deadline would be felt. The request id makes it safe, a budget keeps it from feeding an overload.

use std::sync::atomic::{AtomicU32, Ordering};

/// Every call that is answered earns this much.
const EARNED: u32 = 1;
/// A second try costs this much: over time at most one call in ten has one.
const COST: u32 = 10;
/// Saved up at most, and at the start: room for the calls that one frozen node holds.
const SAVED_MAX: u32 = 256 * COST;

/// What may be spent on second tries.
pub(crate) struct HedgeBudget(AtomicU32);

impl Default for HedgeBudget {
    fn default() -> Self {
        Self(AtomicU32::new(SAVED_MAX))
    }
}

impl HedgeBudget {
    /// A call was answered.
    pub(crate) fn earn(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved < SAVED_MAX).then_some(saved + EARNED)
            });
    }

    /// True if a second try may be made now.
    pub(crate) fn spend(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(COST)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_ten_once_the_savings_are_spent() {
        let budget = HedgeBudget::default();
        let mut spent = 0;
        while budget.spend() {
            spent += 1;
        }
        assert_eq!(spent, 256);
        for _ in 0..100 {
            budget.earn();
        }
        let after = (0..100).filter(|_| budget.spend()).count();
        assert_eq!(after, 10);
    }
}
