//! What is wrong with a configuration. The text is an interface: tests compare it literally.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    /// Name of the variable.
    Environment(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the key, for example `listen.grpc`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    pub origin: Origin,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.message, self.origin)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not TOML: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("the configuration has {}:{}", count(faults), lines(faults))]
    Faults { faults: Vec<Fault> },
    #[error(
        "security.mode is \"production\", which needs TLS, and this release does not have it yet; \
         set security.mode = \"development\" and use synthetic data only"
    )]
    NeedsTls,
}

impl ConfigError {
    /// The single faults; empty for a file that cannot be read at all.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Faults { faults } => faults,
            Self::Read { .. } | Self::Syntax { .. } | Self::NeedsTls => &[],
        }
    }
}

fn count(faults: &[Fault]) -> String {
    match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}
