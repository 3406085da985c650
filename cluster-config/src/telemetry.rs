//! `[telemetry]`: what the node says about itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Logs go to standard error; metrics are served on the admin address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    pub log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`; changeable at run time by `PUT /loglevel`.
    pub log_level: String,
    /// A request slower than this gets one WARN line, without personal data.
    pub slow_request_ms: u64,
}

impl Telemetry {
    /// [`Telemetry::slow_request_ms`].
    #[must_use]
    pub fn slow_request(&self) -> Duration {
        Duration::from_millis(self.slow_request_ms)
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            slow_request_ms: 1_000,
        }
    }
}
