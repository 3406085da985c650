//! Cluster levels: which rules replicas follow, by the place in the log.
//!
//! A shard begins at level 0. A `Level` entry raises it: every entry before it is applied by the old rules, every entry
//! after it by the new ones, on every replica and in every replay alike. Whoever changes what is written or how it is
//! applied adds a [`Rule`] here and asks [`crate::SystemState::follows`]: apply asks at the entry it applies, a leader
//! asks the view that it plans on. A level never goes down, so what a leader saw in force still is when its entry is
//! applied.

use std::fmt;

use bytes::Bytes;

use crate::frame;

/// The levels that a program can follow, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelRange {
    /// It does not know the rules of lower ones any more.
    pub min: u32,
    /// It does not know the rules of higher ones yet.
    pub max: u32,
}

impl LevelRange {
    /// Of this release. Level 1 is that of the builds before the level could be raised.
    pub const RELEASE: Self = Self { min: 0, max: 2 };

    /// Whether a program with this range can follow `level`.
    ///
    /// # Errors
    /// [`UnknownLevel`], which names both.
    pub fn check(self, level: u32) -> Result<(), UnknownLevel> {
        if (self.min..=self.max).contains(&level) {
            Ok(())
        } else {
            Err(UnknownLevel { level, known: self })
        }
    }
}

impl Default for LevelRange {
    fn default() -> Self {
        Self::RELEASE
    }
}

impl fmt::Display for LevelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// A level whose rules a program does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("level {level} is in force and this program knows {known}")]
pub struct UnknownLevel {
    /// The level.
    pub level: u32,
    /// What the program knows.
    pub known: LevelRange,
}

/// A change of what is written or of how it is applied, and the level that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    since: u32,
}

impl Rule {
    /// The level stands in a row of the shard: digests, range digests and backups tell replicas apart that follow
    /// different levels.
    pub const LEVEL_IN_A_ROW: Self = Self { since: 2 };
    /// Numbers are merged and given out, records marked as invalid or sensitive. A leader without the rule shows such
    /// records as any others, and with its next change of one forgets what its row says besides the resource.
    pub const IDENTITIES: Self = Self { since: 2 };
    /// Search tokens stand beside each patient. A leader without the rule changes patients and not their tokens, so
    /// that they are found no more.
    pub const SEARCH_TOKENS: Self = Self { since: 2 };
    /// Request rows of one stretch of the log stand together (see [`crate::window`]). A replica without the rule would look
    /// for them, and write them, elsewhere.
    pub const REQUESTS_BY_BUCKET: Self = Self { since: 2 };

    /// The level that brings it.
    #[must_use]
    pub const fn since(self) -> u32 {
        self.since
    }

    /// Whether it is in force at this level.
    #[must_use]
    pub const fn holds_at(self, level: u32) -> bool {
        level >= self.since
    }
}

/// Schema number of the row that holds the level.
pub const SCHEMA: u32 = 1;

/// The value of the row at this level: four bytes, big endian.
#[must_use]
pub fn value(level: u32) -> Bytes {
    frame::encode(&level.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_known_and_what_is_beyond_is_named() {
        let known = LevelRange { min: 1, max: 3 };
        assert_eq!([1, 2, 3].map(|level| known.check(level)), [Ok(()); 3]);
        let said = [0, 4].map(|level| known.check(level).unwrap_err().to_string());
        assert_eq!(
            said,
            [
                "level 0 is in force and this program knows 1 to 3",
                "level 4 is in force and this program knows 1 to 3"
            ]
        );
    }
}
