//! The node keeps its replicas running: opens them, closes what stopped, opens it again with back-off, and builds
//! damaged state anew from a peer under the same replica id. A replica whose log is damaged or lost stays stopped: it
//! may have lost votes. A replica whose digest differs from another's is judged by the majority of its group.

mod delivery;
mod divergence;
mod history;
mod judge;
pub mod log_file;
mod lost;
mod old_copy;
mod open;
mod residence;
pub mod scrub;
mod supervisor;
mod tamper;

pub use delivery::{Deliveries, offered};
pub use divergence::Referee;
pub use history::History;
pub use open::{Fault, Opener};
pub use supervisor::Supervisor;
