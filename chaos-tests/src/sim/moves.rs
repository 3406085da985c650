//! Which leader moves forged evidence accounts for: each event at most one, while it lasts and shortly after.

use serde::Serialize;

/// A peer that believed what an event showed may stand so long after its end, ms: the longest silence that counts as
/// an end, an election, and two of its time-outs where votes split.
const BELIEVED_MS: u64 = 1_500;
/// A leadership that was offered is taken within this, ms.
const OFFER_MS: u64 = 1_000;

/// New leaders of a run that nobody asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moves {
    /// All of them.
    pub needless: usize,
    /// Those for which no event is left.
    pub unexplained: usize,
}

impl Moves {
    /// Counts the new leaders at `new_ms` (in order, the first of all left out) after offers at `offered_ms` and
    /// events from `begin` to `end`.
    #[must_use]
    pub fn count(new_ms: &[u64], offered_ms: &[u64], events_ms: &[(u64, u64)]) -> Self {
        let mut offers = offered_ms.to_vec();
        let mut events = events_ms.to_vec();
        // The event that ends first has the fewest other moves to account for.
        events.sort_unstable_by_key(|(_, end)| *end);
        let mut moves = Self::default();
        for &at in new_ms {
            let offered = offers
                .iter()
                .position(|offer| (*offer..=offer + OFFER_MS).contains(&at));
            if let Some(offer) = offered {
                offers.remove(offer);
                continue;
            }
            moves.needless += 1;
            let event = events
                .iter()
                .position(|(begin, end)| (*begin..=end + BELIEVED_MS).contains(&at));
            match event {
                Some(event) => drop(events.remove(event)),
                None => moves.unexplained += 1,
            }
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(new_ms: &[u64], offered_ms: &[u64], events_ms: &[(u64, u64)]) -> (usize, usize) {
        let moves = Moves::count(new_ms, offered_ms, events_ms);
        (moves.needless, moves.unexplained)
    }

    #[test]
    fn an_event_accounts_for_one_move() {
        assert_eq!(count(&[150], &[], &[(100, 200)]), (1, 0));
        assert_eq!(count(&[150, 160], &[], &[(100, 200)]), (2, 1));
        assert_eq!(count(&[150, 160], &[], &[(100, 200), (120, 900)]), (2, 0));
    }

    #[test]
    fn a_move_outside_every_event_is_unexplained_however_many_events_there_are() {
        assert_eq!(count(&[99], &[], &[(100, 200), (100, 200)]), (1, 1));
        assert_eq!(count(&[1_700], &[], &[(100, 200)]), (1, 0));
        assert_eq!(count(&[1_701], &[], &[(100, 200)]), (1, 1));
    }

    #[test]
    fn an_offer_that_was_taken_is_no_needless_move() {
        assert_eq!(count(&[500], &[450], &[]), (0, 0));
        assert_eq!(count(&[500, 510], &[450], &[]), (1, 1));
        assert_eq!(count(&[1_451], &[450], &[]), (1, 1));
    }

    #[test]
    fn the_event_that_ends_first_is_used_first() {
        assert_eq!(count(&[150, 5_000], &[], &[(100, 4_000), (100, 200)]), (2, 0));
    }
}
