//! How far the reader of a feed is, as the text that it keeps and gives back.
//!
//! `1-3.150-4.98.2`: incarnation 1 of the cluster; shard 3 from index 150 on; shard 4 behind two versions of the entry at
//! index 98. Readers take it as it is; that it can be read by people is for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use spine_services::{ErrorKind, SpineError, reason};

/// Longest cursor, in bytes: with every shard in it, it still fits a request's head.
pub const CURSOR_BYTES_MAX: usize = 8 * 1_024;
/// Shards that one reader may follow: their positions fit a cursor, whatever the indexes.
pub const CURSOR_SHARDS_MAX: usize = 200;

/// A place in a shard's feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Log index of the next entry to look at.
    pub index: u64,
    /// Versions of that entry that were shown.
    pub skip: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of the cluster the indexes are of.
    pub incarnation: u32,
    /// The place in each shard that is followed.
    pub shards: BTreeMap<u32, At>,
}

impl Cursor {
    /// Reads what [`Cursor::text`] wrote.
    ///
    /// # Errors
    /// `INVALID_CURSOR`
    pub fn parse(text: &str) -> Result<Self, SpineError> {
        let read = || {
            let mut parts = (text.len() <= CURSOR_BYTES_MAX).then(|| text.split('-'))?;
            let incarnation = number(parts.next()?)?;
            let mut shards = BTreeMap::new();
            for part in parts {
                let mut numbers = part.split('.');
                let shard = number(numbers.next()?)?;
                let index = number(numbers.next()?)?;
                let skip = numbers.next().map_or(Some(0), number)?;
                let twice = shards.insert(shard, At { index, skip }).is_some();
                if twice || numbers.next().is_some() || shards.len() > CURSOR_SHARDS_MAX {
                    return None;
                }
            }
            (!shards.is_empty()).then_some(Self { incarnation, shards })
        };
        read().ok_or_else(invalid_cursor)
    }

    /// For the reader to keep.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.incarnation.to_string();
        for (shard, at) in &self.shards {
            // Writing to a string does not fail.
            let _ = write!(text, "-{shard}.{}", at.index);
            if at.skip > 0 {
                let _ = write!(text, ".{}", at.skip);
            }
        }
        text
    }
}

/// Digits alone.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// What was given is no cursor of this cluster.
#[must_use]
pub fn invalid_cursor() -> SpineError {
    SpineError::new(
        ErrorKind::Invalid,
        reason::INVALID_CURSOR,
        "the cursor is not one that this cluster gave",
    )
    .with_field("cursor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_nothing_else_is() {
        let shards = [
            (3, At { index: 150, skip: 0 }),
            (4, At { index: 98, skip: 2 }),
            (
                200,
                At {
                    index: u64::MAX,
                    skip: u32::MAX,
                },
            ),
        ];
        let cursor = Cursor {
            incarnation: 1,
            shards: shards.into(),
        };
        assert!(cursor.text().starts_with("1-3.150-4.98.2-200."));
        assert_eq!(Cursor::parse(&cursor.text()), Ok(cursor));
        for bad in [
            "",
            "1",
            "1-",
            "-3.1",
            "1-3",
            "1-3.",
            "1-3.1.",
            "1-3.1.2.3",
            "1-3.1-3.2",
            "1-3.+1",
            "1-3.-1",
            "x-3.1",
            "1-3.18446744073709551616",
            "1 -3.1",
            "1-3.1 ",
            "4294967296-1.1",
        ] {
            assert_eq!(Cursor::parse(bad).unwrap_err().reason, "INVALID_CURSOR", "{bad}");
        }
        let long = format!("1{}", "-1.1".repeat(3_000));
        assert!(Cursor::parse(&long).is_err());
    }

    #[test]
    fn every_cursor_fits_a_head() {
        let at = At {
            index: u64::MAX,
            skip: u32::MAX,
        };
        let most = u32::try_from(CURSOR_SHARDS_MAX).unwrap();
        let cursor = Cursor {
            incarnation: u32::MAX,
            shards: (0..most).map(|shard| (4_000 + shard, at)).collect(),
        };
        assert!(cursor.text().len() <= CURSOR_BYTES_MAX);
        assert_eq!(Cursor::parse(&cursor.text()), Ok(cursor));
    }
}
