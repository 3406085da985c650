//! How far the reader of a feed is, as the text that it keeps and gives back.
//!
//! `1-3.150-4.98.2`: incarnation 1 of the cluster; shard 3 from index 150 on; shard 4 behind two versions of the entry at
//! index 98. While a reader is also shown what there was before, `*4.0011..` stands behind it: everything of shard 3, and
//! of shard 4 up to this key. Readers take it as it is; that it can be read by people is for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use spine_services::pds::listing::{POSITION_BYTES, Position};
use spine_services::{ErrorKind, SpineError, reason};

/// Longest cursor, in bytes: with every shard in it, it still fits a request's head.
pub const CURSOR_BYTES_MAX: usize = 8 * 1_024;
/// In place of a cursor: with every patient that there is, and then as changes come.
pub const START: &str = "start";
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

/// How far the list of what there was before is: shards are listed one after the other, those before this one are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The shard that is listed.
    pub shard: u32,
    /// The last of its patients that was shown.
    pub after: Option<Position>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of the cluster the indexes are of.
    pub incarnation: u32,
    /// The place in each shard that is followed.
    pub shards: BTreeMap<u32, At>,
    /// Only while a list is shown as well.
    pub listing: Option<Listing>,
}

impl Cursor {
    /// Reads what [`Cursor::text`] wrote.
    ///
    /// # Errors
    /// `INVALID_CURSOR`
    pub fn parse(text: &str) -> Result<Self, SpineError> {
        let read = || {
            let text = (text.len() <= CURSOR_BYTES_MAX).then_some(text)?;
            let (places, listing) = match text.split_once('*') {
                Some((places, listing)) => (places, Some(Listing::parse(listing)?)),
                None => (text, None),
            };
            let mut parts = places.split('-');
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
            (!shards.is_empty()).then_some(Self {
                incarnation,
                shards,
                listing,
            })
        };
        read().ok_or_else(invalid_cursor)
    }

    /// A list of a shard that is not followed goes on with the next one that is, or is over.
    pub fn list_only_what_is_followed(&mut self) {
        self.listing = self.listing.and_then(|listing| {
            let (shard, _) = self.shards.range(listing.shard..).next()?;
            let after = listing.after.filter(|_| *shard == listing.shard);
            Some(Listing { shard: *shard, after })
        });
    }

    /// Where the list goes on behind its last patient of this shard; `None` where it is over.
    #[must_use]
    pub fn listing_behind(&self, shard: u32) -> Option<Listing> {
        let (shard, _) = self.shards.range(shard.checked_add(1)?..).next()?;
        Some(Listing {
            shard: *shard,
            after: None,
        })
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
        if let Some(listing) = &self.listing {
            let _ = write!(text, "*{}", listing.shard);
            for (at, byte) in listing.after.iter().flatten().enumerate() {
                let dot = if at == 0 { "." } else { "" };
                let _ = write!(text, "{dot}{byte:02x}");
            }
        }
        text
    }
}

impl Listing {
    fn parse(text: &str) -> Option<Self> {
        let (shard, after) = match text.split_once('.') {
            Some((shard, after)) => (shard, Some(position(after)?)),
            None => (text, None),
        };
        let shard = number(shard)?;
        Some(Self { shard, after })
    }
}

/// Lower case hexadecimal digits, as they are written.
fn position(text: &str) -> Option<Position> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * POSITION_BYTES || !text.as_bytes().iter().all(is_digit) {
        return None;
    }
    let mut position = [0; POSITION_BYTES];
    for (byte, digits) in position.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(position)
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
            listing: None,
        };
        assert!(cursor.text().starts_with("1-3.150-4.98.2-200."));
        let listing = |after| {
            let listing = Some(Listing { shard: 4, after });
            Cursor {
                listing,
                ..cursor.clone()
            }
        };
        assert!(listing(None).text().ends_with("*4"));
        let within = listing(Some([0x1e; POSITION_BYTES]));
        assert!(within.text().ends_with("*4.1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e"));
        for written in [listing(None), within, cursor] {
            assert_eq!(Cursor::parse(&written.text()), Ok(written));
        }
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
            "1-3.1*",
            "1-3.1*x",
            "1-3.1*3.",
            "1-3.1*3.1e",
            "1-3.1*3*3",
            "1*3",
            "1-3.1*3.1E1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e",
            "1-3.1*3.+11e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e",
            START,
        ] {
            assert_eq!(Cursor::parse(bad).unwrap_err().reason, "INVALID_CURSOR", "{bad}");
        }
        let long = format!("1{}", "-1.1".repeat(3_000));
        assert!(Cursor::parse(&long).is_err());
    }

    #[test]
    fn a_list_goes_from_shard_to_shard_of_those_that_are_followed() {
        let shards = [2, 5, 9].map(|shard| (shard, At::default()));
        let mut cursor = Cursor {
            incarnation: 1,
            shards: shards.into(),
            listing: None,
        };
        let mut kept = |shard, after| {
            cursor.listing = Some(Listing { shard, after });
            cursor.list_only_what_is_followed();
            cursor.listing.map(|listing| (listing.shard, listing.after))
        };
        let within = Some([7; POSITION_BYTES]);
        assert_eq!(kept(0, None), Some((2, None)));
        assert_eq!(kept(5, within), Some((5, within)));
        assert_eq!(kept(6, within), Some((9, None)), "a place of another shard");
        assert_eq!(kept(10, None), None);
        let behind = |shard| cursor.listing_behind(shard).map(|listing| listing.shard);
        assert_eq!(
            [behind(2), behind(5), behind(9), behind(u32::MAX)],
            [Some(5), Some(9), None, None]
        );
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
            listing: Some(Listing {
                shard: u32::MAX,
                after: Some([0xff; POSITION_BYTES]),
            }),
        };
        assert!(cursor.text().len() <= CURSOR_BYTES_MAX);
        assert_eq!(Cursor::parse(&cursor.text()), Ok(cursor));
    }
}
