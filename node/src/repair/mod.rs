//! The node keeps its replicas running: opens them, closes what stopped, opens it again with back-off, and builds
//! damaged state anew from a peer under the same replica id. A replica whose log is damaged or lost stays stopped: it
//! may have lost votes.

mod delivery;
mod lost;
mod open;
mod residence;
mod supervisor;

pub use delivery::{Deliveries, offered};
pub use open::{Fault, Opener};
pub use supervisor::Supervisor;
