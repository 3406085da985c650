//! Restarts the nodes of a running cluster one after the other, each on another program, while callers go on.
//!
//! Nothing is taken for granted: before each node every other one is up, level and equal; after it the node has come
//! back as another process of the wanted program, has caught up, leads again and has answered a canary. Where one of
//! these does not come true, the nodes that were done go back to the program they had.
//!
//! [`Roll`] decides and waits, a [`Fleet`] looks and acts, [`Progress`] is what must outlive the process that rolls.

mod canary;
mod check;
mod finalize;
#[cfg(test)]
mod finalize_tests;
mod live;
mod program;
mod progress;
mod roll;
#[cfg(test)]
mod roll_tests;

pub use check::{DISK_FREE_BYTES_MIN, LAG_ENTRIES_MAX, Refusal, level_refusals, refusals, unknown_level};
pub use finalize::{Finalize, FinalizeError, Raised};
pub use live::{LiveFleet, Restart};
pub use program::{Program, ProgramError};
pub use progress::{Phase, Progress, ProgressError};
pub use roll::{Failure, Fleet, Roll, Step, Timings};
