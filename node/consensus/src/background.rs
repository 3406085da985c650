//! How much of the machine copying a replica may take: callers come first.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::runtime::blocking;

/// A snapshot that is taken in works on a machine of this many processors without a rest, and proportionally less of
/// the time on a smaller one: two at a time, and what their senders do for them, leave callers most of the machine.
const PROCESSORS_FULL: u32 = 16;
/// No rest is longer, so that the sender does not give up.
const REST_MAX: Duration = Duration::from_secs(1);

/// Does a piece of work that blocks, then rests in proportion.
pub(crate) async fn in_background<T>(work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = blocking(work);
    let rest = rest_after(began.elapsed(), *PROCESSORS);
    // Where time is simulated work takes none.
    if !rest.is_zero() {
        sleep(rest).await;
    }
    done
}

/// Asked once: the answer costs a look at several files.
static PROCESSORS: LazyLock<u32> = LazyLock::new(|| {
    let count = available_parallelism().map_or(1, NonZero::get);
    u32::try_from(count).unwrap_or(PROCESSORS_FULL)
});

fn rest_after(worked: Duration, processors: u32) -> Duration {
    let idle = PROCESSORS_FULL.saturating_sub(processors);
    (worked * idle / processors.max(1)).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_rests_more_and_none_for_long() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(ms(10), 2), ms(70));
        assert_eq!(rest_after(ms(10), 8), ms(10));
        assert_eq!(rest_after(ms(10), 16), ms(0));
        assert_eq!(rest_after(ms(10), 64), ms(0));
        assert_eq!(rest_after(ms(800), 2), REST_MAX);
    }
}
