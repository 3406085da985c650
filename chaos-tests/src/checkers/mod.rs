//! Could a correct store have answered so? Each checker is small, knows nothing of how the store works, and is
//! tested against histories known to be bad.

pub mod digest;
pub mod durability;
pub mod exactly_once;
pub mod linearizability;
pub mod online;
pub mod sessions;
mod suite;
pub mod version_order;
mod violation;
pub mod watch;

pub use suite::{FinalState, Report, Searched, check, check_with};
pub use violation::{Rule, Violation};
