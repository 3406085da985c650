//! Plans of faults carried out on real processes and the links between them, with clients calling all the while,
//! and every check afterwards.

mod deed;
mod desired;
mod draw;
mod episode;
mod execute;
mod liveness;
mod soak;

pub use deed::{Deed, DeedStep, supports};
pub use draw::{draw, draw_of};
pub use episode::{Episode, EpisodeReport, observe, run_episode};
pub use execute::execute;
pub use liveness::{LIVE_LIMIT, Live, check_live};
pub use soak::{SoakOptions, SoakTotal, soak};
