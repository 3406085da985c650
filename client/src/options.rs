//! Every limit and time-out of the client, with its default.

use std::time::Duration;

/// Time a whole call may take, all tries together.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Time one try may take. Doubles after every round in which no node answered.
pub const TRY_DEADLINE: Duration = Duration::from_secs(1);
/// A second try begins beside the first when its node has said nothing to this client for so long.
pub const HEDGE_AFTER: Duration = Duration::from_millis(150);
/// A second address is tried when the first has not connected for so long.
pub const CONNECT_HEDGE: Duration = Duration::from_millis(50);
/// An attempt to connect is given up after so long. Below the kernel's first SYN repeat, so that
/// a lost SYN costs this and not a second.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// Between pings on a connection, whether calls are in flight or not.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A connection whose ping stays unanswered for so long is closed.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest pause between two rounds of tries.
pub const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest pause between two rounds of tries.
pub const PAUSE_MAX: Duration = Duration::from_millis(250);
/// A node that did not answer is asked last for so long.
pub const SUSPECT_TIME: Duration = Duration::from_millis(500);
/// Calls of one client that may be under way together; more wait, within their deadline.
pub const CALLS_IN_FLIGHT_MAX: usize = 4_096;
/// Addresses known to one client: those given and those learned from hints.
pub const ADDRESSES_MAX: usize = 64;
/// Largest answer accepted, bytes: a page of records of 2 MiB each stays far below it.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A call that took so long is told with all its tries, once it is answered: an event of level debug.
pub const SLOW_CALL: Duration = Duration::from_millis(100);
/// The target of that event. Its fields are `ms` and `tries`; neither holds keys, values or names.
pub const SLOW_CALL_TARGET: &str = "spine_client::slow_call";
/// The adjustable ones.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) deadline: Duration,
    pub(crate) try_deadline: Duration,
    pub(crate) hedge_after: Duration,
    pub(crate) connect_hedge: Duration,
    pub(crate) connect_limit: Duration,
    pub(crate) keep_alive_interval: Duration,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) calls_in_flight_max: usize,
    /// Whether calls go to the leaders that answers name.
    pub(crate) follow_leaders: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: DEADLINE,
            try_deadline: TRY_DEADLINE,
            hedge_after: HEDGE_AFTER,
            connect_hedge: CONNECT_HEDGE,
            connect_limit: CONNECT_LIMIT,
            keep_alive_interval: KEEP_ALIVE_INTERVAL,
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            calls_in_flight_max: CALLS_IN_FLIGHT_MAX,
            follow_leaders: true,
        }
    }
}
