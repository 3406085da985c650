//! How long a call rests before it is tried again.

use std::time::Duration;

/// Shortest rest, so that hints which point at each other make no storm.
pub const PAUSE_MIN: Duration = Duration::from_millis(2);

/// A hand-over lasts longer than the first rests of a call: so often they are doubled at once.
const HAND_OVER_DOUBLINGS: u32 = 2;

/// Longest rest before a shard is asked again; news of a leader ends it. `None` where the next try begins at once: a
/// fresh hint is followed, the first time. `fraction` gives 0 to 1.
#[must_use]
pub fn pause(
    tries: u32,
    has_hint: bool,
    handing_over: bool,
    fraction: impl FnOnce() -> f64,
) -> Option<Duration> {
    if has_hint && tries == 0 && !handing_over {
        return None;
    }
    let doublings = if handing_over {
        tries.max(HAND_OVER_DOUBLINGS)
    } else {
        tries
    };
    let base = Duration::from_millis(5).saturating_mul(1 << doublings.min(4));
    Some(base.mul_f64(0.5 + fraction()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(tries: u32, has_hint: bool, handing_over: bool) -> Option<u128> {
        pause(tries, has_hint, handing_over, || 0.5).map(|pause| pause.as_millis())
    }

    #[test]
    fn a_fresh_hint_is_followed_at_once_and_only_once() {
        assert_eq!(ms(0, true, false), None);
        assert_eq!(ms(1, true, false), Some(10));
    }

    #[test]
    fn without_a_hint_each_rest_is_twice_the_last_up_to_a_limit() {
        let rests: Vec<_> = (0..7).map(|tries| ms(tries, false, false)).collect();
        let expected = [5, 10, 20, 40, 80, 80, 80].map(Some);
        assert_eq!(rests, expected);
    }

    #[test]
    fn where_this_node_hands_over_the_one_that_it_names_does_not_lead_yet() {
        assert_eq!(ms(0, true, true), Some(20));
        assert_eq!(ms(3, true, true), Some(40), "later rests are no shorter");
    }
}
