//! What waits together is done together.
//!
//! While one lot is on its way, what comes meanwhile waits and goes out as the next one: alone on a quiet shard, in
//! lots as large as the load on a busy one, with no timer between.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Things that wait, and how many lots are on their way.
pub(crate) struct Gather<T> {
    state: Mutex<State<T>>,
    lots_max: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    lots: usize,
}

impl<T> Gather<T> {
    /// At most so many lots at a time.
    pub(crate) fn new(lots_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                lots: 0,
            }),
            lots_max,
        }
    }

    /// Adds one. True where the caller must now carry lots, with [`Self::take`], until there are none.
    #[must_use]
    pub(crate) fn add(&self, one: T) -> bool {
        let mut state = self.state.lock();
        state.waiting.push_back(one);
        let carry = state.lots < self.lots_max;
        state.lots += usize::from(carry);
        carry
    }

    /// The next lot, in the order of arrival: at least one, then as many as `fits` takes. Empty where none wait; then
    /// this carrier is done.
    pub(crate) fn take(&self, mut fits: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let mut lot = Vec::new();
        while let Some(next) = state.waiting.front() {
            // Asked for the first one as well: whoever counts must count it.
            if !fits(next) && !lot.is_empty() {
                break;
            }
            lot.extend(state.waiting.pop_front());
        }
        if lot.is_empty() {
            state.lots -= 1;
        }
        lot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_a_lot_is_on_its_way_is_the_next_lot() {
        let gather = Gather::new(1);
        assert!(gather.add(1), "somebody must carry");
        assert_eq!(gather.take(|_| true), [1]);
        assert!(!gather.add(2));
        assert!(!gather.add(3));
        assert_eq!(gather.take(|_| true), [2, 3]);
        assert!(gather.take(|_| true).is_empty());
        assert!(gather.add(4), "the first carrier is done");
    }

    #[test]
    fn a_lot_ends_where_the_next_one_does_not_fit() {
        let gather = Gather::new(2);
        let carriers = [9, 1, 1, 1].map(|size| gather.add(size));
        assert_eq!(carriers, [true, true, false, false]);
        let mut left = 2;
        let mut fits = |size: &i32| {
            left -= size;
            left >= 0
        };
        assert_eq!(gather.take(&mut fits), [9], "one that fits nowhere goes alone");
        assert_eq!(gather.take(|_| true), [1, 1, 1]);
    }
}
