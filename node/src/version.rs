//! The numbers a node says about itself. Release, wire range, stored format and cluster level are four
//! different things; the level is not here because it stands in the log.

use serde::Serialize;

/// The release, as Cargo knows it.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, or `unknown`.
pub const COMMIT: &str = env!("SPINE_COMMIT");
/// Oldest protocol between nodes that this release speaks.
pub const WIRE_MIN: u32 = 1;
/// Newest protocol between nodes that this release speaks.
pub const WIRE_MAX: u32 = 1;
/// Layout of a data directory.
pub const STORED_FORMAT: u32 = 1;

/// Printed by `--version`.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    env!("SPINE_COMMIT"),
    "\nstored format 1\nwire 1 to 1"
);

/// Answer of `/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    pub release: &'static str,
    pub commit: &'static str,
    pub stored_format: u32,
    pub wire_min: u32,
    pub wire_max: u32,
}

/// This build.
#[must_use]
pub fn current() -> Version {
    Version {
        release: RELEASE,
        commit: COMMIT,
        stored_format: STORED_FORMAT,
        wire_min: WIRE_MIN,
        wire_max: WIRE_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_says_the_same_numbers() {
        let said = format!(
            "{RELEASE}\ncommit {COMMIT}\nstored format {STORED_FORMAT}\nwire {WIRE_MIN} to {WIRE_MAX}"
        );
        assert_eq!(said, LONG);
    }
}
