//! One self-contained HTML file for a run that failed: what went wrong when, when clients had no answer, the
//! history of the suspect register, and the command that runs it again. No scripts, nothing from elsewhere.

mod html;
mod journal;
mod page;
mod slow_calls;
mod strip;
mod suspect;
mod timeline;

use std::path::{Path, PathBuf};

pub use html::escape;
pub use journal::{FaultEvent, Journal, Ongoing};
pub use page::{Page, write};
pub use slow_calls::{SlowCall, SlowCalls};

/// Where reports go: `target/reports` of the repository.
#[must_use]
pub fn directory() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target").join("reports")
}
