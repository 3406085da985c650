//! The frame around a stored value: format 1, codec 1, dictionary 2, key epoch 2, checksum 4, bytes.
//!
//! Compression happens once, on the leader, record by record: replicas store what they are given, and a codec that is
//! added later needs no migration. The checksum is of the stored bytes, so damage is known before anything is
//! decompressed.

mod dictionary;
mod zstd;

use bytes::{BufMut as _, Bytes, BytesMut};

pub use dictionary::Dictionary;

/// Bytes before the content.
pub const HEADER_BYTES: usize = 10;
/// The only format so far.
pub const FORMAT: u8 = 1;
/// Content as it is.
pub const CODEC_PLAIN: u8 = 0;
/// zstd, with the dictionary of that number.
pub const CODEC_ZSTD: u8 = 1;
/// zstd, with another value as its dictionary: for a version of a record, the version after it.
pub const CODEC_ZSTD_AGAINST: u8 = 2;

/// Header bytes that the checksum covers.
const META_BYTES: usize = HEADER_BYTES - 4;

/// Why a frame cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than its header.
    #[error("value frame is cut short")]
    Short,
    /// Written by a newer release.
    #[error("value frame of unknown format, codec, dictionary or key")]
    Unknown,
    /// Not what was written.
    #[error("value frame fails its checksum")]
    Checksum,
    /// Sound, but not what any release has compressed.
    #[error("value frame does not decompress")]
    Compressed,
    /// Readable only beside the value that it was compressed against.
    #[error("value frame needs the value it was compressed against")]
    Against,
}

/// Frames a value as it is.
#[must_use]
pub fn encode(value: &[u8]) -> Bytes {
    frame(CODEC_PLAIN, 0, value)
}

/// Frames a value compressed with a dictionary; as it is where that is no smaller.
#[must_use]
pub fn compress(value: &[u8], dictionary: Dictionary) -> Bytes {
    match zstd::compress(value, dictionary) {
        Some(smaller) => frame(CODEC_ZSTD, dictionary.number(), &smaller),
        None => encode(value),
    }
}

/// Frames a value as its difference from another, which reading it then takes; `None` where that is no smaller.
#[must_use]
pub fn compress_against(value: &[u8], other: &[u8]) -> Option<Bytes> {
    zstd::compress_against(value, other).map(|smaller| frame(CODEC_ZSTD_AGAINST, 0, &smaller))
}

/// The value inside a frame; one that is stored as it is comes without a copy.
///
/// # Errors
/// [`FrameError`]; `Against` for a frame of [`compress_against`].
pub fn decode(frame: &Bytes) -> Result<Bytes, FrameError> {
    decode_with(frame, None)
}

/// The value inside a frame of any codec; `other` is what it would have been compressed against.
///
/// # Errors
/// [`FrameError`]
pub fn decode_against(frame: &Bytes, other: &[u8]) -> Result<Bytes, FrameError> {
    decode_with(frame, Some(other))
}

fn frame(codec: u8, dictionary: u16, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + content.len());
    frame.put_u8(FORMAT);
    frame.put_u8(codec);
    frame.put_u16(dictionary);
    frame.put_u16(0);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame), content);
    frame.put_u32(checksum);
    frame.put_slice(content);
    frame.freeze()
}

