//! What the links count, for the metrics page.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counted since the start of the process.
        #[derive(Default)]
        pub struct Counters { $($(#[$doc])* pub(crate) $name: AtomicU64),+ }

        /// The counts at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterValues { $($(#[$doc])* pub $name: u64),+ }

        impl Counters {
            /// The counts now.
            #[must_use]
            pub fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.load(Ordering::Relaxed)),+ }
            }
        }
    };
}

counters!(
    /// Frames written.
    frames_sent,
    /// Frames read.
    frames_received,
    /// Bytes written.
    bytes_sent,
    /// Bytes of frames read.
    bytes_received,
    /// Writes to sockets; fewer than frames, because frames share them.
    writes,
    /// Outbound connections that passed their handshake.
    connects,
    /// Outbound connections that could not be made.
    connect_failures,
    /// Inbound connections that passed their handshake.
    accepts,
    /// Inbound connections refused, with a reason.
    refusals,
    /// Outbound connections refused by the peer.
    refused_by_peer,
    /// Connections, of either direction, that ended because the two nodes speak no common protocol.
    wire_refusals,
    /// Connections closed because what came made no sense.
    garbage,
    /// Handshakes that took too long or ended early.
    handshakes_failed,
    /// Connections given up because nothing came back.
    stalled,
    /// Calls that ended without an answer in time.
    timeouts,
    /// Answers nobody waited for any more.
    late_answers,
    /// Snapshots sent to their end.
    snapshots_sent,
    /// Snapshots whose receiver answered.
    snapshots_received,
);

pub(crate) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
}
