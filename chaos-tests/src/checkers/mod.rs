//! Could a correct store have answered so? Each checker is small, knows nothing of how the store works, and is
//! tested against histories known to be bad.

pub mod digest;
pub mod durability;
pub mod exactly_once;
pub mod linearizability;
mod suite;
pub mod version_order;
mod violation;
pub mod watch;

pub use suite::{FinalState, Report, check};
pub use violation::{Rule, Violation};
