//! What clients notice of a fault: 64 closed-loop clients, one fault after another, and for each the longest call
//! that it fell into or came before.

mod crossing;
mod disk;
mod etcd;
mod http;
mod levels;
mod load;
mod noticed;
mod roll_faults;
mod rolls;
mod rounds;
mod spine;
mod summary;
mod thrown;

pub use crossing::Crossed;
pub use http::Befell;
pub use levels::{Finalized, TwoReleases};
pub use load::{Client, Load, Tally};
pub use roll_faults::{RolledThrough, rolls_with_faults};
pub use rolls::{RollError, Rolled, Shared, http_rolls, spine_rolls};
pub use rounds::{Fault, Gap, Rounds, etcd_rounds, http_rounds, spine_rounds};
pub use summary::{Summary, elsewhere_limit_ms};
pub use thrown::{Begins, Lasts, RollFault, Target, Thrown, Victim};
