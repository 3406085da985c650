//! What can go wrong between two nodes.

use std::fmt;

use spine_proto::internal::raft::v1::Refusal;

/// Why a call to a peer has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nothing was sent: no address, no connection, or the last attempt failed a moment ago.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The connection ended while the call was under way: its outcome is unknown.
    #[error("the connection ended during the call")]
    Closed,
    /// No answer in time: the outcome is unknown.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The message is longer than its lane allows. Nothing was sent.
    #[error("a message of {bytes} bytes is longer than its lane allows")]
    TooLarge {
        /// Length of the encoded frame.
        bytes: usize,
    },
    /// The peer will not talk to us, or not about this.
    #[error("the peer refused: {0}")]
    Refused(RefusalReason),
    /// Too many calls or bytes wait for this peer or at it. Nothing was begun.
    #[error("too many calls wait for this peer")]
    Busy,
}

impl PeerError {
    /// True if the peer certainly did not begin the call.
    #[must_use]
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::Unreachable | Self::TooLarge { .. } | Self::Busy)
    }
}

/// Why a node refuses a connection or a call. The text is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    WrongMagic,
    WrongWire,
    WrongCluster,
    NotInitialised,
    UnknownNode,
    WrongNode,
    WrongLane,
    SelfConnection,
    TooManyConnections,
    Unsupported,
    AnswerTooLarge,
    /// The cluster was begun anew from what one node had; this one is of before.
    WrongIncarnation,
    /// The data directory is an older copy of itself: it may have forgotten votes.
    OldStore,
    /// Too many calls are being handled; this one was not begun.
    Busy,
    /// A reason this release does not know.
    Other,
}

const REASONS: [(RefusalReason, &str); 14] = [
    (RefusalReason::WrongMagic, "WRONG_MAGIC"),
    (RefusalReason::WrongWire, "WRONG_WIRE"),
    (RefusalReason::WrongCluster, "WRONG_CLUSTER"),
    (RefusalReason::NotInitialised, "NOT_INITIALISED"),
    (RefusalReason::UnknownNode, "UNKNOWN_NODE"),
    (RefusalReason::WrongNode, "WRONG_NODE"),
    (RefusalReason::WrongLane, "WRONG_LANE"),
    (RefusalReason::SelfConnection, "SELF_CONNECTION"),
    (RefusalReason::TooManyConnections, "TOO_MANY_CONNECTIONS"),
    (RefusalReason::Unsupported, "UNSUPPORTED"),
    (RefusalReason::AnswerTooLarge, "ANSWER_TOO_LARGE"),
    (RefusalReason::OldStore, "OLD_STORE"),
    (RefusalReason::WrongIncarnation, "WRONG_INCARNATION"),
    (RefusalReason::Busy, "BUSY"),
];

impl RefusalReason {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        REASONS
            .iter()
            .find(|(reason, _)| *reason == self)
            .map_or("OTHER", |(_, name)| name)
    }

    /// The reason a peer sent.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        REASONS
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Self::Other, |(reason, _)| *reason)
    }

    pub(crate) fn to_wire(self) -> Refusal {
        self.with_message(String::new())
    }

    /// With a text for people.
    pub(crate) fn with_message(self, message: String) -> Refusal {
        Refusal {
            reason: self.name().to_string(),
            message,
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_from_its_name() {
        for (reason, _) in REASONS {
            assert_eq!(RefusalReason::parse(reason.name()), reason);
        }
        assert_eq!(RefusalReason::parse("FROM_THE_FUTURE"), RefusalReason::Other);
    }
}