fn decode_with(frame: &Bytes, other: Option<&[u8]>) -> Result<Bytes, FrameError> {
    let header = frame.first_chunk::<HEADER_BYTES>().ok_or(FrameError::Short)?;
    let [format, codec, d0, d1, e0, e1, checksum @ ..] = *header;
    if format != FORMAT || [e0, e1] != [0, 0] {
        return Err(FrameError::Unknown);
    }
    let content = frame.slice(HEADER_BYTES..);
    let actual = crc32c::crc32c_append(crc32c::crc32c(&header[..META_BYTES]), &content);
    if actual.to_be_bytes() != checksum {
        return Err(FrameError::Checksum);
    }
    match (codec, u16::from_be_bytes([d0, d1])) {
        (CODEC_PLAIN, 0) => Ok(content),
        (CODEC_ZSTD, number) => {
            let dictionary = Dictionary::of_number(number).ok_or(FrameError::Unknown)?;
            zstd::decompress(&content, dictionary)
        }
        (CODEC_ZSTD_AGAINST, 0) => zstd::decompress_against(&content, other.ok_or(FrameError::Against)?),
        _ => Err(FrameError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use proptest::{collection, sample};

    use super::*;

    const PATIENT: &[u8] = br#"{"resourceType":"Patient","id":"9000000009","gender":"female","name":[{"use":"usual","family":"Smith","given":["Jane"]}]}"#;

    #[test]
    fn round_trip_and_frozen_bytes() {
        let frame = encode(b"spine");
        assert_eq!(decode(&frame), Ok(Bytes::from_static(b"spine")));
        assert_eq!(frame[..6], [1, 0, 0, 0, 0, 0]);
        assert_eq!(frame.len(), HEADER_BYTES + 5);
    }

    #[test]
    fn a_patient_is_smaller_with_the_dictionary() {
        let frame = compress(PATIENT, Dictionary::Patients1);
        assert_eq!(frame[..6], [1, CODEC_ZSTD, 0, 1, 0, 0]);
        // Short as it is; a whole one becomes a tenth.
        assert!(frame.len() < PATIENT.len() * 3 / 4, "{} bytes", frame.len());
        assert_eq!(decode(&frame), Ok(Bytes::from_static(PATIENT)));
    }

    #[test]
    fn a_version_is_little_beside_the_next() {
        let next = String::from_utf8_lossy(PATIENT).replace("Smith", "Taylor");
        let frame = compress_against(PATIENT, next.as_bytes()).expect("smaller");
        assert!(frame.len() < 50, "{} bytes", frame.len());
        assert_eq!(decode(&frame), Err(FrameError::Against));
        assert_eq!(
            decode_against(&frame, next.as_bytes()),
            Ok(Bytes::from_static(PATIENT))
        );
        // Another neighbour than the one it was compressed against is never taken for it.
        assert_ne!(decode_against(&frame, PATIENT), Ok(Bytes::from_static(PATIENT)));
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let noise: Vec<u8> = (0..64_u8).map(|n| n.wrapping_mul(167) ^ 0x5a).collect();
        assert_eq!(compress(&noise, Dictionary::Patients1), encode(&noise));
        assert_eq!(compress_against(&noise, PATIENT), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for frame in [encode(b"spine"), compress(PATIENT, Dictionary::Patients1)] {
            for bit in 0..frame.len() * 8 {
                let mut damaged = frame.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&damaged.into()).is_err(), "bit {bit}");
            }
        }
        assert_eq!(decode(&Bytes::from_static(b"short")), Err(FrameError::Short));
    }

    #[test]
    fn unknown_codecs_and_dictionaries_are_refused() {
        for (codec, dictionary) in [
            (9, 0),
            (CODEC_PLAIN, 1),
            (CODEC_ZSTD, 0),
            (CODEC_ZSTD, 999),
            (CODEC_ZSTD_AGAINST, 1),
        ] {
            assert_eq!(
                decode(&frame(codec, dictionary, PATIENT)),
                Err(FrameError::Unknown)
            );
        }
        // Sound by its checksum, and still nothing that was ever compressed.
        assert_eq!(
            decode(&frame(CODEC_ZSTD, 1, PATIENT)),
            Err(FrameError::Compressed)
        );
    }

    proptest! {
        #[test]
        fn any_value_comes_back(
            value in collection::vec(any::<u8>(), 0..4_096),
            text in collection::vec(sample::select(&b"{}\":,abc0129"[..]), 0..4_096),
            cut in any::<sample::Index>(),
        ) {
            for value in [&value, &text] {
                prop_assert_eq!(decode(&compress(value, Dictionary::Patients1)), Ok(Bytes::from(value.clone())));
                let mut other = value.clone();
                other.truncate(cut.index(value.len() + 1));
                if let Some(frame) = compress_against(value, &other) {
                    prop_assert_eq!(decode_against(&frame, &other), Ok(Bytes::from(value.clone())));
                }
            }
        }

        #[test]
        fn any_content_is_refused_or_read(content in collection::vec(any::<u8>(), 0..512), codec in 0_u8..4) {
            let sound = frame(codec, u16::from(codec == CODEC_ZSTD), &content);
            let _ = decode_against(&sound, PATIENT);
        }
    }
}
