//! The numbers a program says about itself. Release, wire range, stored format and cluster level are four different
//! things: the level in force stands in the log, a program only knows which levels it can follow.

use serde::Serialize;
use spine_consensus::transport::WireRange;
use spine_statemachine::LevelRange;

/// The release, as Cargo knows it.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, or `unknown`.
pub const COMMIT: &str = env!("SPINE_COMMIT");
/// Newest layout of a data directory that this release reads and writes.
pub const STORED_FORMAT: u32 = 1;

/// Printed by `--version`.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    env!("SPINE_COMMIT"),
    "\nstored format 1\nwire 1 to 1\nlevels 0 to 2"
);

/// What a node runs as. Data, not constants, so that a test can run nodes of several releases side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// For people, and for tools that compare nodes.
    pub name: String,
    /// What it was built from.
    pub commit: String,
    /// Newest layout of a data directory that it reads.
    pub stored_format: u32,
    /// The protocols between nodes that it speaks.
    pub wire: WireRange,
    /// The levels that it can follow.
    pub levels: LevelRange,
}

impl Release {
    /// This build.
    #[must_use]
    pub fn this() -> Self {
        Self {
            name: RELEASE.to_string(),
            commit: COMMIT.to_string(),
            stored_format: STORED_FORMAT,
            wire: WireRange::RELEASE,
            levels: LevelRange::RELEASE,
        }
    }

    /// This build with the limits of the release before it: `development.previous_release`.
    #[must_use]
    pub fn previous() -> Self {
        Self {
            name: PREVIOUS_RELEASE.to_string(),
            levels: LevelRange {
                max: PREVIOUS_LEVEL_MAX,
                ..LevelRange::RELEASE
            },
            ..Self::this()
        }
    }
}

/// How a node calls itself that plays the release before this one.
pub const PREVIOUS_RELEASE: &str = concat!(env!("CARGO_PKG_VERSION"), "-previous");
/// The newest level of the builds before the level could be raised.
const PREVIOUS_LEVEL_MAX: u32 = 1;

/// Answer of `/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    pub release: String,
    pub commit: String,
    pub stored_format: u32,
    pub wire_min: u32,
    pub wire_max: u32,
    pub level_min: u32,
    pub level_max: u32,
}

impl From<&Release> for Version {
    fn from(release: &Release) -> Self {
        Self {
            release: release.name.clone(),
            commit: release.commit.clone(),
            stored_format: release.stored_format,
            wire_min: release.wire.min,
            wire_max: release.wire.max,
            level_min: release.levels.min,
            level_max: release.levels.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_says_the_same_numbers() {
        let Release { wire, levels, .. } = Release::this();
        let said = format!(
            "{RELEASE}\ncommit {COMMIT}\nstored format {STORED_FORMAT}\nwire {wire}\nlevels {levels}"
        );
        assert_eq!(said, LONG);
    }

    #[test]
    fn the_previous_release_knows_a_level_less_and_speaks_with_this_one() {
        let (before, now) = (Release::previous(), Release::this());
        assert_eq!(before.levels.max + 1, now.levels.max);
        assert!(before.wire.common(now.wire).is_some());
        assert_ne!(before.name, now.name);
    }
}
