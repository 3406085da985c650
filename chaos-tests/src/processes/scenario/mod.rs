//! Scenarios carried out on real processes and the links between them, with clients calling all the while,
//! and every check afterwards.

mod desired;
mod episode;
mod execute;
mod liveness;
mod soak;
mod supports;

pub use episode::{Episode, EpisodeReport, observe, run_episode};
pub use execute::execute;
pub use liveness::{LIVE_LIMIT, Live, check_live};
pub use soak::{SoakOptions, SoakTotal, play, soak};
pub use supports::supports;
