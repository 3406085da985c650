//! The slots that a shard owns: one row of its own state. A key of another slot is refused.

use std::ops::RangeInclusive;

use bytes::Bytes;
use prost::Message as _;
use spine_proto::ids::{SLOTS, Slot};
use spine_proto::storage::v1::SlotRange;

use crate::frame;
use crate::key;
use crate::store::{OrderedRead, ReadError};

/// Schema number of the row.
pub const SCHEMA: u32 = 1;

/// The value of the row for these slots.
#[must_use]
pub fn value(slots: &RangeInclusive<Slot>) -> Bytes {
    let range = SlotRange {
        first: u32::from(slots.start().get()),
        last: u32::from(slots.end().get()),
    };
    frame::encode(&range.encode_to_vec())
}

/// Reads the value of the row; `None` where it is not one.
#[must_use]
pub fn parse(value: &Bytes) -> Option<SlotRange> {
    let range = SlotRange::decode(frame::decode(value).ok()?).ok()?;
    (range.first <= range.last && range.last < u32::from(SLOTS)).then_some(range)
}

/// The slots that the shard owns; `None` before the row is there.
///
/// # Errors
/// [`ReadError`] where the store fails or the row is damaged: apply lets nobody write a wrong one.
pub fn owned(store: &(impl OrderedRead + ?Sized)) -> Result<Option<SlotRange>, ReadError> {
    let Some(record) = store.get(&key::slots_owned())? else {
        return Ok(None);
    };
    let range = parse(&record.value).ok_or_else(|| ReadError("row of owned slots is damaged".to_string()))?;
    Ok(Some(range))
}

/// Whether a slot is in the range.
#[must_use]
pub fn contains(range: &SlotRange, slot: u32) -> bool {
    (range.first..=range.last).contains(&slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: u32, last: u32) -> Bytes {
        frame::encode(&SlotRange { first, last }.encode_to_vec())
    }

    #[test]
    fn only_ranges_of_slots_are_rows() {
        let slots = Slot::new(3).unwrap()..=Slot::new(9).unwrap();
        let range = parse(&value(&slots)).unwrap();
        assert_eq!((range.first, range.last), (3, 9));
        assert!(contains(&range, 3) && contains(&range, 9) && !contains(&range, 10));
        assert!(parse(&row(9, 3)).is_none());
        assert!(parse(&row(0, 16_384)).is_none());
        assert!(parse(&Bytes::from_static(b"garbage")).is_none());
    }
}
