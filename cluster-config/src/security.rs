//! `[security]`: who may call, and over what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Development is loud and for synthetic data; production is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Development,
    #[default]
    Production,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Production => "production",
        })
    }
}

/// Plain text and the development principal exist in development mode only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    pub mode: Mode,
    /// Every caller becomes this principal; empty = callers are refused. Development mode only.
    pub development_principal: String,
}

impl Security {
    /// True in development mode.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.mode == Mode::Development
    }
}
