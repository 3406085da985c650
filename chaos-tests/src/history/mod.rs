//! What clients asked, what they were told, and in which order: the one format all runs leave and all
//! checkers read.

mod file;
mod merge;
mod recorder;
#[cfg(test)]
pub(crate) mod testing;
mod value;

use serde::{Deserialize, Serialize};

pub use file::{FileError, read_lines, write_lines};
pub use merge::merge_resent;
pub use recorder::{ClientId, Clock, Observer, Recorder, Started};
pub use value::{VALUE_BYTES_MIN, Value};

/// One call of one client. A client has at most one call open; one whose write ended unknown goes on under a
/// new id, because its old call may still take effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Position in the history, from 0; names the operation in violations.
    pub id: u64,
    pub client: ClientId,
    /// `routing` or `routing/suffix`; one register.
    pub key: String,
    pub action: Action,
    /// The request id of a change; two operations with one id are the same request sent twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Event number of the call. Events of one history are totally ordered, also where clocks tie.
    pub invoked: u64,
    /// Event number of the answer; none while the outcome is unknown.
    pub returned: Option<u64>,
    /// Nanoseconds since the run began, for people and gap figures only.
    pub invoked_ns: u64,
    pub returned_ns: Option<u64>,
    pub outcome: Outcome,
}

/// What was asked. Every written value is unique in its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Read,
    Put {
        value: Value,
    },
    /// Writes if the register holds exactly `expected`; none = is absent.
    Cas {
        expected: Option<Value>,
        value: Value,
    },
    Delete,
}

impl Action {
    /// The value this would write.
    #[must_use]
    pub fn written(&self) -> Option<Value> {
        match self {
            Self::Put { value } | Self::Cas { value, .. } => Some(*value),
            Self::Read | Self::Delete => None,
        }
    }

    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read)
    }
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok(Seen),
    /// A business "no": it did not happen, and it is as good as a read that the condition did not hold.
    Rejected {
        reason: String,
    },
    /// It may have happened, may happen later, or never.
    Unknown {
        reason: String,
    },
    /// It is known not to have happened and never to happen.
    Failed {
        reason: String,
    },
}

/// A successful answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// A read's value; none = absent. A write's own value; none for a delete.
    pub value: Option<Value>,
    /// Log index that wrote the value; 0 = absent.
    pub revision: u64,
    pub shard: u32,
    /// Log index the answer is exact at.
    pub index: u64,
    /// An earlier try with this request id had taken effect.
    #[serde(default)]
    pub replayed: bool,
}

impl Operation {
    /// The answer, if it was a success.
    #[must_use]
    pub fn seen(&self) -> Option<&Seen> {
        match &self.outcome {
            Outcome::Ok(seen) => Some(seen),
            _ => None,
        }
    }

    /// True if it may have changed something although nobody was told so.
    #[must_use]
    pub fn is_open_write(&self) -> bool {
        !self.action.is_read() && matches!(self.outcome, Outcome::Unknown { .. })
    }
}
