//! The frame around a stored value: format 1, codec 1, dictionary 2, key epoch 2, checksum 4, bytes.
//!
//! Compression and sealing come later as other codecs and epochs, record by record, without a migration.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes before the content.
pub const HEADER_BYTES: usize = 10;
/// The only format so far.
pub const FORMAT: u8 = 1;
/// Content as it is.
pub const CODEC_PLAIN: u8 = 0;

/// Why a frame cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than its header.
    #[error("value frame is cut short")]
    Short,
    /// Written by a newer release.
    #[error("value frame of unknown format, codec or key")]
    Unknown,
    /// Not what was written.
    #[error("value frame fails its checksum")]
    Checksum,
}

/// Frames a value as it is.
#[must_use]
pub fn encode(value: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + value.len());
    frame.put_u8(FORMAT);
    frame.put_u8(CODEC_PLAIN);
    frame.put_u16(0);
    frame.put_u16(0);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame), value);
    frame.put_u32(checksum);
    frame.put_slice(value);
    frame.freeze()
}

/// The value inside a frame, without a copy.
///
/// # Errors
/// [`FrameError`]
pub fn decode(frame: &Bytes) -> Result<Bytes, FrameError> {
    let header = frame.get(..HEADER_BYTES).ok_or(FrameError::Short)?;
    let (meta, checksum) = header.split_at(HEADER_BYTES - 4);
    if meta != [FORMAT, CODEC_PLAIN, 0, 0, 0, 0] {
        return Err(FrameError::Unknown);
    }
    let value = frame.slice(HEADER_BYTES..);
    let actual = crc32c::crc32c_append(crc32c::crc32c(meta), &value);
    if actual.to_be_bytes() == checksum {
        Ok(value)
    } else {
        Err(FrameError::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_frozen_bytes() {
        let frame = encode(b"spine");
        assert_eq!(decode(&frame), Ok(Bytes::from_static(b"spine")));
        assert_eq!(frame[..6], [1, 0, 0, 0, 0, 0]);
        assert_eq!(frame.len(), HEADER_BYTES + 5);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let frame = encode(b"spine");
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged.into()).is_err(), "bit {bit}");
        }
        assert_eq!(decode(&Bytes::from_static(b"short")), Err(FrameError::Short));
    }
}
