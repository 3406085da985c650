//! What a node says about itself: logs and metrics. Never personal data.

pub mod logging;
pub mod metrics;
pub mod process;

pub use logging::{LevelHandle, LoggingError};
pub use metrics::Metrics;
