//! Who is alive: a matter between pairs of nodes, not of groups.
//!
//! [`LivenessTable`] judges and knows no clock; the driver beside it feeds the table and publishes its
//! [`LivenessSnapshot`]s. Safety never rests on any of this: a wrong verdict costs one election.

mod dialer;
pub(crate) mod driver;
mod snapshot;
mod table;

pub use snapshot::{Evidence, LivenessEvent, LivenessSnapshot, PeerLiveness, Proof};
pub use table::LivenessTable;
